"""Image features of a corpus, computed once by a backbone and cached (Eq. 11)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from biomechau.corpus import Corpus
from biomechau.corpus.image_features import FEATURES, ImageFeatures
from biomechau.corpus.pictures import SequencePictures, find_pictures
from biomechau.models import Backbone


@dataclass(frozen=True)
class FeatureReport:
    """Result of a feature computation.

    Attributes:
        features: of the whole corpus.
        faults: of the sequences just computed: labelled frames without a picture, unreadable files.
    """

    features: ImageFeatures
    faults: tuple[str, ...]


def compute_image_features(
    corpus: Corpus,
    images: str | Path,
    backbone: Backbone,
    out: str | Path | None = None,
    batch_size: int = 32,
    skip_faulty: bool = False,
    replace: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureReport:
    """Compute the features of the pictures of all sequences, and cache them.

    The features of each sequence are written when they are complete, so that the computation can be interrupted and
    resumed. Frames without a picture get zeros and are marked (``image_valid``); a detector that reads images treats
    them as not valid in training, in its scores and in its output.

    Args:
        corpus: the sequences.
        images: root of the pictures, see :func:`biomechau.corpus.pictures.find_pictures`.
        backbone: to compute them with.
        out: folder of the features; that in the corpus if not given, where :class:`biomechau.corpus.Corpus` finds it.
        batch_size: pictures per forward pass.
        skip_faulty: mark labelled frames without a picture and unreadable files, instead of raising an error.
        replace: discard existing features.
        progress: called with (frames done, frames in all).

    Raises:
        ImportError: the reader of the pictures is not installed.
        ValueError: there are features of another backbone, revision or preprocessing; a labelled frame has no picture
            (all are looked up before the first computation); a picture or video cannot be read.
        FileExistsError: ``out`` contains something else.
        OSError: a file cannot be read or written.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if "image_features" in corpus.manifest.tensors:
        raise ValueError(f"{corpus.path}: its sequences already contain image features")
    out = corpus.path / FEATURES if out is None else Path(out)
    pictures, faults = _find_all(corpus, Path(images))
    if faults and not skip_faulty:
        count = "1 sequence" if len(faults) == 1 else f"{len(faults)} sequences, the first"
        raise ValueError(
            f"{count}: {next(iter(faults.values()))} (--skip-faulty marks such frames as having no picture)"
        )
    features = ImageFeatures.start(out, backbone.card, corpus.sha256, replace)
    missing = features.missing(corpus.ids)
    notes = [faults[id] for id in missing if id in faults]
    lengths = {entry.id: entry.frames for entry in corpus.manifest.sequences}
    total = sum(lengths.values())
    done = total - sum(lengths[id] for id in missing)
    for id in missing:
        found: list[str] = []

        def step(count: int, before: int = done) -> None:
            if progress is not None:
                progress(before + count, total)

        tensors = _features_of(pictures[id], backbone, batch_size, found if skip_faulty else None, step)
        notes += (f"{id}: {fault}" for fault in found)
        features.write(id, *tensors)
        done += lengths[id]
        step(0, done)
    return FeatureReport(features, tuple(notes))


def _find_all(corpus: Corpus, images: Path) -> tuple[dict[str, SequencePictures], dict[str, str]]:
    """The pictures of all sequences, and those faults that are visible without reading them."""
    pictures, faults = {}, {}
    for sequence in corpus:
        labelled = sequence.label_mask.any(1).numpy()
        try:
            pictures[sequence.id] = find_pictures(corpus, images, sequence)
        except ValueError as error:
            raise ValueError(f"{sequence.id}: {error}") from error
        if lacking := pictures[sequence.id].without(labelled):
            faults[sequence.id] = f"{sequence.id}: {lacking}"
    return pictures, faults


def _features_of(
    pictures: SequencePictures,
    backbone: Backbone,
    batch_size: int,
    faults: list[str] | None,
    step: Callable[[int], None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (T, D), and whether each frame has a picture (T,)."""
    features = torch.zeros(len(pictures.frames), backbone.card.size)
    valid = torch.zeros(len(features), dtype=torch.bool)
    with ThreadPoolExecutor(1) as pool:  # reads the next batch while the backbone computes
        read = pictures.read(faults)
        batch = pool.submit(list, islice(read, batch_size))
        while found := batch.result():
            batch = pool.submit(list, islice(read, batch_size))
            frames, arrays = zip(*found, strict=True)
            features[list(frames)] = backbone.features(arrays)
            valid[list(frames)] = True
            step(frames[-1] + 1)
    return features, valid
