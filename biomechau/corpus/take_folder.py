"""Finds the table of coefficients in the folder or the zip file of a take."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from biomechau.corpus.channel_names import find_channels
from biomechau.corpus.csv_table import CsvTable
from biomechau.file_errors import reason, regular_file
from biomechau.rig.names import shortened

_LARGEST = 1 << 28  # bytes of a table: two hours of a phone's recording
# Other tables in a take of Live Link Face: before calibration, after it, and of the neutral face alone.
_VARIANTS = ("_raw", "_cal", "_neutral")
# Exceptions of zipfile for broken, encrypted or hostile content.
_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, RuntimeError),
    *(EOFError, OSError, OverflowError, ValueError),
)


def find_table(folder: Path) -> Path:
    """The only table of blendshapes in a folder; files whose names begin with a dot are ignored.

    Raises:
        ValueError: there is none, or there are several; the message names them.
        OSError: the folder cannot be read.
    """
    tables = sorted(path for path in folder.iterdir() if _is_table(path.name) and path.is_file())
    return _only(folder, tables, lambda path: CsvTable.read(path, recording=True))


def read_zipped_table(path: Path) -> tuple[Path, bytes]:
    """The only table of blendshapes in a zip file: its path below that of the file, and its content.

    Raises:
        ValueError: not a zip file, or it holds no table or several; the message names them.
        OSError: the file cannot be read.
    """
    regular_file(path)
    try:
        with zipfile.ZipFile(path) as file:
            members = {
                path / member.filename: member
                for member in file.infolist()
                if _is_table(PurePosixPath(member.filename).name) and not member.filename.startswith("__MACOSX/")
            }
            for place, member in members.items():
                if member.file_size > _LARGEST:
                    raise ValueError(f"{place.name} has {member.file_size:,} bytes, expected at most {_LARGEST:,}")
            content: dict[Path, bytes] = {}

            def read(place: Path) -> CsvTable:
                with file.open(members[place]) as stream:
                    content[place] = stream.read(_LARGEST)
                return CsvTable.read(place, content[place], recording=True)

            found = _only(path, sorted(members), read)
            if found not in content:
                read(found)
            return found, content[found]
    except _ERRORS as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: not a complete zip file of a take: {reason(error)}") from error


def _is_table(name: str) -> bool:
    return name.lower().endswith(".csv") and not name.startswith(".")


def _only(place: Path, tables: Sequence[Path], read: Callable[[Path], CsvTable]) -> Path:
    """The only one of some tables that has blendshapes."""
    if len(tables) == 1:
        return tables[0]
    found = [table for table in tables if _holds_blendshapes(table, read)]
    plain = [table for table in found if not table.stem.lower().endswith(_VARIANTS)]
    chosen = plain if len(plain) == 1 else found
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        words = (
            f"none of its tables has blendshapes ({shortened([t.name for t in tables])})" if tables else "no .csv file"
        )
        raise ValueError(f"{place}: {words}, expected a take of Live Link Face")
    raise ValueError(f"{place}: several recordings, choose one: {shortened([table.name for table in chosen], 8)}")


def _holds_blendshapes(path: Path, read: Callable[[Path], CsvTable]) -> bool:
    try:
        return bool(find_channels(read(path).header).shapes)
    except ValueError:
        return False
