"""Safetensors files, with errors that name the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from biomechau.file_errors import naming, reason, regular_file
from biomechau.files import replacing

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def open_tensors(path: str | Path) -> Iterator[Any]:
    """An open safetensors file, memory-mapped; see ``safetensors.safe_open``.

    Raises:
        ValueError: not a complete safetensors file, or a ValueError of the block; the message names the file.
        OSError: the file cannot be read.
    """
    regular_file(path)
    with naming(path):
        try:
            with safe_open(path, framework="pt") as file:
                yield file
        except (SafetensorError, AttributeError) as error:  # dtypes that this version of torch lacks are attributes
            raise ValueError(f"{path}: not a complete safetensors file: {reason(error)}") from error


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with sorted metadata, so that equal contents give equal bytes.

    safetensors writes metadata in no particular order. The header is 8 bytes of length (little endian), then JSON.
    """
    from safetensors.torch import save

    data = save(dict(tensors), dict(metadata))
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if metadata:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def add_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file again with more tensors and metadata; those of the same names are replaced.

    Raises:
        ValueError: not a complete safetensors file; the message names it.
        OSError: the file cannot be read or written.
    """
    with open_tensors(path) as file:
        kept = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118, keys() is all it offers
        known = dict(file.metadata() or {})
    data = tensor_bytes({**kept, **tensors}, {**known, **metadata})
    with replacing(path) as partial:
        partial.write_bytes(data)
