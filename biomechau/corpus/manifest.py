"""Manifest: what ``corpus.json`` says about a corpus."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from biomechau.corpus.corpus_sequence import TENSORS, CorpusSequence, dtype_name

FORMAT = "biomechau-corpus"
VERSION = 1
MANIFEST = "corpus.json"
RIG = "rig.safetensors"
SEQUENCES = "sequences"
# Safe as a file name on every system, and never hidden, absolute or a way out of the folder.
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class TensorLayout(NamedTuple):
    """One tensor of every sequence: its dtype, and its shape without the frames."""

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
        muscles: identifiers of the M muscles whose forces are known; empty where they are not.
        tensors: layout of each tensor, the same for every sequence.
        sequences: all sequences, in the order they were written.
        provenance: where the corpus came from; what JSON can hold.

    Raises:
        ValueError: an entry that is missing, of another kind, or does not fit the others; the message names it.
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
        for entry in self.sequences:
            check_id(entry.id, taken)
            taken.add(entry.id.casefold())
            if not entry.subject:
                raise ValueError(f"sequence {entry.id!r} has no subject")

    def save(self, path: Path) -> None:
        """Write ``corpus.json``; the same manifest gives the same bytes.

        Raises:
            TypeError, ValueError: provenance that JSON cannot hold.
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
            "sequences": [entry._asdict() for entry in self.sequences],
        }
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read ``corpus.json``.

        Raises:
            ValueError: not a manifest of this version; the message names the file and the entry.
            OSError: the file cannot be read.
        """
        try:
            data = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not a JSON file: {error}") from error
        try:
            return cls._parse(data)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def _parse(cls, data: Any) -> Manifest:
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"not a corpus: expected format {FORMAT!r}")
        if data.get("version") != VERSION:
            raise ValueError(f"corpus format version {VERSION} expected, found {data.get('version')}")
        rig = _entry(data, "rig", "an object", _is_object)
        _entry(rig, "file", repr(RIG), lambda value: value == RIG, "rig.")
        tensors = {}
        for name in _entry(data, "tensors", "an object", _is_object):
            tensor = _entry(data["tensors"], name, "an object", _is_object, "tensors.")
            dtype = _entry(tensor, "dtype", "a string", _is_text, f"tensors.{name}.")
            shape = _entry(tensor, "shape", "a list of whole numbers", _list_of(_is_count), f"tensors.{name}.")
            tensors[name] = TensorLayout(dtype, tuple(shape))
        sequences = []
        for number, item in enumerate(_entry(data, "sequences", "a list of objects", _list_of(_is_object))):
            where = f"sequences[{number}]."
            id, subject, task = (_entry(item, key, "a string", _is_text, where) for key in ("id", "subject", "task"))
            frames = _entry(item, "frames", "a number above 0", _is_count, where)
            sequences.append(SequenceEntry(id, subject, task, frames))
        return cls(
            action_units=tuple(_entry(data, "action_units", "a list of whole numbers", _list_of(_is_count))),
            fps=_entry(data, "fps", "a number", lambda value: type(value) in (int, float)),
            rig_sha256=_entry(rig, "sha256", "a string", _is_text, "rig."),
            shapes=tuple(_entry(data, "shapes", "a list of strings", _list_of(_is_text))),
            muscles=tuple(_entry(data, "muscles", "a list of strings", _list_of(_is_text))),
            tensors=tensors,
            sequences=tuple(sequences),
            provenance=_entry(data, "provenance", "an object", _is_object),
        )


def check_header(action_units: tuple[int, ...], fps: float, muscles: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless these can head a corpus: unique action units and muscles, a positive frame rate."""
    if not action_units or len(set(action_units)) < len(action_units) or not all(map(_is_count, action_units)):
        raise ValueError(f"action_units must be different whole numbers above 0, at least one, got {action_units}")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be positive, got {fps}")
    if len(set(muscles)) < len(muscles):
        raise ValueError("muscles must have different names")


def check_layouts(tensors: Mapping[str, TensorLayout], sizes: Mapping[str, int]) -> None:
    """Raise ``ValueError`` unless these tensors can make a sequence; ``sizes`` tells the length of known axes."""
    unknown = tensors.keys() - TENSORS.keys()
    if unknown:
        raise ValueError(f"unknown tensor {sorted(unknown)[0]!r}, expected {', '.join(TENSORS)}")
    for name, kind in TENSORS.items():
        if name not in tensors:
            if kind.required:
                raise ValueError(f"missing tensor {name}")
            continue
        dtype, shape = tensors[name]
        if dtype not in map(dtype_name, kind.dtypes):
            raise ValueError(f"tensor {name}: expected {' or '.join(map(dtype_name, kind.dtypes))}, found {dtype}")
        expected = [tuple(3 if axis == "3" else sizes.get(axis) for axis in axes) for axes in kind.axes]
        if not any(_fits(shape, allowed) for allowed in expected):
            wanted = " or ".join(str(("T", *("any" if size is None else size for size in axes))) for axes in expected)
            raise ValueError(f"tensor {name}: expected shape {wanted}, found {('T', *shape)}".replace("'", ""))
    if sizes.get("M") and "muscle_forces" not in tensors:
        raise ValueError("missing tensor muscle_forces, though muscles are named")


def check_id(identifier: str, taken: set[str]) -> None:
    """Raise ``ValueError`` unless this can name a sequence file beside those taken (case folded)."""
    if not _SAFE_NAME.fullmatch(identifier):
        raise ValueError(
            f"sequence id {identifier!r} is no safe file name: expected 1 to 100 letters, digits, '.', '_' or '-', "
            "the first a letter or digit"
        )
    if identifier.casefold() in taken:
        raise ValueError(f"sequence id {identifier!r} is there twice (capitals do not count)")


def layouts(sequence: CorpusSequence) -> dict[str, TensorLayout]:
    """The layout of each tensor of a sequence."""
    return {name: TensorLayout(dtype_name(t.dtype), tuple(t.shape[1:])) for name, t in sequence.tensors.items()}


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(b in (None, a) for a, b in zip(shape, expected, strict=True))


def _entry(data: Mapping[str, Any], key: str, expected: str, fits: Callable[[Any], bool], parent: str = "") -> Any:
    if key not in data:
        raise ValueError(f'"{parent}{key}" is missing, expected {expected}')
    if not fits(data[key]):
        raise ValueError(f'"{parent}{key}": expected {expected}, found {json.dumps(data[key])[:60]}')
    return data[key]


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))
