"""Files and folders written atomically: to a temporary name in the same folder, then renamed; JSON descriptions."""

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

# Errors of a write that Python raises without the name of the file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Contents of a staged folder: the new files, and the old ones that they replace.
_NEW, _OLD = "new", "old"
# Names of temporary files and folders.
_PARTIAL = re.compile(r"\..+\.\d+(-[0-9a-f]+)?\.partial")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to, renamed to ``path`` if the block succeeds and removed otherwise.

    The target of a symbolic link is replaced, not the link. The file is flushed to disk before it is renamed, so that
    after a power failure either the old or the new one is there. Leftovers of killed processes are removed.

    Raises:
        OSError: the folder does not exist, or ``path`` is not a file or cannot be written; the message names ``path``.
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
    """A temporary directory to write files into, which are moved to ``out`` if the block succeeds.

    If the block raises, or a file cannot be moved, ``out`` is unchanged. A kill leaves no half-written new ``out``; if
    it interrupts the renames into an existing ``out``, the next writer undoes them. Other files in ``out`` are not
    touched. The files are flushed to disk before they are moved.

    Args:
        out: directory to write to; created, with its parents, if missing.
        replaced: names of other entries of ``out`` that are removed when the files are moved.

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
        with _naming_target(out, parent / _beginning(name)):
            stage = stack.enter_context(_partial(parent, name, out))
            (stage / _NEW).mkdir()
            (stage / _OLD).mkdir()
        with _naming_target(out, stage):
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
    """Undo an incomplete move into ``out``."""
    for path in (stage / _OLD).iterdir():
        if os.path.lexists(out / path.name):
            (out / path.name).rename(stage / _NEW / path.name)
        path.rename(out / path.name)


@contextmanager
def _naming_target(out: Path, stage: Path) -> Iterator[None]:
    """Make errors in a staged folder name the path in ``out``, also if the disk is full."""
    try:
        yield
    except OSError as error:
        new, found, path = stage / _NEW, str(error.filename), None
        if error.errno is None and str(new) in str(error):
            raise type(error)(str(error).replace(str(new), str(out))) from error
        if error.filename is None and error.errno in _NO_ROOM:
            path = out / _last_written(new)
        elif found.startswith(str(stage)):
            path = out / Path(found).relative_to(new) if found.startswith(str(new)) else out
        elif str(error.filename2).startswith(str(stage)):
            path = found
        if path is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _last_written(folder: Path) -> Path:
    """The file of a folder that was written last, relative to it; the folder itself if that is ambiguous."""
    times = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    last = [file for file, time in times.items() if time == max(times.values())]
    return last[0].relative_to(folder) if len(last) == 1 else Path()


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def _beginning(name: str) -> str:
    """Prefix of the names of temporary files for a file or folder."""
    return f".{name}."


@contextmanager
def _partial(parent: Path, name: str, out: Path | None = None) -> Iterator[Path]:
    """A new temporary file, or a temporary folder for ``out``; removed in the end.

    It is locked while this process lives. Unlocked ones were left by killed processes, and are removed first.
    """
    if out is None:
        _remove_leftovers(parent, name)
    else:
        remove_leftovers(out)
    with ExitStack() as stack:
        held, path = False, parent
        while held is False:  # as long as other processes take for a leftover what is not locked yet
            path = parent / f"{_beginning(name)}{os.getpid()}-{secrets.token_hex(2)}.partial"
            if out is None:
                held = stack.enter_context(lock(path))
            else:
                path.mkdir()
                with suppress(FileNotFoundError):
                    held = stack.enter_context(lock(path / LOCK))
        try:
            yield path
        finally:
            _remove(path)


def remove_leftovers(out: Path) -> None:
    """Remove leftovers of killed processes that wrote into a folder, and undo their incomplete moves."""
    out = out.absolute()
    for parent in {out.parent, _nearest(out)}:
        _remove_leftovers(parent, out.name, out if parent == out else None)


def remove_folder(folder: Path) -> None:
    """Remove a folder with its contents atomically: a kill leaves nothing of it at its path.

    Raises:
        OSError: it cannot be removed; the message names it.
    """
    with _partial(folder.parent, folder.name, folder) as stage:
        folder.rename(stage / _OLD)


def is_unfinished(path: Path) -> bool:
    """Whether a file or folder is temporary: being written, or left by a killed process."""
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
        with suppress(OSError):  # already renamed, or the error of the block matters more
            path.unlink()


def _sync(paths: Iterable[Path]) -> None:
    """Flush files and folder entries to disk, all at once, which takes hardly longer than one."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_sync_one, paths))


def _sync_one(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that is writable but not readable, or a system that cannot open folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not supported by the file system
            raise _error(error.errno or errno.EIO, path) from error
    finally:
        os.close(descriptor)


def read_description(path: Path, what: str, format: str) -> dict[str, Any]:
    """Read the JSON object that describes a folder of this package.

    Args:
        path: of the file.
        what: kind of folder, such as "a run".
        format: expected format.

    Raises:
        ValueError: as :func:`biomechau.json_file.read_json`, or another format; the message names the file.
        OSError: the file cannot be read.
    """
    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != format:
        raise ValueError(f"{path}: not {what}: it lacks format {format!r}")
    return values
