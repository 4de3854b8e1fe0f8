"""What is done to a valid file: bytes, cells, entries of JSON, arrays, headers of tensors."""

from __future__ import annotations

import io
import json
import math
import random
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

NUMBERS = (
    *("0", "-1", "1", "2", "9", "10", "0.5", "35", "255", "1e9", "1e10", "1e15", "1e38", "3.5e38", "1e39", "1e308"),
    *("1e309", "-1e39", "1e-320", "-0", "nan", "NaN", "inf", "-inf", "Infinity", "9" * 30, "9" * 400, "9" * 5000),
    *("2147483648", "4294967296", "9223372036854775808", "-9223372036854775809", "0x10", "1_0", "1,5", "\u0663"),
    *("999:59:59:59.999", "23:59:59:29", "00:00:00:00", "00:00:00:00.0000000000001"),
)
WORDS = (
    *(
        "",
        " ",
        "frame",
        "timestamp",
        "=1+1",
        "@SUM(1)",
        "-x",
        "x" * 300,
        "x" * 20_000,
        "x" * 200_000,
        "\u202e",
        "\x1b[31m",
    ),
    *(
        "[/red]",
        "\x00",
        '"',
        "''",
        ";",
        "\t",
        "a,b",
        "\ufeff",
        "\ud800",
        "null",
        "true",
        "../x",
        "AU01",
        "AU01_r",
        "AU99",
    ),
)
TEXT = (*NUMBERS, *WORDS)
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        -(2**63) - 1,
        10**30,
        0.5,
        -0.5,
        1e39,
        1e308,
        float("nan"),
        float("inf"),
    ),
    *("", "x", "x" * 20_000, "\x1b[31m", "\ud800", "1", [], {}, [1], ["x"], [[]], {"x": 1}, [None] * 3, [0] * 1000),
)


def mutated(name: str, data: bytes, chance: random.Random) -> bytes:
    """The contents of a file, changed once to four times in the ways of its kind, or as bytes."""
    ways = _WAYS.get(name.rpartition(".")[2], ())
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        way = chance.choice(ways) if ways and chance.random() < 0.8 else _bytes
        try:
            data = way(data, chance)
        except Exception:  # after the first change it may no longer be a file of its kind
            data = _bytes(data, chance)
    return data


