"""Files that appear whole or not at all: written beside their place, then renamed. And descriptions in JSON."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from biomechau.json_file import read_json
from biomechau.locks import LOCK, lock

# Errors of a write, which Python raises without the name of the file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a staged folder holds: what is to come, and what it takes the place of.
_NEW, _OLD = "new", "old"
# Names of what is written to take the place of something.
_PARTIAL = re.compile(r"\..+\.\d+(-[0-9a-f]+)?\.partial")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, renamed onto it when the block ends well and removed when it does not.

    A symbolic link stays, and what it points to is replaced. The file is on the disk before it is renamed, so that a
    loss of power leaves the old one or the new one. What killed processes left beside ``path`` is removed.

    Raises:
        OSError: there is no such folder, or ``path`` is no file or cannot be written; the message names ``path``.
    """
    path = Path(path)
    target = path.resolve() if path.is_symlink() else path
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {target.parent}")
    if target.is_dir():
        raise _error(errno.EISDIR, path)
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "not a regular file, so it is not replaced", str(path))
    try:
        with _partial(target.parent, target.name) as partial:
            yield partial
            _sync([partial])
            partial.replace(target)
            _sync([target.parent])
    except OSError as error:
        no_room = error.filename is None and error.errno in _NO_ROOM
        if no_room or str(error.filename).startswith(str(target.parent / _beginning(target.name))):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def staged_directory(out: str | Path, replaced: Collection[str] = ()) -> Iterator[Path]:
    """A directory to write files into; they move into ``out`` when the block ends well.

    When the block raises, or one of the files cannot move, ``out`` is as it was before: earlier files keep their
    contents, and an ``out`` that did not exist still does not. A kill leaves no new ``out`` half-written; one that
    comes between the renames into an ``out`` that was there already is undone by the next writer. Other files of
    ``out`` are left alone. The files are on the disk before they move.

    Args:
        out: directory to write to; made, with its parents, when missing.
        replaced: what else of ``out`` goes when the files move, by name.

    Raises:
        OSError: ``out`` is a file, or cannot be written; the message names the file in ``out``.
    """
    out = Path(out)
    if out.is_symlink() and not out.exists():
        raise FileExistsError(errno.EEXIST, "a symbolic link to nothing", str(out))
    # On the file system of ``out``, so that moving is renaming.
    parent = _nearest(out)
    if not parent.is_dir():
        raise NotADirectoryError(f"cannot write to {out}: {parent} is a file, expected a directory")
    name = out.absolute().name
    with ExitStack() as stack:
        with _in_words_of_user(out, parent / _beginning(name)):
            stage = stack.enter_context(_partial(parent, name, out))
            (stage / _NEW).mkdir()
            (stage / _OLD).mkdir()
        with _in_words_of_user(out, stage):
            yield stage / _NEW
            _sync([*(stage / _NEW).rglob("*"), stage / _NEW])
            _move(stage, out, replaced)


def _nearest(out: Path) -> Path:
    """The path itself or, if it does not exist, the nearest above it that does."""
    out = out.absolute()
    return next(path for path in (out, *out.parents) if path.exists())


def _move(stage: Path, out: Path, replaced: Collection[str]) -> None:
    """Move what is new into ``out``: all of it or, when something fails, nothing."""
    new, old = stage / _NEW, stage / _OLD
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        new.rename(out)
        _sync([out.parent])
        return
    names = sorted(path.name for path in new.iterdir())
    for name in names:
        if (out / name).is_dir() and name not in replaced:
            raise _error(errno.EISDIR, out / name)
    try:
        # A description, such as corpus.json or detector.json, is the first to go and the last to come.
        for name in sorted({*names, *replaced}):
            if os.path.lexists(out / name):
                (out / name).rename(old / name)
        for name in reversed(names):
            (new / name).rename(out / name)
    except BaseException:
        for name in names:
            if not os.path.lexists(new / name):
                (out / name).rename(new / name)
        _put_back(stage, out)
        raise
    _sync([out])


