"""``biomechau compare``: forces or action units beside a reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from biomechau.commands.command import Command, Switch
from biomechau.commands.terminal import NUM_NAMES, listing, new_table, print_lines, print_message, print_tables

if TYPE_CHECKING:
    from rich.table import Table

    from biomechau.analysis.comparison import Comparison, Measure

# Longer lags are no delay of a muscle or of a program, but another time: that is what --offset is for.
_LONGEST_LAG = 5.0


@dataclass(frozen=True)
class Compare(Command):
    """Put a reference beside forces or action units: EMG, action units of another program, labels of coders.

    Compares signals of the same name: lag, correlation, R2 of a regression, where the units agree ICC and Bland-Altman,
    and beside presences the area under the ROC curve. Intervals are 95 % bootstrap intervals within this recording.
    They say nothing about other people.
    Writes comparison.csv, comparison.json and comparison.png.
    """

    result: Annotated[
        Path,
        Positional,
        arg(metavar="RESULT", help="forces.csv or action_units.csv of this package, or the folder of a result."),
    ]
    reference: Annotated[
        Path,
        Positional,
        arg(
            metavar="REFERENCE",
            help="CSV file with a column of times and one column per signal: EMG, action units of OpenFace, LibreFace, "
            "py-feat or iMotions, labels of coders, or a result of this package.",
        ),
    ]
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")] = Path("biomechau-comparison")
    pairs: Annotated[
        Path | None, arg(metavar="CSV", help="Table of the names to compare, where they differ: result, reference.")
    ] = None
    emg: Annotated[Switch, arg(help="The reference is raw EMG: rectify and smooth it with NeuroKit2.")] = False
    intensity: Annotated[
        Switch, arg(help="Read intensities of action units where the reference has presences too.")
    ] = False
    max_lag: Annotated[float, arg(metavar="SECONDS", help="Largest lag to try, to either side.")] = 0.5
    offset: Annotated[float, arg(metavar="SECONDS", help="Added to the times of the reference.")] = 0.0
    recorded_fps: Annotated[
        float | None,
        arg(metavar="FPS", help="Frame rate of the reference, if it has no times; its first row is at 0 s [1/s]."),
    ] = None
    face: Annotated[int | None, arg(metavar="N", help="Face to read, if the reference has several: its face_id.")] = (
        None
    )
    json: Annotated[Switch, arg(help="Print comparison.json instead of the table.")] = False

    def run(self) -> None:
        """Read, compare, write, print."""
        if not 0 <= self.max_lag <= _LONGEST_LAG:
            raise ValueError(f"--max-lag must lie in [0, {_LONGEST_LAG:g}], got {self.max_lag:g}; see also --offset")
        if not math.isfinite(self.offset):
            raise ValueError(f"--offset must be a finite number, got {self.offset}")
        from biomechau.analysis.comparison import compare
        from biomechau.corpus.emg_envelope import emg_envelopes, look_raw
        from biomechau.corpus.signals import read_pairs, read_reference, read_result
        from biomechau.reports.comparison_files import write_comparison
        from biomechau.reports.figures import MISSING_VIZ, viz_available
        from biomechau.reports.output import to_json

        pairs = None if self.pairs is None else read_pairs(self.pairs)
        result = read_result(self.result)
        reference = read_reference(self.reference, self.intensity, self.recorded_fps, self.face)
        if self.emg:
            reference = tuple(map(emg_envelopes, reference))
        elif raw := [name for table in reference for name in look_raw(table)]:
            print_message("warning", f"{listing('look like raw EMG, not like envelopes', raw)}; --emg makes envelopes")
        comparison = compare(result, reference, pairs, self.max_lag, self.offset)
        written = write_comparison(comparison, self.out)
        for signal in comparison.signals:
            if signal.note:
                print_message("warning", f"{signal.result}: {signal.note}")
        if not viz_available():
            print_message("note", MISSING_VIZ)
        if self.json:
            print(to_json(comparison.summary()))
            return
        print_tables(_table(comparison, pairs is not None))
        print_lines(
            *_without("a reference", comparison.only_result),
            *_without("a result", comparison.only_reference),
            "lag: positive where the reference comes first",
            *(["in brackets: 95 % intervals within this recording"] if _has_intervals(comparison) else []),
            *(f"wrote {path}" for path in written),
        )


def _without(what: str, names: Sequence[str]) -> list[str]:
    """A line on signals that are not compared: forces and action units together have some eighty."""
    if len(names) > NUM_NAMES:
        return [f"without {what}: {len(names)} signals, which comparison.json names"]
    return [listing(f"without {what}", names)] if names else []


def _has_intervals(comparison: Comparison) -> bool:
    return any(measure.low is not None for signal in comparison.signals for measure in signal.measures.values())


def _table(comparison: Comparison, paired: bool) -> Table:
    table = new_table(f"{comparison.sources[0]} beside {comparison.sources[1]}")
    table.add_column("result" if paired else "signal", min_width=20)
    if paired:
        table.add_column("reference", overflow="fold")
    headings = {"r": "r at lag 0", "lag": "lag [ms]", "r_best": "r at lag", "r2": "R2"}
    optional = {"roc_area": "AUC", "icc": "ICC", "bias": "bias"}
    names = [
        *headings,
        *(name for name in optional if any(s.measure(name).value is not None for s in comparison.signals)),
    ]
    for heading in ("frames", *({**headings, **optional}[name] for name in names)):
        table.add_column(heading, justify="right")
    for signal in comparison.signals:
        cells = [_words(signal.measure(name), 1000 if name == "lag" else 1) for name in names]
        words = [signal.result.replace("_", " "), *([signal.reference] if paired else [])]
        table.add_row(*words, str(signal.frames), *cells)
    return table


def _words(measure: Measure, factor: float) -> str:
    """``0.91 (0.87 to 0.95)``; empty without a value."""
    if measure.value is None:
        return ""
    digits = 0 if factor > 1 else 2
    value, *bounds = (
        None if number is None else f"{factor * number:.{digits}f}"
        for number in (measure.value, measure.low, measure.high)
    )
    return f"{value} ({bounds[0]} to {bounds[1]})" if None not in bounds else str(value)
