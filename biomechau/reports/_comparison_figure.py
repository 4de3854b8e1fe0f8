"""The picture of a comparison: a row per signal with both over time, one against the other, and their difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biomechau.analysis.comparison import ComparedSignal, Comparison
from biomechau.analysis.face_forces import Floats
from biomechau.reports.curves import INVALID_STYLE, invalid_spans
from biomechau.reports.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Rows of a picture that can still be opened and read.
MOST_ROWS = 24
_RESULT, _REFERENCE, _LINE = "#0072B2", "#D55E00", "#333333"
# Points of a scatter plot; more make it a blot.
_POINTS = 3000


def comparison_figure(comparison: Comparison) -> Figure:
    """Small multiples: curves, scatter plot with r at the best lag, Bland-Altman plot where the units agree.

    A reference in another unit is drawn with the result's mean and standard deviation, as the title says; presences
    beside probabilities are not.
    """
    shown = comparison.signals[:MOST_ROWS]
    differences = any(signal.one_scale and signal.measures for signal in shown)
    # In inches.
    width, row, above, below = 13.0, 1.75 if len(shown) <= 8 else 1.25, 0.85, 0.5
    height = above + row * len(shown) + below
    figure = new_figure(width, height)
    ratios = (3.4, 1.1, 1.5) if differences else (3.4, 1.1)
    grid = figure.add_gridspec(
        len(shown),
        len(ratios),
        width_ratios=ratios,
        left=0.85 / width,
        right=1 - 0.2 / width,
        top=1 - above / height,
        bottom=below / height,
        hspace=0.55 if len(shown) <= 8 else 0.75,
        wspace=0.26,
    )
    for index, signal in enumerate(shown):
        last = index == len(shown) - 1
        _draw_curves(figure.add_subplot(grid[index, 0]), signal, last)
        _draw_scatter(figure.add_subplot(grid[index, 1]), signal, last)
        if differences:
            _draw_difference(figure.add_subplot(grid[index, 2]), signal, last)
    more = len(comparison.signals) - len(shown)
    title = f"{comparison.sources[0]} beside {comparison.sources[1]}"
    title += f": the first {len(shown)} of {len(comparison.signals)} signals" if more else ""
    figure.text(0.12 / width, 1 - 0.12 / height, title, ha="left", va="top", fontsize=11, fontweight="bold")
    _draw_legend(figure, (0.85 / width, 1 - 0.38 / height))
    return figure


def _draw_legend(figure: Figure, corner: tuple[float, float]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Line2D | Patch] = [
        Line2D([], [], color=_RESULT, linewidth=1.4, label="result"),
        Line2D([], [], color=_REFERENCE, linewidth=1.0, label="reference, at its own time"),
        Patch(**INVALID_STYLE, label="one of them is missing"),
    ]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=corner, ncols=3, frameon=False, fontsize=8.5, borderpad=0.0
    )


def _draw_curves(axes: Axes, signal: ComparedSignal, last: bool) -> None:
    known = ~np.isnan(signal.values) & ~np.isnan(signal.reference_values)
    for start, stop in invalid_spans(signal.timestamp, ~known):
        axes.axvspan(start, stop, **INVALID_STYLE, zorder=0)
    reference, note = signal.reference_values, ""
    if not signal.one_scale and signal.scales != ("probability", "presence"):
        reference, note = _rescaled(reference, signal.values, known), ", reference rescaled"
    axes.plot(signal.timestamp, signal.values, color=_RESULT, linewidth=1.4)
    style = "steps-mid" if signal.scales[1] == "presence" else "default"
    axes.plot(signal.timestamp, reference, color=_REFERENCE, linewidth=1.0, drawstyle=style)
    axes.set_title(f"{_title(signal)}{note}", fontsize=8.5, loc="left", pad=3)
    axes.set_ylabel(signal.scales[0].split(",")[0] if signal.scales[0] else "", fontsize=8)
    axes.margins(x=0.0)
    _finish(axes, "time [s]" if last else "")


def _rescaled(reference: Floats, result: Floats, known: np.ndarray) -> Floats:
    """The reference with the mean and the standard deviation of the result."""
    if not known.any():
        return reference
    spread = float(reference[known].std())
    factor = float(result[known].std()) / spread if spread else 0.0
    return (reference - reference[known].mean()) * factor + result[known].mean()


def _title(signal: ComparedSignal) -> str:
    own, other = signal.result.replace("_", " "), signal.reference.replace("_", " ")
    names = own if own == other else f"{own} beside {other}"
    lag, r = signal.measure("lag").value, signal.measure("r").value
    if lag is None:
        return f"{names}: {signal.note}" if signal.note else names
    at_zero = "" if r is None else f"r {r:.2f}, "
    if (area := signal.measure("roc_area").value) is not None:
        at_zero += f"AUC {area:.2f}, "
    return f"{names}: {at_zero}lag {f'{1000 * lag:+.0f}' if lag else 0} ms"


def _draw_scatter(axes: Axes, signal: ComparedSignal, last: bool) -> None:
    reference = signal.shifted_reference()
    known = np.flatnonzero(~np.isnan(signal.values) & ~np.isnan(reference))
    known = known[:: max(1, len(known) // _POINTS)]
    axes.plot(signal.values[known], reference[known], ".", **_dots(len(known)))
    gain, offset = signal.measure("gain").value, signal.measure("offset").value
    if gain is not None and offset is not None and len(known):
        ends = np.array([signal.values[known].min(), signal.values[known].max()])
        axes.plot(ends, gain * ends + offset, color=_LINE, linewidth=0.9)
    r = signal.measure("r_best")
    if r.value is not None:
        interval = "" if r.low is None else f" ({r.low:.2f} to {r.high:.2f})"
        axes.set_title(f"r {r.value:.2f}{interval} at the lag", fontsize=8, loc="left", pad=3)
    axes.set_ylabel("reference", fontsize=8)
    _finish(axes, "result" if last else "")


def _draw_difference(axes: Axes, signal: ComparedSignal, last: bool) -> None:
    bias, low, high = (signal.measure(name).value for name in ("bias", "lower_limit", "upper_limit"))
    if bias is None or low is None or high is None:
        axes.set_axis_off()
        return
    difference, middle = signal.values - signal.reference_values, (signal.values + signal.reference_values) / 2
    known = np.flatnonzero(~np.isnan(difference))
    known = known[:: max(1, len(known) // _POINTS)]
    axes.plot(middle[known], difference[known], ".", **_dots(len(known)))
    for level, style in ((bias, "-"), (low, "--"), (high, "--")):
        axes.axhline(level, color=_REFERENCE, linewidth=0.9, linestyle=style)
    icc = signal.measure("icc").value
    words = f"bias {bias:+.2g}, limits {low:+.2g} to {high:+.2g}"
    axes.set_title(words + ("" if icc is None else f", ICC {icc:.2f}"), fontsize=8, loc="left", pad=3)
    axes.set_ylabel("difference", fontsize=8)
    _finish(axes, "mean of result and reference" if last else "")


def _dots(count: int) -> dict[str, Any]:
    """Style of the points of a scatter plot, larger and darker where there are few."""
    few = count < 500
    return {"color": _LINE, "markersize": 5 if few else 2.5, "alpha": 0.5 if few else 0.35, "markeredgewidth": 0}


def _finish(axes: Axes, label: str) -> None:
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(labelsize=7, length=2)
    axes.yaxis.get_offset_text().set_fontsize(6)
    axes.spines[["top", "right"]].set_visible(False)
