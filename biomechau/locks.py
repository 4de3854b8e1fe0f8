"""Locks that end with the process that holds them, however it ends."""

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

# Name of the file in a folder whose lock stands for the folder's.
LOCK = ".lock"


@contextmanager
def lock(path: Path) -> Iterator[bool | None]:
    """Try to lock a file, which is made when missing, and release it in the end.

    The block gets whether the file is locked now: False while another process holds it, None where there are no locks
    on its file system.

    Raises:
        OSError: the file cannot be opened for writing.
    """
    if fcntl is None:
        yield None
        return
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            held = _try_lock(descriptor)
            # Else its holder removed it after we had opened it: our lock would be of a file that nobody else sees.
            if held is False or _is_open_file(path, descriptor):
                yield held
                return
        finally:
            os.close(descriptor)


@contextmanager
def locked_folder(folder: str | Path, busy: str) -> Iterator[None]:
    """Hold a folder alone; it is made, with its parents, when missing, and what was made goes again if it stays empty.

    The lock is that of the file ``.lock`` in the folder, which is there only as long as the folder is held: or after a
    kill, when it locks nothing. On file systems without locks nothing is held.

    Args:
        folder: to hold.
        busy: why another process cannot have it, in words.

    Raises:
        BlockingIOError: another process holds it; the message is ``busy``, and names the folder.
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
