"""Corpus: a folder of labelled sequences of one rig."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from copy import copy
from functools import cached_property
from pathlib import Path

from torch import Tensor

from biomechau.corpus.corpus_sequence import CorpusSequence, check_labels
from biomechau.corpus.face_sequence import check_timestamp
from biomechau.corpus.feature_cache import FeatureCache
from biomechau.corpus.fold import Fold
from biomechau.corpus.image_features import BackboneCard, ImageFeatures
from biomechau.corpus.labelled_corpus import LabelledCorpus
from biomechau.corpus.manifest import MANIFEST, RIG, SEQUENCES, Manifest, SequenceEntry
from biomechau.file_errors import naming, quote, shorten
from biomechau.rig import FaceRig
from biomechau.tensor_file import open_tensors

# How safetensors spells the dtypes.
_CODES = {"float32": "F32", "float16": "F16", "float64": "F64", "int8": "I8", "bool": "BOOL"}


class Corpus(LabelledCorpus):
    """Labelled sequences of many subjects, on disk. :class:`biomechau.corpus.CorpusWriter` creates one.

    The folder has ``corpus.json``, ``rig.safetensors`` and ``sequences/<id>.safetensors``. Meshes are not stored, since
    they are u = sum_k c_k B_k (Eq. 3), but ``vertices_residual`` is, if they deviate from it. Image features are cached
    in a separate folder, ``image_features``. Computing them changes neither ``corpus.json`` nor the sequences, so
    earlier runs stay valid.

    ``corpus[id]`` reads one sequence, ``for sequence in corpus`` all of them, in the order of ``ids``. Sequences are
    views of memory-mapped files: unused tensors are not read.

    Args:
        path: the folder.
        manifest: contents of its ``corpus.json``.
        feature_cache: the cached image features; by default empty.
        features: the image features to return with the sequences; None for none.
    """

    def __init__(
        self,
        path: str | Path,
        manifest: Manifest,
        feature_cache: FeatureCache | None = None,
        features: ImageFeatures | None = None,
    ) -> None:
        super().__init__(Path(path), manifest, features)
        self.feature_cache = FeatureCache(self.path, self.ids) if feature_cache is None else feature_cache

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Open a corpus folder and check it, except for values, which are checked when a sequence is read.

        Raises:
            ValueError: not a complete corpus of this version: ``corpus.json`` is broken, the rig is not the one that
                the corpus was made with, or a sequence file is truncated or does not fit; the message names the file
                and the tensor.
            OSError: a file cannot be read.
        """
        path = Path(path)
        corpus = cls(path, Manifest.load(path / MANIFEST))
        corpus.feature_cache = FeatureCache.open(path, corpus.sha256, corpus.ids)
        corpus.features = corpus.feature_cache.of_all_subjects()
        found = file_sha256(path / RIG)
        if found != corpus.rig_sha256:
            raise ValueError(
                f"{path / RIG}: not the rig that the corpus was made with: expected SHA-256 "
                f"{corpus.rig_sha256[:12]}..., found {found[:12]}..."
            )
        for entry in corpus.manifest.sequences:
            corpus._read(entry, ())
        return corpus

    def with_features(self, features: ImageFeatures | None) -> Corpus:
        """The same corpus with other image features, or without any for None."""
        if features is self.features:
            return self
        other = copy(self)  # keeps what was read already
        other.features = features
        return other

    def of_fold(self, fold: Fold) -> Corpus:
        """The corpus with the image features that the training of a fold may use, see :meth:`FeatureCache.of_fold`.

        Features in the sequence files are used for every fold.

        Raises:
            ValueError: there are no image features, none for this fold, or not yet those of all sequences.
        """
        return self if self._has_own_features else self.with_features(self.feature_cache.of_fold(fold))

    def of_backbone(self, card: BackboneCard | None) -> Corpus:
        """The corpus with the image features of one backbone, or those of its sequence files for None.

        Raises:
            ValueError: there are no such features, or not yet those of all sequences.
        """
        if self._has_own_features and card is None:
            return self
        return self.with_features(self.feature_cache.of_backbone(card))

    def __getitem__(self, id: str) -> CorpusSequence:
        """Read one sequence.

        Raises:
            KeyError: there is no such sequence.
            ValueError: a value is invalid; the message names the file, the tensor and the frame.
            OSError: the file cannot be read.
        """
        entry = self._entries[id]
        cached = {} if self.features is None else self.features.read(id, entry.frames)
        with naming(self.file_of(entry.id)):
            tensors = {**self._read(entry, self.manifest.tensors), **cached}
            return CorpusSequence(entry.id, entry.subject, entry.task, **tensors)

    @property
    def num_image_features(self) -> int:
        """D, number of image features per frame, the same for all folds; 0 without any."""
        own = self.manifest.tensors.get("image_features")
        return self.feature_cache.size if own is None else own.shape[0]

    @property
    def sha256(self) -> str:
        """SHA-256 of ``corpus.json``, in hexadecimal, by which runs and image features recognise their corpus.

        Raises:
            OSError: the file cannot be read.
        """
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return file_sha256(self.path / MANIFEST)

    @property
    def _has_own_features(self) -> bool:
        return "image_features" in self.manifest.tensors

    @property
    def rig(self) -> FaceRig:
        """The rig that the coefficients belong to, read on first access.

        Raises:
            ValueError: not a rig file, or its shapes are not those of ``corpus.json``.
            OSError: the file cannot be read.
        """
        return self._rig

    @cached_property
    def _rig(self) -> FaceRig:
        rig = FaceRig.load(self.path / RIG)
        if rig.names != self.shapes:
            raise ValueError(f'{self.path / MANIFEST}: "shapes" are not the {rig.num_shapes} shapes of {RIG}')
        return rig

    def timestamp(self, id: str) -> Tensor:
        """Time of each frame of a sequence, (T,) float64 [s]; no other tensor is read.

        Raises:
            ValueError: the sequence file does not fit.
            OSError: the file cannot be read.
        """
        timestamp = self._read(self._entries[id], ("timestamp",))["timestamp"]
        with naming(self.file_of(id)):
            check_timestamp(timestamp)
        return timestamp

    def _labels(self, entry: SequenceEntry) -> tuple[Tensor, Tensor]:
        tensors = self._read(entry, ("labels", "valid"))
        with naming(self.file_of(entry.id)):
            check_labels(tensors["labels"])
        return tensors["labels"], tensors["valid"]

    def file_of(self, id: str) -> Path:
        """The file of a sequence."""
        return self.path / SEQUENCES / f"{id}.safetensors"

    def _read(self, entry: SequenceEntry, names: Iterable[str]) -> dict[str, Tensor]:
        """Some tensors of a sequence file, memory-mapped; its header is checked first."""
        path = self.file_of(entry.id)
        with open_tensors(path) as file:
            found = set(file.keys())
            for name in sorted(found.symmetric_difference(self.manifest.tensors)):
                raise ValueError(f"{path}: {'unexpected' if name in found else 'missing'} tensor {shorten(name)}")
            for name, layout in self.manifest.tensors.items():
                header, shape = file.get_slice(name), [entry.frames, *layout.shape]
                if (header.get_dtype(), header.get_shape()) != (_CODES[layout.dtype], shape):
                    raise ValueError(
                        f"{path}: tensor {name}: expected {layout.dtype} of shape {quote(tuple(shape))}, "
                        f"found {header.get_dtype()} of shape {quote(tuple(header.get_shape()))}"
                    )
            return {name: file.get_tensor(name) for name in names}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
