"""Forces and action units beside a reference: EMG, action units of other programs, labels of coders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biomechau.analysis._agreement import LEVEL, OF_ONE_SCALE, RESAMPLES, Measure, agreement, roc_area
from biomechau.analysis.face_forces import Floats
from biomechau.corpus.resampling import interpolate
from biomechau.corpus.signals import Signals, known_pieces
from biomechau.rig.names import shortened

# Fewest seconds in which both signals have values, and length of the blocks that the bootstrap draws [s].
SHORTEST, BLOCK = 2.0, 2.0
MEASURES = ("lag", "r", "r_best", "gain", "offset", "r2", "roc_area", *OF_ONE_SCALE)
DEFINITIONS = {
    "lag": "delay of the result at which r is largest [s]: positive where the reference comes first",
    "r": "Pearson correlation at lag 0",
    "r_best": "largest Pearson correlation within the largest lag",
    "gain": "of the regression reference = gain * result + offset over this recording, at the best lag",
    "offset": "of that regression",
    "r2": "R2 of that regression",
    "roc_area": "area under the ROC curve (2AFC), at lag 0: how often the result is larger in a frame in which the "
    "reference is present than in one in which it is not; where the reference has presences",
    "icc": "ICC(3,1), consistency of two raters, at lag 0; where both have the same unit",
    "bias": "Bland-Altman: mean of result - reference, at lag 0; where both have the same unit",
    "lower_limit": "Bland-Altman: bias - 1.96 standard deviations of result - reference",
    "upper_limit": "Bland-Altman: bias + 1.96 standard deviations of result - reference",
    "low, high": f"{LEVEL:.0%} percentile interval of {RESAMPLES} resamples of {BLOCK:g} s blocks of this recording, "
    "in each of which the lag is chosen anew; it says how far the number depends on which moments of this recording "
    "were taken, and nothing about other recordings or people; null below 10 blocks",
}
_BRACKETS = re.compile(r"[\[(][^\])]*[\])]")  # around a unit
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SIDES = {"l": "left", "left": "left", "lt": "left", "r": "right", "right": "right", "rt": "right"}
# Words of a column's name that do not name the muscle.
_BESIDE = frozenset({"emg", "semg", "envelope", "env", "rms", "raw", "muscle", "mv", "uv"})


@dataclass(frozen=True, eq=False)
class ComparedSignal:
    """A signal of a result and its reference at the frames of the result.

    Attributes:
        result: its name.
        reference: name of the reference.
        scales: of the result and of the reference, see :class:`biomechau.corpus.signals.Signals`.
        timestamp: (T,) [s].
        values: (T,) of the result, NaN where there are none.
        reference_values: (T,) of the reference, NaN where there are none.
        frames: number of frames in which both have values.
        measures: numbers and intervals, see :data:`DEFINITIONS`.
        best_lag: the lag, in frames.
        note: why something is missing or doubtful, or empty.
    """

    result: str
    reference: str
    scales: tuple[str | None, str | None]
    timestamp: Floats
    values: Floats
    reference_values: Floats
    frames: int
    measures: Mapping[str, Measure]
    best_lag: int = 0
    note: str = ""

    @property
    def one_scale(self) -> bool:
        """Whether both are known to have the same unit, other than presences."""
        return self.scales[0] == self.scales[1] not in (None, "presence")

    def measure(self, name: str) -> Measure:
        """One of :data:`MEASURES`, without a value where it is not defined."""
        return self.measures.get(name, Measure(None))

    def shifted_reference(self) -> Floats:
        """(T,) the reference, moved by the best lag onto the result."""
        moved, lag = np.full_like(self.reference_values, np.nan), self.best_lag
        count = len(moved) - abs(lag)
        moved[max(lag, 0) :][:count] = self.reference_values[max(-lag, 0) :][:count]
        return moved


@dataclass(frozen=True, eq=False)
class Comparison:
    """Signals of a result beside their references.

    Attributes:
        signals: those with a reference, in the order of the result.
        only_result: names of the result without a reference.
        only_reference: names of the reference without a result.
        sources: of the result and of the reference, in words.
        max_lag: largest lag that was tried [s].
        offset: added to the times of the reference [s].
    """

    signals: tuple[ComparedSignal, ...]
    only_result: tuple[str, ...]
    only_reference: tuple[str, ...]
    sources: tuple[str, str]
    max_lag: float
    offset: float

    def summary(self) -> dict[str, Any]:
        """The contents of ``comparison.json``, as JSON values."""
        return {
            "result": self.sources[0],
            "reference": self.sources[1],
            "max_lag": self.max_lag,
            "time_offset": self.offset,
            "signals": [
                {
                    "result": signal.result,
                    "reference": signal.reference,
                    "result_scale": signal.scales[0],
                    "reference_scale": signal.scales[1],
                    "frames": signal.frames,
                    **{name: asdict(signal.measure(name)) for name in MEASURES},
                    "note": signal.note,
                }
                for signal in self.signals
            ],
            "without_reference": list(self.only_result),
            "without_result": list(self.only_reference),
            "definitions": DEFINITIONS,
        }


def compare(
    result: Sequence[Signals],
    reference: Sequence[Signals],
    pairs: Sequence[tuple[str, str]] | None = None,
    max_lag: float = 0.5,
    offset: float = 0.0,
) -> Comparison:
    """Put a reference beside forces or action units.

    The reference is resampled onto the frames of the result, never across its gaps. Frame numbers of a reference
    without times are taken for those of the recording.

    Args:
        result: tables of signals with times.
        reference: tables of signals.
        pairs: (result, reference) names to compare; those whose names agree if not given.
        max_lag: largest lag to try, to either side [s].
        offset: added to the times of the reference [s].

    Raises:
        ValueError: no names in common, a pair that is not there, names that agree with several, or less than two
            seconds in which both have values.
    """
    sources = tuple(" and ".join(table.source for table in tables) for tables in (result, reference))
    own, other = _columns(result), _columns(reference)
    chosen = _pairs_by_name(own, other) if pairs is None else _checked_pairs(pairs, own, other)
    if not chosen:
        raise ValueError(
            f"no names in common: the result has {shortened(list(own))}, the reference {shortened(list(other))}; "
            "name the pairs with --pairs"
        )
    placed = {id(table): _times(table, result[0]) + offset for table in reference}
    signals = []
    for name, beside in chosen:
        table, column = own[name]
        reference_table, reference_column = other[beside]
        signals.append(
            _compare_one(
                (name, table, column),
                (beside, reference_table, reference_column),
                placed[id(reference_table)],
                max_lag,
            )
        )
    if not any(signal.measures for signal in signals):
        raise ValueError(_too_short(signals, result, [placed[id(table)] for table in reference]))
    seen, used = {name for name, _ in chosen}, {beside for _, beside in chosen}
    return Comparison(
        tuple(signals),
        tuple(name for name in own if name not in seen),
        tuple(name for name in other if name not in used),
        (sources[0], sources[1]),
        max_lag,
        offset,
    )


def _columns(tables: Sequence[Signals]) -> dict[str, tuple[Signals, int]]:
    return {name: (table, column) for table in tables for column, name in enumerate(table.names)}


def _key(name: str) -> tuple[tuple[str, ...], str]:
    """Words of a name without its side, and the side."""
    words = [word.lower().lstrip("0") for word in _WORDS.findall(_BRACKETS.sub(" ", name))]
    side = next((_SIDES[word] for word in words if word in _SIDES), "")
    return tuple(word for word in words if word not in _SIDES and word not in _BESIDE), side


def _pairs_by_name(own: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: dict[tuple[tuple[str, ...], str], str] = {}
    for name in other:
        if (before := found.setdefault(_key(name), name)) != name and _key(name) in map(_key, own):
            raise ValueError(f"{shortened([before, name])} of the reference agree by name; choose one with --pairs")
    pairs = {name: found[_key(name)] for name in own if _key(name) in found}
    # Names without their last words, as "corrugator" for the corrugator supercilii, where they can be of one only.
    for (words, side), name in found.items():
        longer = [key for key in map(_key, own) if key[0][: len(words)] == words and key[1] == side]
        if words and name not in pairs.values() and len(longer) == 1:
            pairs.setdefault(next(other for other in own if _key(other) == longer[0]), name)
    return [(name, pairs[name]) for name in own if name in pairs]


def _checked_pairs(
    pairs: Sequence[tuple[str, str]], own: Mapping[str, Any], other: Mapping[str, Any]
) -> list[tuple[str, str]]:
    for pair in pairs:
        for name, names, where in zip(pair, (own, other), ("result", "reference"), strict=True):
            if name not in names:
                raise ValueError(f"the {where} has no {shortened([name])}; it has {shortened(list(names))}")
    return list(dict.fromkeys(pairs))


def _times(table: Signals, result: Signals) -> Floats:
    """Times of a reference: its own, or those of the result's frames with its frame numbers."""
    if table.timestamp is not None:
        return table.timestamp
    assert table.frame is not None, "frame numbers or times are there"
    assert result.timestamp is not None, "a result has times"
    recorded = np.full(len(result.timestamp), -1) if result.frame is None else result.frame
    # Of each recorded frame the mean time of the rows that show it: where frames are lost there is no single rate.
    frames, rows = np.unique(recorded[recorded >= 0], return_inverse=True)
    if len(frames) < 2:
        raise ValueError(f"{table.source}: nothing tells the times of its frames; give --recorded-fps")
    times = np.bincount(rows, result.timestamp[recorded >= 0]) / np.bincount(rows)
    step = float(np.median(np.diff(times) / np.diff(frames)))
    before, after = np.minimum(table.frame - frames[0], 0), np.maximum(table.frame - frames[-1], 0)
    return np.interp(table.frame, frames, times) + step * (before + after)