def _bytes(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return bytes(chance.randrange(256) for _ in range(chance.randrange(1, 20)))
    at, length = chance.randrange(len(data)), chance.choice((1, 1, 2, 8, 64, 1000))
    what = chance.randrange(6)
    if what == 0:
        return data[:at]
    if what == 1:
        return data[:at] + data[at + length :]
    if what == 2:
        return data[:at] + data[at : at + length] + data[at:]
    if what == 3:
        return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
    if what == 4:
        return data[:at] + bytes(chance.randrange(256) for _ in range(length)) + data[at + length :]
    return data[:at] + chance.choice(TEXT).encode(errors="surrogatepass") + data[at + chance.choice((0, length)) :]


def _cells(separator: bytes) -> Callable[[bytes, random.Random], bytes]:
    """Changes of a text whose lines have fields."""

    def change(data: bytes, chance: random.Random) -> bytes:
        lines = [line.split(separator) for line in data.split(b"\n")]
        row = chance.randrange(len(lines))
        cells = lines[row]
        column = chance.randrange(len(cells))
        what = chance.randrange(10)
        text = chance.choice(TEXT).encode(errors="surrogatepass")
        if what < 4:
            cells[column] = text
        elif what == 4:
            for line in lines[chance.randrange(2) :]:  # a whole column, with or without its header
                if len(line) > column:
                    line[column] = text
        elif what == 5:
            del lines[row]
        elif what == 6:
            lines.insert(chance.randrange(len(lines)), list(cells))
        elif what == 7:
            other = chance.randrange(len(lines))
            lines[row], lines[other] = lines[other], lines[row]
        elif what == 8:
            cells[column] += chance.choice((text, b"_" * 500))  # a name that is still known, but long
        else:
            for line in lines:
                if len(line) > column:
                    del line[column]
        return b"\n".join(separator.join(line) for line in lines)

    return change


def _entries(data: bytes, chance: random.Random) -> bytes:
    """A change of JSON: one entry, anywhere, gets another value, another name, or goes."""
    values = json.loads(data)
    places = list(_places(values))
    parent, key = chance.choice(places)
    what = chance.randrange(6)
    if what < 4:
        parent[key] = chance.choice(VALUES)
    elif what == 4:
        del parent[key]
    elif isinstance(parent, dict):
        parent[str(chance.choice(TEXT))] = parent.pop(key)
    else:
        parent.append(parent[key])
    return json.dumps(values).encode(errors="surrogatepass")


def _places(values: Any) -> list[tuple[Any, Any]]:
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    found = []
    for key, value in list(items):
        found.append((values, key))
        found += _places(value)
    return found


def _spelled_number(data: bytes, chance: random.Random) -> bytes:
    """A number of JSON as only text can spell it."""
    values = json.loads(data)
    parent, key = chance.choice(_places(values))
    parent[key] = "\u2603"
    return json.dumps(values).replace('"\\u2603"', chance.choice(NUMBERS)).encode()


def _tensor_header(data: bytes, chance: random.Random) -> bytes:
    """A change of the header of a safetensors file, whose length stays right."""
    length = int.from_bytes(data[:8], "little")
    header = (_entries if chance.random() < 0.8 else _spelled_number)(data[8 : 8 + length], chance)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _tensor_metadata(data: bytes, chance: random.Random) -> bytes:
    """A change of JSON within the metadata of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header["__metadata__"]
    key = chance.choice([key for key in metadata if metadata[key][:1] in "[{"])
    metadata[key] = _entries(metadata[key].encode(), chance).decode(errors="surrogatepass")
    text = json.dumps(header).encode(errors="surrogatepass")
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _tensor_values(data: bytes, chance: random.Random) -> bytes:
    """Numbers of a safetensors file that are huge, tiny or none."""
    length = 8 + int.from_bytes(data[:8], "little")
    kind = chance.choice((np.float32, np.float64, np.int64, np.int8))
    if kind in (np.int64, np.int8):
        value = kind(chance.choice((-1, 2, 100, -128 if kind == np.int8 else 2**62)))
    else:
        with np.errstate(over="ignore"):
            value = kind(chance.choice((np.nan, np.inf, -np.inf, 1e39, -1e38, 1e-40, 1e300, 50.0)))
    raw = value.tobytes()
    at = length + len(raw) * chance.randrange(max((len(data) - length) // len(raw), 1))
    return data[:at] + raw + data[at + len(raw) :]


def _arrays(data: bytes, chance: random.Random) -> bytes:
    """A change of an array of an .npz file, which stays a right one."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    # Empty axes count as one: numpy loops over the others even if there is nothing to do.
    if any(max(array.itemsize, 1) * math.prod(max(n, 1) for n in array.shape) > 10**6 for array in arrays.values()):
        raise ValueError("a bomb, which would take long to pack again")
    name = chance.choice(list(arrays))
    array = arrays[name]
    what = chance.randrange(8)
    if what == 0:
        del arrays[name]
    elif what == 1:
        with np.errstate(all="ignore"):
            arrays[name] = array.astype(
                chance.choice(("f4", "f8", "f2", "i8", "u1", "u8", ">f4", "U5", "?", "c8", "S3"))
            )
    elif what == 2:
        arrays[name] = array[: chance.randrange(3)] if array.ndim else array[None]
    elif what == 3:
        arrays[name] = array[..., None] if chance.random() < 0.5 else array.reshape(-1)
    elif what == 4:
        arrays[name] = np.repeat(array[None] if not array.ndim else array, chance.choice((0, 2, 50)), 0)
    elif array.dtype.kind in "fiu" and array.size:
        flat = array.astype(np.float64 if array.dtype.kind == "f" else array.dtype).reshape(-1).copy()
        numbers = (np.nan, np.inf, 1e39, -1e300, 1e-320, 1e9, 0.0, -1.0) if array.dtype.kind == "f" else (0, 1, 2**31)
        flat[chance.randrange(flat.size) if chance.random() < 0.7 else slice(None)] = chance.choice(numbers)
        arrays[name] = flat.reshape(array.shape)
    elif array.dtype.kind == "U":
        arrays[name] = np.array([*array.tolist()[:-1], chance.choice(WORDS).replace("\x00", "")])
    stream = io.BytesIO()
    (np.savez if chance.random() < 0.5 else np.savez_compressed)(stream, **arrays)
    return stream.getvalue()


def _bomb(data: bytes, chance: random.Random) -> bytes:
    """An .npz file whose header asks for far more than there is."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = chance.choice(list(members))
    stream = io.BytesIO()
    shape = tuple(chance.choice((0, 1, 3, 10**4, 10**9, 2**62)) for _ in range(chance.randrange(1, 4)))
    kind = chance.choice(("<f4", "<f8", "<U4", "<U0", "|V0", "<i8", "|b1", "<U100000"))
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    size = chance.choice((0, 100, 10**5, 10**6))
    members[name] = stream.getvalue() + bytes(size)
    packed = io.BytesIO()
    way = chance.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(packed, "w", way) as file:
        for member, content in members.items():
            file.writestr(member, content, compresslevel=1)
    return packed.getvalue()


_WAYS: dict[str, tuple[Callable[[bytes, random.Random], bytes], ...]] = {
    "csv": (_cells(b","),),
    "txt": (_cells(b","),),
    "obj": (_cells(b" "),),
    "json": (_entries, _entries, _spelled_number),
    "safetensors": (_tensor_header, _tensor_values, _tensor_values, _tensor_metadata),
    "npz": (_arrays, _arrays, _bomb),
}
