"""LabelledCorpus: the common interface of a corpus on disk and of those that are made from one when they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biomechau.corpus.corpus_sequence import UNKNOWN, CorpusSequence, label_mask
from biomechau.corpus.image_features import TENSORS, BackboneCard, ImageFeatures
from biomechau.corpus.manifest import Manifest, SequenceEntry
from biomechau.rig import FaceRig


class LabelledCorpus(ABC):
    """Labelled sequences of many subjects and one rig.

    Args:
        path: folder of the corpus.
        manifest: description of the sequences, as they are returned.
        features: cached image features of the sequences; None for none.
    """

    def __init__(self, path: Path, manifest: Manifest, features: ImageFeatures | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self.features = features
        self._entries = {entry.id: entry for entry in manifest.sequences}
        self._counts: dict[str, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def __getitem__(self, id: str) -> CorpusSequence:
        """Read one sequence."""

    @property
    @abstractmethod
    def rig(self) -> FaceRig:
        """The rig that the coefficients belong to."""

    @property
    @abstractmethod
    def num_image_features(self) -> int:
        """D, number of image features per frame; 0 without any."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """SHA-256 of ``corpus.json``, in hexadecimal."""

    @abstractmethod
    def _labels(self, entry: SequenceEntry) -> tuple[Tensor, Tensor]:
        """Labels (T, R) and valid frames (T,) of a sequence."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[CorpusSequence]:
        return map(self.__getitem__, self._entries)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the sequences, in the order they were written."""
        return tuple(self._entries)

    @property
    def action_units(self) -> tuple[int, ...]:
        """Numbers of the R action units, in the order of the labels."""
        return self.manifest.action_units

    @property
    def fps(self) -> float:
        """Nominal frame rate [1/s]."""
        return self.manifest.fps

    @property
    def shapes(self) -> tuple[str, ...]:
        """Names of the K shapes, in the order of the coefficients."""
        return self.manifest.shapes

    @property
    def muscles(self) -> tuple[str, ...]:
        """Identifiers of the M muscles with known true forces; empty if none are known."""
        return self.manifest.muscles

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """The tensors that every sequence has."""
        cached = () if self.features is None else TENSORS
        return tuple(dict.fromkeys((*self.manifest.tensors, *cached)))

    @property
    def backbone(self) -> BackboneCard | None:
        """The backbone of the image features; None without features, or if it is not known."""
        return None if self.features is None else self.features.card

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the corpus came from."""
        return self.manifest.provenance

    @property
    def rig_sha256(self) -> str:
        """SHA-256 of the rig file, in hexadecimal, the same for all corpora of one rig."""
        return self.manifest.rig_sha256

    @cached_property
    def intensity_units(self) -> tuple[int, ...]:
        """Numbers of the action units whose intensity is known in some frame, in the order of the labels."""
        names = [name for name in ("intensities", "side_intensities") if name in self.manifest.tensors]
        known = torch.zeros(len(self.action_units), dtype=torch.bool)
        for sequence in self if names else ():
            for name in names:
                values = sequence.tensors[name]
                known |= (values.reshape(*values.shape[:2], -1) != UNKNOWN).any(-1).any(0)
        return tuple(unit for unit, has in zip(self.action_units, known.tolist(), strict=True) if has)

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Each subject once, in the order of the sequences."""
        return tuple(dict.fromkeys(entry.subject for entry in self._entries.values()))

    @property
    def frames(self) -> dict[str, int]:
        """Number of frames of each subject."""
        return {
            subject: sum(entry.frames for entry in self._entries.values() if entry.subject == subject)
            for subject in self.subjects
        }

    def ids_of(self, subjects: Iterable[str]) -> tuple[str, ...]:
        """The sequences of some subjects, in the order of ``ids``.

        Raises:
            ValueError: the corpus does not have one of the subjects.
        """
        subjects = set(subjects)
        unknown = sorted(subjects.difference(self.subjects))
        if unknown:
            raise ValueError(f"{self.path} has no subject {unknown[0]!r}; it has {', '.join(self.subjects)}")
        return tuple(entry.id for entry in self._entries.values() if entry.subject in subjects)

    def label_counts(self, subjects: Iterable[str] | None = None) -> tuple[Tensor, Tensor]:
        """Number of frames in which each action unit is on, and in which it is known: two tensors (R,) int64.

        Args:
            subjects: to count; all of them if not given.

        Raises:
            ValueError: the corpus does not have one of the subjects, or a sequence file does not fit.
            OSError: a file cannot be read.
        """
        counts = [self.sequence_counts(id) for id in self.ids_of(self.subjects if subjects is None else subjects)]
        none = torch.zeros(len(self.action_units), dtype=torch.int64)
        return sum((on for on, _ in counts), none), sum((known for _, known in counts), none)

    def sequence_counts(self, id: str) -> tuple[Tensor, Tensor]:
        """Like :meth:`label_counts`, for one sequence; its labels are read on first access.

        Raises:
            ValueError: the sequence file does not fit.
            OSError: the file cannot be read.
        """
        if id not in self._counts:
            labels, valid = self._labels(self._entries[id])
            mask = label_mask(labels, valid)
            self._counts[id] = (mask & (labels == 1)).sum(0), mask.sum(0)
        return self._counts[id]

    def label_rates(self, subjects: Iterable[str] | None = None) -> Tensor:
        """Share of the known labels of each action unit that are on, (R,) float64; 0 if none is known.

        Args:
            subjects: to count; all of them if not given.

        Raises:
            ValueError: the corpus does not have one of the subjects, or a sequence file does not fit.
            OSError: a file cannot be read.
        """
        positive, known = self.label_counts(subjects)
        return positive.double() / known.clamp(min=1)


class DerivedCorpus(LabelledCorpus):
    """A corpus whose sequences are made from those of another one when they are read.

    Args:
        recorded: the other corpus.
        manifest: description of the sequences, as they are returned.
    """

    def __init__(self, recorded: LabelledCorpus, manifest: Manifest) -> None:
        super().__init__(recorded.path, manifest, recorded.features)
        self.recorded = recorded

    @property
    def rig(self) -> FaceRig:
        return self.recorded.rig

    @property
    def num_image_features(self) -> int:
        return self.recorded.num_image_features

    @property
    def sha256(self) -> str:
        return self.recorded.sha256
