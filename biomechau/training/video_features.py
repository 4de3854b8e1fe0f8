"""Image features of a new video, by the backbones that detectors were trained with, while its face is tracked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.face_tracks import Box, Face
from biomechau.corpus.image_features import FEATURES
from biomechau.corpus.tracking import FollowedVideo, Tracker, follow_faces
from biomechau.models import Backbone, load_backbone
from biomechau.training.backbone_training import BACKBONE
from biomechau.training.run import Run, fold_folder

# Side of the square around a face over the larger side of the box around its landmarks, which end at the brows.
_AROUND = 1.3
# Pictures that go through a backbone at once.
_BATCH = 32


def load_run_backbones(runs: Mapping[int, Run], folder: str | Path | None = None) -> dict[int, Backbone]:
    """The backbones whose features the heads of some runs read, by the number of the fold.

    Args:
        runs: by the number of their fold.
        folder: of the backbone; or of a corpus whose backbones were trained on its folds. If not given, the backbone is
            asked of the Hugging Face Hub, at the commit that was trained with.

    Raises:
        ImportError: ``transformers`` is not installed.
        ValueError: a run that does not know its backbone, no such backbone, or another one.
    """
    found: dict[int, Backbone] = {}
    for number, run in runs.items():
        card = run.backbone
        if card is None:
            raise ValueError(f"{run.path}: does not tell which backbone its image features are of")
        place = None if folder is None else Path(folder)
        for root in () if place is None else (place, place / FEATURES):
            if (fold_folder(root, number) / BACKBONE).is_dir():
                place = fold_folder(root, number) / BACKBONE
        if place is None and card.revision.startswith("sha256:"):
            raise ValueError(
                f"{run.path}: its image features are of {card}, which lies in a folder: name it with --backbone, or "
                "the corpus whose pictures it was trained on"
            )
        known = [backbone for backbone in found.values() if not card.difference(backbone.card)]
        backbone = known[0] if known else load_backbone(place or card.name, None if place else card.revision)
        if difference := card.difference(backbone.card):
            raise ValueError(f"{place or card.name}: not the backbone of {run.path}: expected {difference}")
        found[number] = backbone
    return found


def follow_with_features(
    video: str | Path,
    tracker: Tracker,
    backbones: Mapping[int, Backbone],
    progress: Callable[[int, int], None] | None = None,
    fps: float | None = None,
) -> FollowedVideo:
    """As :func:`biomechau.corpus.tracking.follow_faces`; each face also has the features (D,) of its picture, the
    square around it, by the number of the fold. The video is read once.

    Raises:
        ImportError, ValueError, OSError: as there.
    """
    waiting: list[tuple[Face, NDArray[np.uint8]]] = []
    distinct = {id(backbone): backbone for backbone in backbones.values()}

    def compute() -> None:
        if not waiting:
            return
        pictures = [picture for _, picture in waiting]
        features = {key: backbone.features(pictures) for key, backbone in distinct.items()}
        for number, backbone in backbones.items():
            for (face, _), row in zip(waiting, features[id(backbone)], strict=True):
                face.features[number] = row.clone()
        waiting.clear()

    def track(picture: NDArray[np.uint8], milliseconds: int) -> list[Face]:
        faces = tracker(picture, milliseconds)
        waiting.extend((face, crop_face(picture, face.box)) for face in faces)
        if len(waiting) >= _BATCH:
            compute()
        return faces

    found = follow_faces(video, track, progress, fps)
    compute()
    return found


def features_over_time(found: FollowedVideo, face: int | None = None) -> dict[int, Tensor]:
    """Features (T, D) of one face of a video by the number of the fold; 0 in frames without it.

    Raises:
        ValueError: there is no such face.
    """
    faces = found.face(face).faces
    first = next(iter(faces.values()))
    features = {number: torch.zeros(len(found.frames), len(row)) for number, row in first.features.items()}
    for index, seen in faces.items():
        for number, row in seen.features.items():
            features[number][index] = row
    return features


def crop_face(picture: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The square around a face, of a picture (H, W, 3); what lies outside of the picture repeats its edge.

    Args:
        picture: red, green, blue.
        box: left, top, right and bottom of the landmarks, as shares of the picture.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    side = max(1, min(round(_AROUND * max(right - left, bottom - top)), 2 * max(height, width)))
    columns = round((left + right - side) / 2) + np.arange(side)
    rows = round((top + bottom - side) / 2) + np.arange(side)
    return picture[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)]
