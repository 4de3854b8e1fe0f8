"""Image features of a corpus, cached next to its sequences.

If one backbone is used for all subjects, ``CORPUS/image_features`` has ``features.json`` and one safetensors file per
sequence. Backbones that were trained on some subjects of the corpus have one subfolder each. ``corpus.json`` and the
sequences never change, so earlier runs still recognise the corpus.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from biomechau.file_errors import quote
from biomechau.files import is_unfinished, read_description, remove_folder, replacing
from biomechau.finite import check_finite
from biomechau.tensor_file import open_tensors

FORMAT = "biomechau-image-features"
VERSION = 1
DESCRIPTION = "features.json"
# Folder of the features of a corpus.
FEATURES = "image_features"
# Features (T, D) float32; and (T,) bool, False in frames without a picture, whose features are 0.
TENSORS = ("image_features", "image_valid")


@dataclass(frozen=True)
class BackboneCard:
    """Identity of the backbone that computed image features.

    Features of different cards are not comparable, even if their sizes are equal.

    Attributes:
        name: of the backbone.
        revision: a commit, or a digest of the weights.
        size: D, number of features.
        preprocessing: of the pictures, including their size; JSON values.
        subjects: the subjects it was trained or selected on; empty for a pretrained backbone.
        corpus_sha256: digest of the ``corpus.json`` of these subjects.
    """

    name: str
    revision: str
    size: int
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()
    corpus_sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {**asdict(self), "subjects": list(self.subjects)}

    @classmethod
    def from_json(cls, values: Any) -> BackboneCard:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: a field is missing, unknown or of the wrong type.
        """
        names = [f.name for f in fields(cls)]
        if not isinstance(values, dict) or set(values) != set(names):
            raise ValueError(f"a backbone's card has the fields {', '.join(names)}, found {quote(values)}")
        text = all(isinstance(values[name], str) for name in ("name", "revision"))
        kinds = isinstance(values["preprocessing"], dict) and isinstance(values["subjects"], list)
        if not (text and kinds and type(values["size"]) is int and values["size"] > 0):
            raise ValueError(f"not a backbone's card: {quote(values)}")
        return cls(**{**values, "subjects": tuple(values["subjects"])})

    def __str__(self) -> str:
        return f"{self.name} ({self.revision[:14]})"

    def difference(self, found: BackboneCard) -> str:
        """The first difference from another card, in words; empty if they are equal."""
        mine, other = self.to_json(), found.to_json()
        mine |= {f"preprocessing with {name}": value for name, value in mine.pop("preprocessing").items()}
        other |= {f"preprocessing with {name}": value for name, value in other.pop("preprocessing").items()}
        changed = [name for name in {**mine, **other} if mine.get(name) != other.get(name)]
        return f"{changed[0]} {mine.get(changed[0])}, not {other.get(changed[0])}" if changed else ""


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Image features of a corpus, possibly not yet of all sequences.

    Attributes:
        folder: with ``features.json`` and ``<sequence id>.safetensors``.
        card: of the backbone.
        corpus_sha256: digest of the ``corpus.json`` of the corpus that they belong to.
    """

    folder: Path
    card: BackboneCard
    corpus_sha256: str

    @classmethod
    def open(cls, folder: str | Path, corpus_sha256: str) -> ImageFeatures:
        """Read the description of the features of a corpus.

        Raises:
            ValueError: not features of this version, or those of another corpus; the message names the file.
            OSError: the file cannot be read.
        """
        path = Path(folder) / DESCRIPTION
        values = read_description(path, "image features", FORMAT)
        if values.get("version") != VERSION:
            raise ValueError(
                f"{path}: image features of version {VERSION} expected, found {quote(values.get('version'))}"
            )
        try:
            card = BackboneCard.from_json(values.get("backbone"))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        if values.get("corpus_sha256") != corpus_sha256:
            raise ValueError(
                f"{path}: these are image features of another corpus than the one in this folder; delete them"
            )
        return cls(Path(folder), card, corpus_sha256)

    @classmethod
    def start(cls, folder: str | Path, card: BackboneCard, corpus_sha256: str, replace: bool = False) -> ImageFeatures:
        """Create a folder of features, or continue one of the same backbone.

        Args:
            folder: to create.
            card: of the backbone.
            corpus_sha256: of the corpus.
            replace: remove other features first.

        Raises:
            ValueError: there are features of another backbone, revision, preprocessing or corpus.
            FileExistsError: the folder has other files.
            OSError: the folder cannot be written.
        """
        folder = Path(folder)
        if replace:
            remove_image_features(folder)
        elif (folder / DESCRIPTION).is_file():
            found = cls.open(folder, corpus_sha256)
            if difference := found.card.difference(card):
                raise ValueError(
                    f"{folder} has image features of another backbone: {difference}; --replace removes them"
                )
            return found
        if folder.exists() and not _is_empty(folder):
            raise FileExistsError(
                f"{folder} is not empty and does not have image features of one backbone; --replace removes them"
            )
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "format": FORMAT,
            "version": VERSION,
            "corpus_sha256": corpus_sha256,
            "backbone": card.to_json(),
        }
        with replacing(folder / DESCRIPTION) as partial:
            partial.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return cls(folder, card, corpus_sha256)

    @property
    def own_subjects(self) -> set[str]:
        """Subjects of the corpus itself that the backbone was trained or selected on."""
        return set(self.card.subjects) if self.card.corpus_sha256 == self.corpus_sha256 else set()

    @property
    def for_all_subjects(self) -> bool:
        """Whether the backbone was not trained on subjects of the corpus, and is used for all of them."""
        return self.folder.name == FEATURES and not self.own_subjects

    def missing(self, ids: Iterable[str]) -> tuple[str, ...]:
        """The sequences among ``ids`` that have no features yet."""
        return tuple(id for id in ids if not self._file(id).is_file())

    def write(self, id: str, features: Tensor, valid: Tensor) -> None:
        """Add the features (T, D) float32 of a sequence, and which of its frames have a picture (T,) bool.

        Raises:
            ValueError: shapes do not match, or features are not finite.
            OSError: the file cannot be written.
        """
        if features.shape != (len(valid), self.card.size):
            raise ValueError(
                f"{id}: image features must have shape {(len(valid), self.card.size)}, got {tuple(features.shape)}"
            )
        if not bool(features.isfinite().all()):
            raise ValueError(f"{id}: {self.card.name} gives image features that are not finite")
        tensors = (features.float().contiguous(), valid.contiguous())
        with replacing(self._file(id)) as partial:
            partial.write_bytes(save(dict(zip(TENSORS, tensors, strict=True))))

    def read(self, id: str, frames: int) -> dict[str, Tensor]:
        """The features of a sequence of T frames, memory-mapped: ``image_features`` and ``image_valid``.

        Raises:
            ValueError: the file is truncated, does not fit, or has a number that is not finite; the message names it.
            OSError: the file cannot be read.
        """
        path = self._file(id)
        with open_tensors(path) as file:
            found = {name: file.get_tensor(name) for name in TENSORS}
            expected = (torch.float32, (frames, self.card.size)), (torch.bool, (frames,))
            for (name, tensor), (dtype, shape) in zip(found.items(), expected, strict=True):
                if tensor.dtype != dtype or tuple(tensor.shape) != shape:
                    raise ValueError(
                        f"{path}: tensor {name}: expected {dtype} of shape {shape}, found {tensor.dtype} of shape "
                        f"{quote(tuple(tensor.shape))}"
                    )
            check_finite(path, found)
        return found

    def _file(self, id: str) -> Path:
        return self.folder / f"{id}.safetensors"


def remove_image_features(folder: Path) -> None:
    """Remove a folder of image features, of one backbone or of several, if it exists.

    Raises:
        FileExistsError: the folder has other files.
        OSError: it cannot be removed.
    """
    if not folder.exists():
        return
    held = [path for path in folder.iterdir() if not is_unfinished(path)]
    if not (folder / DESCRIPTION).is_file() and not all((p / DESCRIPTION).is_file() or _is_empty(p) for p in held):
        raise FileExistsError(f"{folder} has other files than image features, so it is not removed")
    remove_folder(folder)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and all(map(is_unfinished, folder.iterdir()))