def _put_back(stage: Path, out: Path) -> None:
    """Undo a move into ``out`` that did not come to its end."""
    for path in (stage / _OLD).iterdir():
        if os.path.lexists(out / path.name):
            (out / path.name).rename(stage / _NEW / path.name)
        path.rename(out / path.name)


@contextmanager
def _in_words_of_user(out: Path, stage: Path) -> Iterator[None]:
    """Have errors of a stage name what the user knows: a path in ``out``, and which file has no room."""
    try:
        yield
    except OSError as error:
        new, found, place = stage / _NEW, str(error.filename), None
        if error.errno is None and str(new) in str(error):
            raise type(error)(str(error).replace(str(new), str(out))) from error
        if error.filename is None and error.errno in _NO_ROOM:
            place = out / _last_written(new)
        elif found.startswith(str(stage)):
            place = out / Path(found).relative_to(new) if found.startswith(str(new)) else out
        elif str(error.filename2).startswith(str(stage)):
            place = found
        if place is None:
            raise
        raise OSError(error.errno, error.strerror, str(place)) from error


def _last_written(folder: Path) -> Path:
    """The file of a folder that was written last, relative to it; the folder where that is not certain."""
    times = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    last = [file for file, time in times.items() if time == max(times.values())]
    return last[0].relative_to(folder) if len(last) == 1 else Path()


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def _beginning(name: str) -> str:
    """How the names begin of what is written to take the place of a file or folder."""
    return f".{name}."


@contextmanager
def _partial(parent: Path, name: str, out: Path | None = None) -> Iterator[Path]:
    """A new, empty file to take the place of another, or a folder for what goes into ``out``; removed in the end.

    It is locked while this process lives: what is not locked was left by a killed one, and is removed first.
    """
    if out is None:
        _remove_leftovers(parent, name)
    else:
        remove_leftovers(out)
    with ExitStack() as stack:
        held, path = False, parent
        while held is False:  # as long as other processes take for a leftover what is not locked yet
            path = parent / f"{_beginning(name)}{os.getpid()}-{secrets.token_hex(2)}.partial"
            if out is not None:
                path.mkdir()
            with suppress(FileNotFoundError):
                held = stack.enter_context(lock(path if out is None else path / LOCK))
        try:
            yield path
        finally:
            _remove(path)


def remove_leftovers(out: Path) -> None:
    """Remove what killed processes left while they wrote into a folder, and undo what they had begun to move."""
    out = out.absolute()
    for place in {out.parent, _nearest(out)}:
        _remove_leftovers(place, out.name, out if place == out else None)


def remove_folder(folder: Path) -> None:
    """Remove a folder at once, whatever it holds: a kill leaves nothing of it in its place.

    Raises:
        OSError: it cannot be removed; the message names it.
    """
    with _partial(folder.parent, folder.name, folder) as stage:
        folder.rename(stage / _OLD)


def is_unfinished(path: Path) -> bool:
    """Whether a file or folder is there only while something is written, or was left by a killed process."""
    return path.name == LOCK or _PARTIAL.fullmatch(path.name) is not None


def _remove_leftovers(parent: Path, name: str, out: Path | None = None) -> None:
    with suppress(OSError):
        for path in parent.iterdir():
            if not (path.name.startswith(_beginning(name)) and _PARTIAL.fullmatch(path.name)):
                continue
            with suppress(OSError), lock(path / LOCK if path.is_dir() else path) as held:
                if held:
                    if out is not None and (path / _OLD).is_dir():
                        _put_back(path, out)
                    _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # gone when all went well; else the error of the block is the one to see
            path.unlink()


def _sync(paths: Iterable[Path]) -> None:
    """Have files, and the names in folders, written to the disk: at once, for that takes hardly longer than one."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_sync_one, paths))


def _sync_one(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # of a folder that may be written but not read, or where folders cannot be opened
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of a file system that cannot
            raise _error(error.errno or errno.EIO, path) from error
    finally:
        os.close(descriptor)


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
