"""Manifest: the contents of ``corpus.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from biomechau.corpus.corpus_sequence import TENSORS, CorpusSequence, dtype_name
from biomechau.corpus.face_sequence import check_frame_rate
from biomechau.file_errors import naming, quote
from biomechau.json_file import entry, is_count, is_number, is_object, is_text, list_of, read_json
from biomechau.rig.muscles import check_muscle_names

FORMAT = "biomechau-corpus"
VERSION = 1
MANIFEST = "corpus.json"
RIG = "rig.safetensors"
SEQUENCES = "sequences"
# Safe as a file name on every system, and never hidden, absolute or outside the folder.
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class TensorLayout(NamedTuple):
    """Dtype of a tensor of every sequence, and its shape without the frame axis."""

    dtype: str
    shape: tuple[int, ...]


class SequenceEntry(NamedTuple):
    """One sequence of the list."""

    id: str
    subject: str
    task: str
    frames: int


@dataclass(frozen=True)
class Manifest:
    """The contents of ``corpus.json``.

    Attributes:
        action_units: numbers of the R action units, in the order of the labels.
        fps: nominal frame rate [1/s].
        rig_sha256: of the rig file, in hexadecimal.
        shapes: names of the K shapes, in the order of the coefficients.
        muscles: identifiers of the M muscles with known forces; empty if none are known.
        tensors: layout of each tensor, the same for every sequence.
        sequences: all sequences, in the order they were written.
        provenance: where the corpus came from; JSON values.

    Raises:
        ValueError: an entry is missing, has the wrong type, or does not match the others; the message names it.
    """

    action_units: tuple[int, ...]
    fps: float
    rig_sha256: str
    shapes: tuple[str, ...]
    muscles: tuple[str, ...]
    tensors: Mapping[str, TensorLayout]
    sequences: tuple[SequenceEntry, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_header(self.action_units, self.fps, self.muscles)
        if not self.sequences:
            raise ValueError("the corpus has no sequences, expected at least one")
        check_layouts(self.tensors, {"K": len(self.shapes), "R": len(self.action_units), "M": len(self.muscles)})
        taken: set[str] = set()
        for sequence in self.sequences:
            check_id(sequence.id, taken)
            taken.add(sequence.id.casefold())
            check_subject(sequence.id, sequence.subject)

    def save(self, path: Path) -> None:
        """Write ``corpus.json``; the same manifest gives the same bytes.

        Raises:
            TypeError, ValueError: the provenance cannot be written as JSON.
            OSError: the file cannot be written.
        """
        data = {
            "format": FORMAT,
            "version": VERSION,
            "action_units": self.action_units,
            "fps": self.fps,
            "rig": {"file": RIG, "sha256": self.rig_sha256},
            "shapes": self.shapes,
            "muscles": self.muscles,
            "tensors": {name: layout._asdict() for name, layout in self.tensors.items()},
            "provenance": dict(self.provenance),
            "sequences": [sequence._asdict() for sequence in self.sequences],
        }
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read ``corpus.json``.

        Raises:
            ValueError: not a manifest of this version; the message names the file and the entry.
            OSError: the file cannot be read, or is not there.
        """
        if not path.is_file():
            raise FileNotFoundError(
                f"{path.parent} is not a corpus: it has no {path.name}, which simulate, corpus bp4d and disfa write"
            )
        data = read_json(path)
        with naming(path):
            return cls._parse(data)

    @classmethod
    def _parse(cls, data: Any) -> Manifest:
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"not a corpus: expected format {FORMAT!r}")
        if data.get("version") != VERSION:
            raise ValueError(f"corpus format version {VERSION} expected, found {quote(data.get('version'))}")
        rig = entry(data, "rig", "an object", is_object)
        entry(rig, "file", repr(RIG), lambda value: value == RIG, "rig.")
        tensors = {}
        for name in entry(data, "tensors", "an object", is_object):
            tensor = entry(data["tensors"], name, "an object", is_object, "tensors.")
            dtype = entry(tensor, "dtype", "a string", is_text, f"tensors.{name}.")
            shape = entry(tensor, "shape", "a list of whole numbers", list_of(is_count), f"tensors.{name}.")
            tensors[name] = TensorLayout(dtype, tuple(shape))
        sequences = []
        for number, item in enumerate(entry(data, "sequences", "a list of objects", list_of(is_object))):
            where = f"sequences[{number}]."
            id, subject, task = (entry(item, key, "a string", is_text, where) for key in ("id", "subject", "task"))
            frames = entry(item, "frames", "a number above 0", is_count, where)
            sequences.append(SequenceEntry(id, subject, task, frames))
        return cls(
            action_units=tuple(entry(data, "action_units", "a list of whole numbers", list_of(is_count))),
            fps=entry(data, "fps", "a number", is_number),
            rig_sha256=entry(rig, "sha256", "a string", is_text, "rig."),
            shapes=tuple(entry(data, "shapes", "a list of strings", list_of(is_text))),
            muscles=tuple(entry(data, "muscles", "a list of strings", list_of(is_text))),
            tensors=tensors,
            sequences=tuple(sequences),
            provenance=entry(data, "provenance", "an object", is_object),
        )


