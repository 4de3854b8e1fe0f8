"""The tables: one line a case against its limit, its best peer and its usual one, then every peer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cases import Case
from measure import MODES, Entry

from biomechau.files import replacing

OURS = "ours"
_MODE = {"forward": "f", "both": "f+b"}
_BUSY = "machine busy"


@dataclass
class Result:
    """A measured case, the limits of its two modes [s] if they are known, whether others kept the machine busy."""

    case: Case
    floors: dict[str, float]
    entries: list[Entry]
    busy: bool = False
    face: str = ""

    def entry(self, name: str) -> Entry | None:
        """The peer of that name, if it ran."""
        return next((entry for entry in self.entries if entry.name == name and entry.times), None)

    def best(self, mode: str) -> Entry | None:
        """The fastest peer that is not ours in any form."""
        others = [entry for entry in self.entries if not entry.name.startswith(OURS) and entry.times]
        return min(others, key=lambda entry: entry.times[mode].median, default=None)


def summary(results: list[Result]) -> list[str]:
    """Markdown: our time, the ratios and the limit, a row per case and mode."""
    on_gpu = any(entry.gpu for result in results for entry in result.entries)
    columns = ["case", "", "ours [ms]", *(["on the GPU [ms]", "flushed [ms]"] if on_gpu else [])]
    columns += ["best peer [ms]", "ratio to best peer", "usual [ms]", "ratio to usual"]
    columns += ["floor [ms]", "x floor", "share of the limit", "extra memory [MB]"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for result in results:
        for mode in MODES:
            ours = result.entry(OURS)
            if ours is None:
                continue
            time, floor = ours.times[mode].median, result.floors.get(mode)
            cells = [result.case.name, _MODE[mode], _milliseconds(time), *(_on_gpu(ours, mode) if on_gpu else [])]
            for peer in (result.best(mode), result.entry(result.case.usual)):
                if peer is None:
                    cells += ["not run", ""]
                else:
                    other = peer.times[mode].median
                    ratio = _BUSY if result.busy else f"{other / time:.2f}"
                    cells += [f"{_milliseconds(other)} ({peer.name})", ratio]
            # What the GPU can do is compared with what it did, not with what the host took to ask for it.
            spent = ours.gpu[mode][0].median if mode in ours.gpu else time
            if result.busy or floor is None:
                cells += [_BUSY] * 3
            else:
                cells += [_milliseconds(floor), f"{spent / floor:.1f}", f"{floor / spent:.0%}"]
            cells.append(_megabytes(ours.memory.get(mode)))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def details(result: Result) -> list[str]:
    """Markdown: every peer of a case."""
    on_gpu = any(entry.gpu for entry in result.entries)
    columns = ["peer", "f [ms]", "quartiles", "f+b [ms]", "quartiles", "rounds", "largest error"]
    columns += ["extra memory f, f+b [MB]"]
    if on_gpu:
        columns += ["f on the GPU [ms]", "flushed [ms]", "f+b on the GPU [ms]", "flushed [ms]"]
    lines = [f"### {result.case.name}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for entry in result.entries:
        if not entry.times:
            lines.append(f"| {entry.name} | {entry.why_not} |{' |' * (len(columns) - 2)}")
            continue
        cells = [entry.name]
        for mode in MODES:
            times = entry.times[mode]
            low, high = times.quartiles
            cells += [_milliseconds(times.median), f"{_milliseconds(low)} to {_milliseconds(high)}"]
        cells += [", ".join(str(len(entry.times[mode].samples)) for mode in MODES), f"{entry.error:.0e}"]
        cells.append(", ".join(_megabytes(entry.memory.get(mode)) for mode in MODES))
        if on_gpu:
            cells += [cell for mode in MODES for cell in _on_gpu(entry, mode)]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def markdown(header: dict[str, str], notes: list[str], results: list[Result]) -> str:
    """The whole report."""
    lines = ["# Benchmarks", "", *[f"- {name}: {value}" for name, value in header.items()], "", *notes, ""]
    lines += [*summary(results), "", "## Every peer", ""]
    for result in results:
        lines += details(result)
    return "\n".join(lines)


def write(folder: Path, name: str, text: str) -> Path:
    """Writes ``<name>.md``, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    with replacing(path) as partial:
        partial.write_text(text)
    return path


def _on_gpu(entry: Entry, mode: str) -> list[str]:
    """Warm and flushed, or why not."""
    if mode in entry.gpu:
        return [_milliseconds(times.median) for times in entry.gpu[mode]]
    return [entry.no_gpu_times, ""]


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def _megabytes(count: float | None) -> str:
    return "" if count is None else f"{count / 1e6:.2g}"
