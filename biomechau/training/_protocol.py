"""The protocol of a training, which a reader needs to judge its scores."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from biomechau.corpus import Corpus, Fold, LabelledCorpus, protocol_of
from biomechau.training.metrics import THRESHOLD
from biomechau.training.training_config import TrainingConfig

_BEST = {"loss": "lowest loss", "f1": "highest mean F1"}
_PACKAGES = ("biomechau", "torch", "lightning", "numpy")


def training_protocol(corpus: Corpus, fold: Fold, config: TrainingConfig) -> dict[str, Any]:
    """Subjects, frames, threshold, action units, selection of the weights, seed and versions, as JSON values.

    Args:
        corpus: to train on.
        fold: its subjects.
        config: training options.
    """
    own = set(fold.validation) != set(fold.test)
    return {
        "train": subjects_and_frames(corpus, fold.train),
        "validation": subjects_and_frames(corpus, fold.validation),
        "test": subjects_and_frames(corpus, fold.test),
        "subject_sets": subject_sets_of(corpus, fold),
        "action_units": list(config.detector.action_units),
        "threshold": THRESHOLD,
        "own_thresholds": "of each action unit, with the highest F1 on the validation subjects, drawn towards 0.5 "
        "where these are few (thresholds.json)",
        "f1": "of each action unit once over all frames of the test subjects; unknown labels do not count",
        "selection": f"epoch with the {_BEST[config.selection]} on the {'validation' if own else 'test'} subjects",
        "meshes": _meshes(corpus, config),
        "images": _images(corpus, config),
        "neutral_percentile": config.neutral,
        "label_share": config.label_share,
        "seed": config.seed,
        "fps": corpus.fps,
        "corpus": {name: entry for name, entry in corpus.provenance.items() if name != "people"},
        "versions": package_versions(),
    }


def subject_sets_of(corpus: Corpus, fold: Fold) -> str:
    """Whether the test subjects of a fold are a set used in the literature, in words."""
    protocol = protocol_of(corpus)
    literature = protocol is not None and set(fold.test) in map(set, protocol.subject_sets.values())
    return f"{protocol.name}, as in the literature" if protocol is not None and literature else "own"


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _images(corpus: Corpus, config: TrainingConfig) -> str | dict[str, Any]:
    if not config.detector.uses_images:
        return "not read"
    if corpus.backbone is None:
        return "features of the corpus, by a backbone that it does not name"
    masked = sum(int((~sequence.image_valid).sum()) for sequence in corpus if sequence.image_valid is not None)
    return {"backbone": corpus.backbone.to_json(), "frames_without_picture": masked}


def _meshes(corpus: Corpus, config: TrainingConfig) -> str:
    if not config.detector.uses_mesh:
        return "not read"
    own = "vertices_residual" in corpus.tensor_names
    return "the corpus's own" if own else "of the coefficients, exactly linear in them"


def subjects_and_frames(corpus: LabelledCorpus, subjects: Sequence[str]) -> dict[str, Any]:
    """Some subjects of a corpus, and their number of frames."""
    frames = corpus.frames
    return {"subjects": list(subjects), "frames": sum(frames[subject] for subject in subjects)}
