"""Reads the arrays of an ``.npz`` file after checking their sizes."""

from __future__ import annotations

import io
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biomechau.file_errors import quote, reason, regular_file

_ENDING = ".npy"
# Compression methods of numpy.
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Longest header that is read, numpy's own limit.
_LONGEST_HEADER = 10_000
# Compression ratio that is plausible: recorded motion hardly compresses. Small files of zeros may.
_LARGEST_RATIO = 100
_ALWAYS_READ = 256 << 20  # bytes
# Exceptions of numpy and zipfile for broken, encrypted or hostile content.
_ERRORS = (
    *(ValueError, TypeError, OSError, EOFError, MemoryError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, OverflowError),
)


class ArrayHeader(NamedTuple):
    """Header of an array.

    Attributes:
        shape: of the array.
        dtype: of its items.
        start: number of bytes before its items.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    start: int

    @property
    def size(self) -> int:
        """Bytes in memory. Items and axes of size 0 count as 1, because loops over the other axes take time."""
        return max(self.dtype.itemsize, 1) * math.prod(max(length, 1) for length in self.shape)


def read_arrays(path: str | Path, names: Iterable[str]) -> dict[str, NDArray[np.generic]]:
    """Read some arrays of a file, as far as it has them. Nothing is unpickled.

    The headers of the arrays are read first. Their sizes must match the file and be in proportion to it.

    Raises:
        ValueError: not an .npz file of plain arrays, or sizes that the file cannot hold; the message names the file and
            the array.
        OSError: the file cannot be read.
    """
    regular_file(path)
    with open(path, "rb") as stream:
        try:
            with zipfile.ZipFile(stream) as file:
                members = {member.filename.removesuffix(_ENDING): member for member in file.infolist()}
                found = {name: members[name] for name in names if name in members}
                headers = {name: _header(file, name, member) for name, member in found.items()}
                _check_sizes(headers, os.fstat(stream.fileno()).st_size)
                return {name: _read(file, member, headers[name]) for name, member in found.items()}
        except _ERRORS as error:
            raise ValueError(f"{path}: not a complete .npz file of plain arrays: {reason(error)}") from error


def _header(file: zipfile.ZipFile, name: str, member: zipfile.ZipInfo) -> ArrayHeader:
    if member.compress_type not in _PACKINGS:
        raise ValueError(f"{name} is compressed by a method that numpy does not use")
    if not member.filename.endswith(_ENDING):
        raise ValueError(f"{name} is not an array")
    with file.open(member) as stream:
        start = io.BytesIO(stream.read(_LONGEST_HEADER + 100))
    shape, dtype = _parse_header(start, name)
    header = ArrayHeader(shape, dtype, start.tell())
    if header.dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    held = header.dtype.itemsize * math.prod(shape)
    if held != member.file_size - header.start:
        raise ValueError(
            f"{name} must have {quote(held)} bytes for its shape {shape}, but the file has "
            f"{member.file_size - header.start}"
        )
    return header


def _parse_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"{name} is of version {version[0]}.{version[1]} of numpy's format, expected 1.0 or 2.0")
    if any(length < 0 for length in shape):
        raise ValueError(f"{name} has the shape {shape}")
    return shape, dtype


def _check_sizes(headers: dict[str, ArrayHeader], packed: int) -> None:
    total = sum(header.size for header in headers.values())
    if total > max(_ALWAYS_READ, _LARGEST_RATIO * packed):
        raise ValueError(
            f"its arrays need {total / 2**30:.1f} GiB, the file has {packed / 2**20:.2g} MiB: no recording compresses "
            f"{_LARGEST_RATIO}-fold"
        )


def _read(file: zipfile.ZipFile, member: zipfile.ZipInfo, header: ArrayHeader) -> NDArray[np.generic]:
    with file.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    if array.shape != header.shape:  # two members with the same name
        raise ValueError(f"{member.filename} changed while it was read")
    return array
