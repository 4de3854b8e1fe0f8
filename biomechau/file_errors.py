"""Errors about files, which name the file and quote little of its contents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Longest quotation of a file's contents, in characters.
LONGEST_QUOTE = 80
_LONGEST_REASON = 160
_LONGEST_MESSAGE = 300


def quote(value: object) -> str:
    """The ``repr`` of a value, with its middle omitted if it is long."""
    # An integer of thousands of digits cannot be converted to text.
    if isinstance(value, int) and value.bit_length() > 512:
        return f"a number of {value.bit_length()} bits"
    try:
        # Shortened first, since it may have megabytes.
        return shorten(repr(shorten(value, 4 * LONGEST_QUOTE) if isinstance(value, str) else value))
    except (ValueError, RecursionError):  # it contains such a number, or is nested too deeply
        return f"a {type(value).__name__}"


def shorten(text: str, most: int = LONGEST_QUOTE) -> str:
    """A text of at most ``most`` characters, with its middle omitted if it is longer."""
    if len(text) <= most:
        return text
    kept = most - 5
    return f"{text[: kept - kept // 3]} ... {text[len(text) - kept // 3 :]}"


def reason(error: BaseException) -> str:
    """The message of a library's error in one line, shortened, since it may quote the whole file."""
    return shorten(" ".join(str(error).split()) or type(error).__name__, _LONGEST_REASON)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Make errors of the block name the file.

    Raises:
        ValueError: what the block raises as TypeError, ValueError, OverflowError or KeyError, with the name of the file
            before it unless it is there; errors of this package keep their type.
        MemoryError: there is not enough memory for the file.
    """
    try:
        yield
    except (TypeError, ValueError, OverflowError, KeyError) as error:
        if str(path) in str(error):
            raise
        kind = type(error) if type(error).__module__.startswith("biomechau.") else ValueError
        words = f"entry {error} is missing" if isinstance(error, KeyError) else str(error)
        raise kind(f"{path}: {shorten(words, _LONGEST_MESSAGE)}") from error
    except (MemoryError, RuntimeError) as error:
        # torch has no MemoryError of its own.
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        raise MemoryError(f"{path}: there is not enough memory to read it") from error


def regular_file(path: str | Path) -> None:
    """Raise ``OSError`` for a file that is missing or not readable, ``ValueError`` if it is not a regular file."""
    # Checked first, because opening a pipe blocks.
    if Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir()):
        raise ValueError(f"{path}: expected a regular file")
    with open(path, "rb"):
        pass
