"""Corpus: a folder of labelled sequences of one rig."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from biomechau.corpus.corpus_sequence import CorpusSequence, check_labels, label_mask
from biomechau.corpus.image_features import FEATURES, TENSORS, BackboneCard, ImageFeatures, find_image_features
from biomechau.corpus.manifest import MANIFEST, RIG, SEQUENCES, Manifest, SequenceEntry
from biomechau.rig import FaceRig

if TYPE_CHECKING:
    from biomechau.corpus.fold import Fold

# How safetensors spells the dtypes.
_CODES = {"float32": "F32", "float16": "F16", "float64": "F64", "int8": "I8", "bool": "BOOL"}


class Corpus:
    """Labelled sequences of many subjects, on disk; see :class:`biomechau.corpus.CorpusWriter` for how to make one.

    The folder holds ``corpus.json``, ``rig.safetensors`` and ``sequences/<id>.safetensors``. Meshes are
    u = sum_k c_k B_k (Eq. 3) and are not stored; ``vertices_residual`` is, where they are more than that. Image
    features are cached in a folder of their own, ``image_features``, so that neither the description nor the sequences
    change when they are computed: what was trained before stays valid.
    ``corpus[id]`` reads one sequence, ``for sequence in corpus`` all of them, in the order of ``ids``. Sequences are
    views of memory-mapped files: what is not used is not read.
    """

    def __init__(
        self,
        path: str | Path,
        manifest: Manifest,
        image_features: Iterable[ImageFeatures] = (),
        chosen: ImageFeatures | None = None,
    ) -> None:
        self.path = Path(path)
        self.manifest = manifest
        self.image_features = tuple(image_features)
        self._chosen = chosen
        self._entries = {entry.id: entry for entry in manifest.sequences}

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Open a corpus folder and check all of it but the numbers, which are checked when a sequence is read.

        Raises:
            ValueError: not a whole corpus of this version: a broken ``corpus.json``, another rig than the one it was
                made with, a sequence file that is cut or does not fit; the message names the file and the tensor.
            OSError: a file cannot be read.
        """
        path = Path(path)
        manifest = Manifest.load(path / MANIFEST)
        cached = find_image_features(path / FEATURES, file_sha256(path / MANIFEST))
        corpus = cls(path, manifest, cached)
        for features in cached:
            if features.for_all_subjects and not features.missing(corpus.ids):
                corpus = cls(path, manifest, cached, features)
        found = file_sha256(path / RIG)
        if found != corpus.rig_sha256:
            raise ValueError(
                f"{path / RIG}: not the rig that the corpus was made with: expected SHA-256 "
                f"{corpus.rig_sha256[:12]}..., found {found[:12]}..."
            )
        for entry in corpus.manifest.sequences:
            corpus._read(entry, ())
        return corpus

    def of_fold(self, fold: Fold) -> Corpus:
        """The corpus with the image features that the training of a fold may see.

        Those of a backbone that knows nobody of this corpus serve every fold. A backbone that was trained on subjects
        of it serves the fold that trains on, and chooses by, the very same ones.

        Raises:
            ValueError: there are no image features, or none for this fold, or not yet those of all sequences.
        """
        self._require_image_features()
        if self._chosen is not None or not self.image_features:
            return self
        seen = {*fold.train, *fold.validation}
        for features in self.image_features:
            if features.own_subjects == seen:
                return Corpus(self.path, self.manifest, self.image_features, features)
        raise ValueError(
            f"{self.path / FEATURES} holds image features of backbones trained on other subjects than those of this "
            'fold: give the fold options that "biomechau corpus train-features" was given'
        )

    def of_backbone(self, card: BackboneCard | None) -> Corpus:
        """The corpus with the image features of one backbone; with those of its sequence files for None.

        Raises:
            ValueError: there are none of it, or not yet those of all sequences.
        """
        self._require_image_features()
        if card == self.backbone:
            return self
        for features in self.image_features:
            if features.card == card:
                return Corpus(self.path, self.manifest, self.image_features, features)
        found = [features.card for features in self.image_features]
        wanted = "features in the sequence files" if card is None else f"those of {card}"
        raise ValueError(
            f"{self.path} has no image features of the backbone that the detector was trained with: expected {wanted}, "
            f"found {', '.join(map(str, found)) or 'those of an unknown one'}"
        )

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[CorpusSequence]:
        return map(self.__getitem__, self._entries)

    def __getitem__(self, id: str) -> CorpusSequence:
        """Read one sequence.

        Raises:
            KeyError: there is no such sequence.
            ValueError: a value that is not allowed; the message names the file, the tensor and the frame.
            OSError: the file cannot be read.
        """
        entry = self._entries[id]
        cached = {} if self._chosen is None else self._chosen.read(id, entry.frames)
        try:
            tensors = {**self._read(entry, self.manifest.tensors), **cached}
            return CorpusSequence(entry.id, entry.subject, entry.task, **tensors)
        except (TypeError, ValueError) as error:
            path = self._file(entry)
            raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the sequences, in the order they were written."""
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
        """Identifiers of the M muscles whose true forces are known; empty where they are not."""
        return self.manifest.muscles

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """The tensors that every sequence has."""
        cached = () if self._chosen is None else TENSORS
        return tuple(dict.fromkeys((*self.manifest.tensors, *cached)))

    @property
    def num_image_features(self) -> int:
        """D, number of image features of a frame; 0 without any. Backbones of different folds have as many."""
        if "image_features" in self.manifest.tensors:
            return self.manifest.tensors["image_features"].shape[0]
        return self.image_features[0].card.size if self.image_features else 0

    @property
    def backbone(self) -> BackboneCard | None:
        """What made the image features of the sequences; None without any, or where that is not known."""
        return None if self._chosen is None else self._chosen.card

    def _require_image_features(self) -> None:
        if not self.num_image_features:
            raise ValueError(
                f'{self.path} has no image features; "biomechau corpus features" computes them from pictures'
            )
        for features in self.image_features:
            if missing := features.missing(self.ids):
                raise ValueError(
                    f"{features.folder}: the image features of {len(missing)} of {len(self)} sequences are missing; "
                    "the command that computes them goes on with them"
                )

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the corpus came from."""
        return self.manifest.provenance

    @property
    def rig_sha256(self) -> str:
        """SHA-256 of the rig file, in hexadecimal: two corpora of one rig have the same."""
        return self.manifest.rig_sha256

    @cached_property
    def rig(self) -> FaceRig:
        """The rig that the coefficients belong to, read when first asked for.

        Raises:
            ValueError: not a rig file, or its shapes are not those of ``corpus.json``.
            OSError: the file cannot be read.
        """
        rig = FaceRig.load(self.path / RIG)
        if rig.names != self.shapes:
            raise ValueError(f'{self.path / MANIFEST}: "shapes" are not the {rig.num_shapes} shapes of {RIG}')
        return rig

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
            ValueError: a subject that the corpus does not have.
        """
        subjects = set(subjects)
        unknown = sorted(subjects.difference(self.subjects))
        if unknown:
            raise ValueError(f"{self.path} has no subject {unknown[0]!r}; it has {', '.join(self.subjects)}")
        return tuple(entry.id for entry in self._entries.values() if entry.subject in subjects)

    def label_counts(self, subjects: Iterable[str] | None = None) -> tuple[Tensor, Tensor]:
        """Frames in which each action unit is on, and frames in which it is known, two of (R,) int64.

        Args:
            subjects: to count; all of them if not given.

        Raises:
            ValueError: a subject that the corpus does not have, or a sequence file that does not fit.
            OSError: a file cannot be read.
        """
        positive = torch.zeros(len(self.action_units), dtype=torch.int64)
        known = positive.clone()
        for id in self.ids_of(self.subjects if subjects is None else subjects):
            entry = self._entries[id]
            tensors = self._read(entry, ("labels", "valid"))
            try:
                check_labels(tensors["labels"])
            except ValueError as error:
                raise ValueError(f"{self._file(entry)}: {error}") from error
            mask = label_mask(tensors["labels"], tensors["valid"])
            known += mask.sum(0)
            positive += (mask & (tensors["labels"] == 1)).sum(0)
        return positive, known

    def label_rates(self, subjects: Iterable[str] | None = None) -> Tensor:
        """Share of the known labels of each action unit that are on, (R,) float64; 0 where none is known.

        Args:
            subjects: to count; all of them if not given.

        Raises:
            ValueError: a subject that the corpus does not have, or a sequence file that does not fit.
            OSError: a file cannot be read.
        """
        positive, known = self.label_counts(subjects)
        return positive.double() / known.clamp(min=1)

    def _file(self, entry: SequenceEntry) -> Path:
        return self.path / SEQUENCES / f"{entry.id}.safetensors"

    def _read(self, entry: SequenceEntry, names: Iterable[str]) -> dict[str, Tensor]:
        """Some tensors of a sequence file, memory-mapped, after a look at the file's header."""
        path = self._file(entry)
        with open(path, "rb"):  # the system's own error for a missing or locked file; safetensors' names no path
            pass
        try:
            with safe_open(path, framework="pt") as file:
                found = set(file.keys())
                for name in sorted(found.symmetric_difference(self.manifest.tensors)):
                    raise ValueError(f"{path}: {'unexpected' if name in found else 'missing'} tensor {name}")
                for name, layout in self.manifest.tensors.items():
                    header, shape = file.get_slice(name), [entry.frames, *layout.shape]
                    if (header.get_dtype(), header.get_shape()) != (_CODES[layout.dtype], shape):
                        raise ValueError(
                            f"{path}: tensor {name}: expected {layout.dtype} of shape {tuple(shape)}, "
                            f"found {header.get_dtype()} of shape {tuple(header.get_shape())}"
                        )
                return {name: file.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise ValueError(f"{path}: not a complete safetensors file: {error}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
