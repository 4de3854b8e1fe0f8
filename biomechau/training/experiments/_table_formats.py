"""One table in three formats with the same cells: CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        title: of the table.
        headings: of the columns; the first column contains the names of the rows.
        rows: each with as many cells as there are headings.
        notes: sentences below the table.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def csv(self) -> str:
        """Only headings and rows, for programs."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.headings, *self.rows])
        return text.getvalue()

    def markdown(self) -> str:
        """Title, table and notes."""
        rule = ("---", *["---:"] * (len(self.headings) - 1))
        lines = [_line(map(_in_markdown, cells)) for cells in (self.headings, rule, *self.rows)]
        notes = [f"- {_in_markdown(note)}" for note in self.notes]
        return "\n".join([f"### {_in_markdown(self.title)}", "", *lines, "", *notes]).rstrip() + "\n"

    def latex(self) -> str:
        """A ``table`` environment that needs no packages, with better rules after ``\\usepackage{booktabs}``."""
        lines = [f"{' & '.join(map(_in_latex, cells))} \\\\" for cells in (self.headings, *self.rows)]
        rules = [f"\\providecommand{{\\{name}}}{{\\hline}}" for name in ("toprule", "midrule", "bottomrule")]
        notes = [f"\\par\\noindent {_in_latex(note)}." for note in self.notes]
        return "\n".join(
            [
                *rules,
                "\\begin{table}",
                "\\centering",
                f"\\caption{{{_in_latex(self.title)}}}",
                f"\\begin{{tabular}}{{l{'r' * (len(self.headings) - 1)}}}",
                "\\toprule",
                lines[0],
                "\\midrule",
                *lines[1:],
                "\\bottomrule",
                "\\end{tabular}",
                *notes,
                "\\end{table}",
                "",
            ]
        )


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _in_markdown(text: str) -> str:
    return text.replace("|", "\\|")


def _in_latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
