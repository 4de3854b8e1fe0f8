"""What every command shows on a terminal: lines, messages, tables, progress; text as it is, never as markup."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

# As many names as fit on a line or two; the rest is in the JSON.
NUM_NAMES = 8


@contextmanager
def progress_bar(what: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, drawn on a terminal only; yields the function to call with (done, total)."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def printable(text: str) -> str:
    """A text whose characters all stand for themselves: those that move the cursor, colour or turn the line, and those
    that no encoding has, are written as Python writes them."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


class _Plain(Console):
    """A console that takes no text for markup, and lets no control character through."""

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
    """One line on stderr, whatever the message holds."""
    print(printable(f"biomechau: {kind}: {' '.join(message.split())}"), file=sys.stderr)


def new_table(title: str, header: bool = True) -> Table:
    """An empty table in the style of all of them."""
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_header=header)


def listing(what: str, names: Iterable[str]) -> str:
    """``what: a, b, c`` with the first few names; empty without any."""
    names = list(names)
    more = f" and {len(names) - NUM_NAMES} more" if len(names) > NUM_NAMES else ""
    return f"{what}: {', '.join(names[:NUM_NAMES])}{more}" if names else ""
