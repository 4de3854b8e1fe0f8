"""Locks that are released when their process ends, however it ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None

# Name of the file in a folder whose lock protects the folder.
LOCK = ".lock"
# More files than other processes remove meanwhile: the file system does not know a file again.
_TRIES = 100


@contextmanager
def lock(path: Path) -> Iterator[bool | None]:
    """Try to lock a file, which is created if missing, and release it in the end.

    Yields whether the file is locked: False if another process holds the lock, None if the file system has no locks.

    Raises:
        OSError: the file cannot be opened for writing.
    """
    if fcntl is None:
        yield None
        return
    for _ in range(_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            held = _try_lock(descriptor)
            # Otherwise its holder has removed it since it was opened here, and nobody else would see this lock.
            if held is False or _is_open_file(path, descriptor):
                yield held
                return
        finally:
            os.close(descriptor)
    yield None


@contextmanager
def locked_folder(folder: str | Path, busy: str) -> Iterator[None]:
    """Lock a folder for this process; it is created, with its parents, if missing, and removed again if it stays empty.

    The lock is that of the file ``.lock`` in the folder, which exists only while the folder is locked; a file left by a
    killed process locks nothing. On file systems without locks the folder is not protected.

    Args:
        folder: to lock.
        busy: message for other processes.

    Raises:
        BlockingIOError: another process holds the lock; the message is ``busy`` and names the folder.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with lock(folder / LOCK) as held:
            if held is False:
                raise BlockingIOError(errno.EAGAIN, busy, str(folder))
            try:
                yield
            finally:
                (folder / LOCK).unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # not empty
            for path in made:
                path.rmdir()


def _try_lock(descriptor: int) -> bool | None:
    assert fcntl is not None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_open_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