def check_header(action_units: tuple[int, ...], fps: float, muscles: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless action units and muscles are unique and the frame rate is positive."""
    if not action_units or len(set(action_units)) < len(action_units) or not all(map(is_count, action_units)):
        raise ValueError(
            f"action_units must be different whole numbers above 0, at least one, got {quote(action_units)}"
        )
    check_frame_rate(fps)
    check_muscle_names(muscles)


def check_layouts(tensors: Mapping[str, TensorLayout], sizes: Mapping[str, int]) -> None:
    """Raise ``ValueError`` unless these are the tensors of a sequence; ``sizes`` has the length of known axes."""
    unknown = tensors.keys() - TENSORS.keys()
    if unknown:
        raise ValueError(f"unknown tensor {quote(sorted(unknown)[0])}, expected {', '.join(TENSORS)}")
    for name, kind in TENSORS.items():
        if name not in tensors:
            if kind.required:
                raise ValueError(f"missing tensor {name}")
            continue
        dtype, shape = tensors[name]
        if dtype not in map(dtype_name, kind.dtypes):
            raise ValueError(
                f"tensor {name}: expected {' or '.join(map(dtype_name, kind.dtypes))}, found {quote(dtype)}"
            )
        expected = [tuple(int(axis) if axis.isdigit() else sizes.get(axis) for axis in axes) for axes in kind.axes]
        if not any(_fits(shape, allowed) for allowed in expected):
            wanted = " or ".join(str(("T", *("any" if size is None else size for size in axes))) for axes in expected)
            raise ValueError(f"tensor {name}: expected shape {wanted}, found {quote(('T', *shape))}".replace("'", ""))
    if sizes.get("M") and "muscle_forces" not in tensors:
        raise ValueError("missing tensor muscle_forces, although muscles are named")


def check_id(identifier: str, taken: set[str]) -> None:
    """Raise ``ValueError`` unless this is a safe file name that is not taken yet (case folded)."""
    if not _SAFE_NAME.fullmatch(identifier):
        raise ValueError(
            f"sequence id {quote(identifier)} is not a safe file name: expected 1 to 100 letters, digits, '.', '_' or "
            "'-', the first a letter or digit"
        )
    if identifier.casefold() in taken:
        raise ValueError(f"sequence id {quote(identifier)} appears twice (case is ignored)")


def check_subject(identifier: str, subject: str) -> None:
    """Raise ``ValueError`` unless this is a valid name of a subject.

    A name has 1 to 100 printable characters, the first a letter or digit. It is shown on terminals and written to
    tables, where other characters could be commands or formulas.
    """
    if not subject:
        raise ValueError(f"sequence {quote(identifier)} has no subject")
    if not (len(subject) <= 100 and subject.isprintable() and subject[0].isalnum()):
        raise ValueError(
            f"sequence {quote(identifier)}: the name of a subject must have 1 to 100 printable characters, the first a "
            f"letter or digit, got {quote(subject)}"
        )


def layouts(sequence: CorpusSequence) -> dict[str, TensorLayout]:
    """The layout of each tensor of a sequence."""
    return {name: TensorLayout(dtype_name(t.dtype), tuple(t.shape[1:])) for name, t in sequence.tensors.items()}


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(b in (None, a) for a, b in zip(shape, expected, strict=True))
