"""What every command shows on a terminal: lines, messages, tables, progress; text as it is, never as markup."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

_MINUTE = 60.0  # seconds

# Number of names that fit on a line or two; the JSON has all.
NUM_NAMES = 8


@contextmanager
def progress_bar(what: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr or, if that is not a terminal, a line per minute.

    Yields:
        A function to call with (done, total).
    """
    console = Console(stderr=True)
    if not quiet and not console.is_terminal:
        yield MinuteLines(what)
        return
    with Progress(console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class MinuteLines:
    """Prints progress and remaining time on stderr once a minute, for logs and batch systems.

    Args:
        what: description of the work.
        first: also print a line after the first step.
    """

    def __init__(self, what: str, first: bool = False) -> None:
        self._what = what
        self._first = first
        self._start = self._printed = monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = monotonic()
        if not 0 < done < total or not (self._first or now - self._printed >= _MINUTE):
            return
        self._first, self._printed = False, now
        left = (now - self._start) * (total - done) / done
        print_message("progress", f"{self._what}: {done:,} of {total:,}, about {_duration(left)} left")


def _duration(seconds: float) -> str:
    if seconds < 1.5 * _MINUTE:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def printable(text: str) -> str:
    """A text with escaped control characters: those that move the cursor, change colours or the direction of a line,
    and those that cannot be encoded."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


class _Plain(Console):
    """A console that does not interpret markup, and escapes control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def print_tables(*tables: Table) -> None:
    """Print tables."""
    _Plain().print(*tables)


def print_lines(*lines: object, flush: bool = False) -> None:
    """Print lines."""
    print(*(printable(str(line)) for line in lines), sep="\n", flush=flush)


def print_message(kind: str, message: str) -> None:
    """Print a message of a kind ("error", "warning", "note") as one line on stderr."""
    print(printable(f"biomechau: {kind}: {' '.join(message.split())}"), file=sys.stderr)


def new_table(title: str, header: bool = True) -> Table:
    """An empty table in the common style."""
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_header=header)


def listing(what: str, names: Iterable[str]) -> str:
    """``what: a, b, c`` with the first few names; empty without any."""
    names = list(names)
    more = f" and {len(names) - NUM_NAMES} more" if len(names) > NUM_NAMES else ""
    return f"{what}: {', '.join(names[:NUM_NAMES])}{more}" if names else ""
