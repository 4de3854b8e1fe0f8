"""The tables: one line a case against its limit, its best peer and its usual one, then every peer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases import Case
from measure import MODES, Entry

from biomechau.files import replacing

OURS, TWINS = "ours", ("twin", "twin, compiled")
_MODE = {"forward": "f", "both": "f+b"}


@dataclass
class Result:
    """A measured case and the limits of its two modes [s]."""

    case: Case
    floors: dict[str, float]
    entries: list[Entry]

    def entry(self, name: str) -> Entry | None:
        """The peer of that name, if it ran."""
        return next((entry for entry in self.entries if entry.name == name and entry.times), None)

    def best(self, mode: str) -> Entry | None:
        """The fastest peer that is not ours in any form."""
        others = [entry for entry in self.entries if not entry.name.startswith(OURS) and entry.times]
        return min(others, key=lambda entry: entry.times[mode].median, default=None)


def summary(results: list[Result]) -> list[str]:
    """Markdown: our time, the ratios and the limit, a row per case and mode."""
    lines = [
        "| case | | ours [ms] | best peer [ms] | ratio to best peer | usual [ms] | ratio to usual | floor [ms] "
        "| x floor | share of the limit | extra memory [MB] |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for mode in MODES:
            ours = result.entry(OURS)
            if ours is None:
                continue
            time, floor = ours.times[mode].median, result.floors[mode]
            cells = [result.case.name, _MODE[mode], _milliseconds(time)]
            for peer in (result.best(mode), result.entry(result.case.usual)):
                if peer is None:
                    cells += ["not run", ""]
                else:
                    other = peer.times[mode].median
                    cells += [f"{_milliseconds(other)} ({peer.name})", f"{other / time:.2f}"]
            memory = ours.memory.get(mode)
            cells += [_milliseconds(floor), f"{time / floor:.1f}", f"{floor / time:.0%}", _megabytes(memory)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def details(result: Result) -> list[str]:
    """Markdown: every peer of a case."""
    lines = [
        f"### {result.case.name}",
        "",
        "| peer | f [ms] | quartiles | f+b [ms] | quartiles | rounds | largest error | extra memory f, f+b [MB] |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in result.entries:
        if not entry.times:
            lines.append(f"| {entry.name} | {entry.why_not} | | | | | | |")
            continue
        cells = [entry.name]
        for mode in MODES:
            times = entry.times[mode]
            low, high = times.quartiles
            cells += [_milliseconds(times.median), f"{_milliseconds(low)} to {_milliseconds(high)}"]
        cells += [", ".join(str(len(entry.times[mode].samples)) for mode in MODES), f"{entry.error:.0e}"]
        cells.append(", ".join(_megabytes(entry.memory.get(mode)) for mode in MODES))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def markdown(header: dict[str, str], notes: list[str], results: list[Result]) -> str:
    """The whole report."""
    lines = ["# Benchmarks", "", *[f"- {name}: {value}" for name, value in header.items()], "", *notes, ""]
    lines += [*summary(results), "", "## Every peer", ""]
    for result in results:
        lines += details(result)
    return "\n".join(lines)


def as_json(header: dict[str, str], results: list[Result]) -> str:
    """The same with every sample [s] and [bytes]."""
    cases: list[dict[str, Any]] = [
        {
            "case": result.case.name,
            "usual": result.case.usual,
            "floor": result.floors,
            "peers": [
                {
                    "name": entry.name,
                    "why_not": entry.why_not,
                    "error": entry.error,
                    "samples": {mode: times.samples for mode, times in entry.times.items()},
                    "memory": entry.memory,
                }
                for entry in result.entries
            ],
        }
        for result in results
    ]
    return json.dumps({**header, "cases": cases}, indent=1)


def write(folder: Path, name: str, texts: dict[str, str]) -> list[Path]:
    """Writes ``<name>.<ending>`` for each text, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with replacing(path) as partial:
            partial.write_text(text)
    return paths


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def _megabytes(count: float | None) -> str:
    return "" if count is None else f"{count / 1e6:.2g}"
