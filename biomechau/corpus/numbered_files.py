"""Folders of numbered files, each one frame of a recording."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from biomechau.corpus.frame_columns import LARGEST_FRAME
from biomechau.rig.file_names import newest_versions, split_version


def number_files(folder: Path, endings: Collection[str], kind: str) -> tuple[dict[int, Path], tuple[str, ...]]:
    """The files of a folder by frame number, in increasing order, and notes about files that were left out.

    The frame number is the last number in the name that is not a version (``face_0001_v2``) and differs between files
    (``0001_take2``). If a frame has several versions, the newest is used.

    Args:
        folder: where the files are.
        endings: file extensions, in lower case.
        kind: what the files are, for messages.

    Raises:
        ValueError: no such files, a name without a number, a number that appears twice or is too large; the message
            names the file.
        OSError: the folder cannot be read.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings and path.name[0] != ".")
    if not paths:
        raise ValueError(f"{folder}: no {kind}")
    newest, older = newest_versions(paths)
    numbers = {path: re.findall(r"\d+", split_version(path.stem)[0]) for path in newest.values()}
    column = _column(list(numbers.values()))
    files: dict[int, Path] = {}
    for path, digits in numbers.items():
        if not digits:
            raise ValueError(f"{path}: the name has no frame number")
        # Counted from the end, because names may differ in how many numbers they have.
        if len(text := digits[max(column, -len(digits))].lstrip("0")) > len(str(LARGEST_FRAME)):
            raise ValueError(f"{path}: the frame number is too large, expected at most {LARGEST_FRAME:,}")
        if (number := int(text or "0")) > LARGEST_FRAME:
            raise ValueError(f"{path}: the frame number is too large, expected at most {LARGEST_FRAME:,}")
        if number in files:
            raise ValueError(f"{path}: frame number {number} appears twice, also as {files[number].name}")
        files[number] = path
    notes = (f"older versions of {len(older)} frames are left out, such as {older[0].name}",) if older else ()
    return dict(sorted(files.items())), notes


def _column(numbers: list[list[str]]) -> int:
    """Position, counted from the end, of the number that counts frames: the last one that differs between names."""
    count = min(map(len, numbers))
    for column in range(-1, -count - 1, -1):
        if len({int(digits[column][:12]) for digits in numbers}) > 1:
            return column
    return -1
