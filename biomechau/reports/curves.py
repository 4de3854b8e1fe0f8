"""Muscle forces over time as small multiples: one row per muscle, its sides in the same two colours everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from biomechau.analysis import CaptureForces, FaceForces
from biomechau.rig.muscles import split_identifier

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

Floats = npt.NDArray[np.floating]
Rows = Sequence[tuple[str, dict[str, int]]]

# Blue and vermilion can be told apart with every kind of colour vision; grey is for unpaired muscles.
SIDE_COLOURS = {"left": "#0072B2", "right": "#D55E00", "both": "#4D4D4D"}
# The left side is drawn first and wider, so that it shows beneath a right side of the same force.
SIDE_WIDTHS = {"left": 2.2, "right": 1.1, "both": 1.3}
# Of frames that were not measured: hatched, since plain grey is doubt.
INVALID_STYLE = {"facecolor": "#E3E3E3", "edgecolor": "white", "hatch": "/////", "linewidth": 0}
MARK_COLOUR = "#333333"
# From here on the grey of doubt is seen.
_DOUBTED = 0.9
# Standard deviations to either side of a band of 90 %.
BAND = 1.645
# Room for the names of muscles, the numbers and the unit of the axis [in].
_LEFT = 1.95
# Entries of a legend that have room in one line at its usual size.
_ROOMY = 5


@dataclass(frozen=True)
class ForceCurves:
    """Data of the curves in a figure.

    Attributes:
        timestamp: (T,) time of each frame [s].
        strength: (T, M) force of each muscle, its magnitude where forces are vectors [force unit].
        identifiers: M muscle identifiers.
        valid: (T,) frames that were recorded, not filled in.
        unit: label of the force axis.
        reference: (T, M) known forces to draw beneath, if any [force unit].
        quality: (T,) how far each frame can be trusted, 0 to 1, if that is known.
        deviation: (T, M) standard deviation of each force, drawn as a band of 90 %, if it is known [force unit].
        undetermined: muscles that face and tracker do not determine.
    """

    timestamp: Floats
    strength: Floats
    identifiers: tuple[str, ...]
    valid: npt.NDArray[np.bool_]
    unit: str
    reference: Floats | None = None
    quality: Floats | None = None
    deviation: Floats | None = None
    undetermined: tuple[str, ...] = ()

    @classmethod
    def of(cls, face: FaceForces, reference: Floats | None = None, quality: Floats | None = None) -> ForceCurves:
        """The curves of a face's muscles."""
        sequence, unit = face.sequence, f"muscle force [{face.force_unit}]"
        timestamp, valid = sequence.timestamp.numpy(), sequence.valid.numpy()
        known = (face.deviation, face.undetermined) if isinstance(face, CaptureForces) else (None, ())
        return cls(timestamp, face.strength, face.identifiers, valid, unit, reference, quality, *known)

    def is_undetermined(self, sides: Mapping[str, int]) -> bool:
        """Whether face and tracker do not determine a muscle, given by the columns of its sides."""
        return not {self.identifiers[column] for column in sides.values()}.isdisjoint(self.undetermined)

    def strongest(self, count: int) -> Rows:
        """The ``count`` muscles with the highest peaks, strongest first: readable name, column of each side."""
        rows: dict[str, dict[str, int]] = {}
        for column, identifier in enumerate(self.identifiers):
            name, side = split_identifier(identifier)
            rows.setdefault(name, {})[side] = column
        peak = (self.strength if self.reference is None else self.reference).max(0, initial=0.0)
        order = sorted(rows, key=lambda name: -max(peak[column] for column in rows[name].values()))
        return [(name, rows[name]) for name in order[:count]]