def _compare_one(
    own: tuple[str, Signals, int], other: tuple[str, Signals, int], times: Floats, max_lag: float
) -> ComparedSignal:
    (name, table, column), (beside, reference, reference_column) = own, other
    grid = table.timestamp
    assert grid is not None, "a result has times"
    fps = 1 / float(np.median(np.diff(grid))) if len(grid) > 1 else 1.0
    x = table.values[:, column]
    y = _onto(times, reference.values[:, reference_column], grid, fps, reference.scale == "presence")
    frames = int((~np.isnan(x) & ~np.isnan(y)).sum())
    compared = ComparedSignal(name, beside, (table.scale, reference.scale), grid, x, y, frames, {})
    if frames < SHORTEST * fps:
        note = f"only {frames} frames with values of both, fewer than {SHORTEST:g} s"
        return replace(compared, note=note)
    most, block = int(max_lag * fps + 1e-6), max(round(BLOCK * fps), 1)
    found = agreement(x, y, fps, most, block, compared.one_scale)
    both = ~np.isnan(x) & ~np.isnan(y)
    constant = [words for words, values in (("result", x), ("reference", y)) if _is_constant(values[both])]
    note = f"constant {' and '.join(constant)}: r is not defined" if constant else ""
    if found.at_limit and most:
        note = f"r still rises at a lag of {found.best_lag / fps:+.2f} s, the largest that was tried"
    area = {"roc_area": roc_area(x, y, block)} if reference.scale == "presence" else {}
    return replace(compared, measures={**found.measures, **area}, best_lag=found.best_lag, note=note)


