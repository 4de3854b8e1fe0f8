"""Blendshape coefficients of the face in a video, by MediaPipe's face landmarker."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biomechau.corpus.mediapipe import MEDIAPIPE_SHAPES, NEUTRAL
from biomechau.corpus.video import read_video
from biomechau.files import replacing

MISSING_MEDIAPIPE = 'tracking needs MediaPipe: pip install "biomechau[track]"'
MISSING_MODEL = (
    "the model face_landmarker.task is MediaPipe's and does not come with this package: download it from the page of "
    "MediaPipe's face landmarker"
)


class Tracker(Protocol):
    """What finds the coefficients of one picture after the other."""

    def __call__(self, picture: NDArray[np.uint8], milliseconds: int) -> list[float] | None:
        """52 scores in MediaPipe's order, None without a face; milliseconds rise from call to call."""


def track_video(
    video: str | Path, tracker: Tracker, out: str | Path, progress: Callable[[int, int], None] | None = None
) -> None:
    """Track the face of a video and write a CSV file that :func:`biomechau.corpus.read_sequence` reads.

    Columns are ``frame`` (from 0), ``timestamp`` [s] after the first frame, ``_neutral`` and the 51 shapes; a frame
    without a face has empty values.

    Args:
        video: the file.
        tracker: see :func:`face_landmarker`.
        out: the CSV file to write.
        progress: called with (frames done, frames in all).

    Raises:
        ImportError: PyAV is not installed.
        ValueError: not a video, fewer than 2 frames, or no frame with a face.
        OSError: a file cannot be read or written.
    """
    frames = faces = 0
    before = -1
    with replacing(out) as partial:
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("frame", "timestamp", NEUTRAL, *MEDIAPIPE_SHAPES))
            for frame in read_video(video, progress):
                # Rising, as MediaPipe wants it, also where frames are closer than a millisecond.
                before = max(round(1000 * frame.time), before + 1)
                scores = tracker(frame.picture, before)
                frames += 1
                faces += scores is not None
                values = [""] * (1 + len(MEDIAPIPE_SHAPES)) if scores is None else [f"{score:.6g}" for score in scores]
                writer.writerow((frame.number, f"{frame.time:.6f}", *values))
        if frames < 2:
            raise ValueError(f"{video}: expected at least 2 frames, found {frames}")
        if not faces:
            raise ValueError(f"{video}: no face was found in its {frames} frames")


@contextmanager
def face_landmarker(model: str | Path) -> Iterator[Tracker]:
    """MediaPipe's face landmarker as a tracker of the first face it finds.

    Args:
        model: the file ``face_landmarker.task``.

    Raises:
        ImportError: MediaPipe is not installed.
        FileNotFoundError: there is no such file.
        ValueError: not such a model.
        OSError: the file cannot be read.
    """
    if not Path(model).is_file():
        raise FileNotFoundError(f"no such file: {model}; {MISSING_MODEL}")
    try:
        import mediapipe  # pyright: ignore[reportMissingImports]
        from mediapipe.tasks.python import BaseOptions, vision  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(MISSING_MEDIAPIPE) from error
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        num_faces=1,
        output_face_blendshapes=True,
    )
    try:
        landmarker = vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{model}: not a model of MediaPipe's face landmarker: {error}") from error

    def track(picture: NDArray[np.uint8], milliseconds: int) -> list[float] | None:
        # Made when the package is imported, so that its types do not show them.
        image_type, formats = mediapipe.Image, mediapipe.ImageFormat  # pyright: ignore[reportAttributeAccessIssue]
        image = image_type(image_format=formats.SRGB, data=picture)
        return blendshape_scores(landmarker.detect_for_video(image, milliseconds))

    with landmarker:
        yield track


def blendshape_scores(result: Any) -> list[float] | None:
    """The 52 scores of a ``FaceLandmarkerResult`` in MediaPipe's order; None where it has no face.

    Raises:
        ValueError: a face without some of the blendshapes.
    """
    if not result.face_landmarks:
        return None
    faces = result.face_blendshapes
    scores = {category.category_name: category.score for category in (faces[0] if faces else ())}
    missing = [name for name in (NEUTRAL, *MEDIAPIPE_SHAPES) if name not in scores]
    if missing:
        raise ValueError(f"the model gives no score of {missing[0]}, expected MediaPipe's 52 blendshapes")
    return [scores[name] for name in (NEUTRAL, *MEDIAPIPE_SHAPES)]
