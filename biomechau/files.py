"""Files that appear whole or not at all: written beside their place, then renamed. And descriptions in JSON."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from biomechau.json_file import read_json


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, renamed onto it when the block ends well and removed when it does not.

    Raises:
        OSError: there is no such folder, or ``path`` cannot be written; the message names ``path``.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if str(error.filename) == str(partial):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        with suppress(OSError):  # gone when all went well; else the error of the block is the one to see
            partial.unlink()


@contextmanager
def staged_directory(out: str | Path) -> Iterator[Path]:
    """A directory to write files into; they move into ``out`` when the block ends well.

    When the block raises, ``out`` is as it was before: earlier files keep their contents, and an ``out`` that did not
    exist still does not. Files of ``out`` that the block does not write are left alone.

    Args:
        out: directory to write to; made, with its parents, when missing.

    Raises:
        OSError: ``out`` is a file, or cannot be written.
    """
    out = Path(out)
    # On the file system of ``out``, so that moving is renaming.
    parent = out.absolute()
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise NotADirectoryError(f"cannot write to {out}: {parent} is a file, expected a directory")
    try:
        stage = Path(tempfile.mkdtemp(prefix=".biomechau-", dir=parent))
    except OSError as error:
        raise OSError(f"cannot write to {out}: {error.strerror}") from error
    try:
        yield stage
        out.mkdir(parents=True, exist_ok=True)
        for path in sorted(stage.iterdir()):
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def read_description(path: Path, what: str, format: str) -> dict[str, Any]:
    """Read the JSON object that describes a folder of ours.

    Args:
        path: of the file.
        what: it describes, such as "a run".
        format: that it must have.

    Raises:
        ValueError: as :func:`biomechau.json_file.read_json`, or another format; the message names the file.
        OSError: the file cannot be read.
    """
    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != format:
        raise ValueError(f"{path}: not {what}: it lacks format {format!r}")
    return values