def _is_constant(values: Floats) -> bool:
    return float(np.ptp(values)) <= 1e-7 * float(np.abs(values).max())


def _onto(times: Floats, values: Floats, grid: Floats, fps: float, nearest: bool) -> Floats:
    """Values at the times of a grid, NaN where a gap of the reference is."""
    found = np.full(len(grid), np.nan)
    if len(times) < 2:
        return found
    step = float(np.median(np.diff(times)))
    for piece in known_pieces(times, values, step):
        own, known = times[piece], values[piece]
        inside = np.flatnonzero((grid >= own[0] - 0.5 * step) & (grid <= own[-1] + 0.5 * step))
        if not len(inside):
            continue
        if nearest:
            found[inside] = known[np.searchsorted((own[1:] + own[:-1]) / 2, grid[inside])]
        elif 1 / step <= 1.01 * fps:
            found[inside] = np.interp(grid[inside], own, known)
        else:
            scale = np.abs(known).max() or 1.0  # volts of EMG are small numbers
            slow = interpolate(own, (known / scale).astype(np.float32)[:, None], 1 / step, grid[inside], fps)
            found[inside] = scale * slow[:, 0]
    return found


def _too_short(signals: Sequence[ComparedSignal], result: Sequence[Signals], times: Sequence[NDArray[Any]]) -> str:
    own, other = result[0].timestamp, times[0]
    assert own is not None, "a result has times"
    most = max(signal.frames for signal in signals)
    return (
        f"result and reference have values of both in at most {most} frames, expected at least {SHORTEST:g} s: the "
        f"result runs from {own[0]:.2f} to {own[-1]:.2f} s, the reference from {other[0]:.2f} to {other[-1]:.2f} s "
        "(--offset moves it)"
    )