def draw_curves(
    parent: SubFigure,
    curves: ForceCurves,
    marks: Sequence[float],
    num_rows: int,
    num_columns: int = 1,
    above: float = 0.75,
) -> None:
    """Fill ``parent`` with the strongest muscles, all on one force scale, ``marks`` as dashed lines [s].

    ``above`` is the space above the curves [inch], for the legend and a heading.
    """
    rows = curves.strongest(num_rows * num_columns)
    num_rows = -(-len(rows) // num_columns)
    width, height = parent.bbox.width / parent.figure.dpi, parent.bbox.height / parent.figure.dpi
    grid = parent.add_gridspec(
        num_rows,
        num_columns,
        left=_LEFT / width,
        right=1 - 0.15 / width,
        top=1 - above / height,
        bottom=0.55 / height,
        hspace=0.25,
        wspace=_LEFT * num_columns / (width - _LEFT - 0.15),
    )
    shown = [curves.strength + (0.0 if curves.deviation is None else BAND * curves.deviation)]
    if curves.reference is not None:
        shown.append(curves.reference)
    columns = [column for _, sides in rows for column in sides.values()]
    top = max(float(values[:, columns].max(initial=0.0)) for values in shown) or 1.0
    for index, (name, sides) in enumerate(rows):
        axes = parent.add_subplot(grid[index % num_rows, index // num_rows])
        _draw_muscle(axes, curves, sides, marks)
        axes.set_ylim(0.0, 1.08 * top)
        label = _two_lines(name) + ("\n(not determined)" if curves.is_undetermined(sides) else "")
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9, labelpad=6)
        last = index % num_rows == num_rows - 1 or index == len(rows) - 1
        axes.tick_params(labelsize=8, length=2, labelbottom=last)
        if last:
            axes.set_xlabel("time [s]", fontsize=9)
    parent.text(0.12 / width, 0.5, curves.unit, rotation=90, ha="left", va="center", fontsize=9)
    _draw_legend(parent, curves, rows, (_LEFT / width, 1 - (above - 0.05) / height), bool(marks))


def _draw_muscle(axes: Axes, curves: ForceCurves, sides: dict[str, int], marks: Sequence[float]) -> None:
    for start, stop in invalid_spans(curves.timestamp, ~curves.valid):
        axes.axvspan(start, stop, **INVALID_STYLE, zorder=0)
    if curves.quality is not None:
        doubt = np.where(curves.valid, 1 - curves.quality, np.nan)[None]
        first, last = curves.timestamp[[0, -1]]
        axes.imshow(
            doubt,
            aspect="auto",
            extent=(first, last, 0, 1),
            transform=axes.get_xaxis_transform(),
            cmap="Greys",
            vmin=0,
            vmax=2.5,
            interpolation="nearest",
            zorder=0,
        )
    for mark in marks:
        axes.axvline(mark, color=MARK_COLOUR, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for side, column in sides.items():
        if curves.reference is not None:
            axes.plot(
                curves.timestamp,
                curves.reference[:, column],
                color=SIDE_COLOURS[side],
                linewidth=4.0,
                alpha=0.3,
                solid_capstyle="butt",
                zorder=2,
            )
        style = {"color": SIDE_COLOURS[side], "linewidth": SIDE_WIDTHS[side]}
        strength = np.where(curves.valid, curves.strength[:, column], np.nan)
        if curves.deviation is not None:
            half = BAND * curves.deviation[:, column]
            low = np.maximum(strength - half, 0)
            band = {"color": SIDE_COLOURS[side], "alpha": 0.2, "linewidth": 0, "zorder": 2}
            axes.fill_between(curves.timestamp, low, strength + half, **band)
        axes.plot(curves.timestamp, strength, zorder=4 if side == "right" else 3, **style)
    axes.margins(x=0.0)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_legend(parent: SubFigure, curves: ForceCurves, rows: Rows, corner: tuple[float, float], marked: bool) -> None:
    """A legend in one line above the curves, with an entry for each kind of mark in them."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    present = {side for _, sides in rows for side in sides}
    labels = {"left": "subject's left", "right": "subject's right", "both": "unpaired"}
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=SIDE_COLOURS[side], linewidth=SIDE_WIDTHS[side], label=label)
        for side, label in labels.items()
        if side in present
    ]
    if curves.reference is not None:
        handles.append(Line2D([], [], color="#888888", linewidth=4.0, alpha=0.4, label="true"))
        handles.append(Line2D([], [], color="#888888", linewidth=1.3, label="recovered"))
    if curves.deviation is not None:
        handles.append(Patch(color="#888888", alpha=0.3, label="90 % interval"))
    if marked:
        handles.append(Line2D([], [], color=MARK_COLOUR, linewidth=0.8, linestyle=(0, (4, 3)), label="moment shown"))
    if curves.quality is not None and bool((curves.quality[curves.valid] < _DOUBTED).any()):
        handles.append(Patch(color="#B5B5B5", label="in doubt"))
    if not curves.valid.all():
        handles.append(Patch(**INVALID_STYLE, label="not measured"))
    margin = 0.15 / (parent.bbox.width / parent.figure.dpi)
    parent.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=corner if len(handles) <= _ROOMY + 1 else (margin, corner[1]),
        ncols=len(handles),
        frameon=False,
        fontsize=8.5 if len(handles) <= _ROOMY else 7.0,
        borderaxespad=0.0,
        borderpad=0.2,
        handlelength=1.6 if len(handles) <= _ROOMY else 1.2,
        columnspacing=1.4 if len(handles) <= _ROOMY else 0.9,
    )


def _two_lines(name: str) -> str:
    """A muscle's name on two lines, broken at the space nearest to its middle."""
    name = name[:1].upper() + name[1:]
    spaces = [index for index, letter in enumerate(name) if letter == " "]
    if not spaces or len(name) < 12:
        return name
    middle = min(spaces, key=lambda index: abs(2 * index - len(name)))
    return f"{name[:middle]}\n{name[middle + 1 :]}"


def invalid_spans(timestamp: Floats, marked: npt.NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Start and end time [s] of each stretch of marked frames, half a frame wider on either side."""
    half = 0.5 * float(np.median(np.diff(timestamp))) if len(timestamp) > 1 else 0.5
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(int)))
    return [
        (float(timestamp[start]) - half, float(timestamp[stop - 1]) + half)
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]
