"""Rig files: one safetensors file, with names and provenance in its metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import torch

from biomechau.file_errors import quote, shorten
from biomechau.files import replacing
from biomechau.json_file import parse_json
from biomechau.rig._rig_parts import RigParts
from biomechau.tensor_file import open_tensors, tensor_bytes

FORMAT = "biomechau-rig"
VERSION = "1"
_TENSORS = ("neutral", "faces", "blendshapes", "identity")
_Kind = TypeVar("_Kind", list, dict)


def save_rig(rig: RigParts, path: str | Path) -> None:
    """Write a rig as one safetensors file; on failure an existing file stays as it was.

    Raises:
        OSError: the file cannot be written.
    """
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {
        name: getattr(rig, name).detach().cpu().clone(memory_format=torch.contiguous_format) for name in _TENSORS
    }
    texts = {"names": rig.names, "identity_names": rig.identity_names, "provenance": dict(rig.provenance)}
    metadata = {"format": FORMAT, "version": VERSION, **{key: json.dumps(text) for key, text in texts.items()}}
    with replacing(path) as partial:
        # Not safetensors' save_file, which ignores the umask and does not report failures as OSError.
        partial.write_bytes(tensor_bytes(tensors, metadata))


def load_rig(path: str | Path) -> RigParts:
    """Read a rig that :func:`save_rig` wrote. The tensors are views of the memory-mapped file.

    Raises:
        ValueError: not a complete rig file of this version; the message names the file and the tensor.
        OSError: the file cannot be read.
    """
    with open_tensors(path) as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(f"not a rig file: its metadata lacks format {FORMAT!r}")
        if metadata.get("version") != VERSION:
            raise ValueError(f"rig format version {VERSION} expected, found {shorten(str(metadata.get('version')))}")
        missing = [name for name in _TENSORS if name not in file.keys()]  # noqa: SIM118, keys() is all it offers
        if missing:
            raise ValueError(f"missing tensor {', '.join(missing)}")
        return RigParts(
            **{name: file.get_tensor(name) for name in _TENSORS},
            names=tuple(_texts(metadata, "names", list)),
            identity_names=tuple(_texts(metadata, "identity_names", list)),
            provenance=_texts(metadata, "provenance", dict),
        )


def _texts(metadata: dict[str, str], key: str, kind: type[_Kind]) -> _Kind:
    """One JSON entry of the metadata, which must be a list or a dictionary of strings."""
    try:
        value = parse_json(metadata.get(key, ""))
    except (ValueError, RecursionError):
        value = None
    texts = value.values() if isinstance(value, dict) else value
    if not isinstance(value, kind) or not all(isinstance(text, str) for text in texts or ()):
        found = quote(metadata.get(key))
        raise ValueError(f"metadata {key!r} must be a JSON {kind.__name__} of strings, found {found}")
    return value
