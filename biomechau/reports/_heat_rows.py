"""Probabilities of action units over time: one row per unit, darker for higher probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from biomechau.reports.curves import INVALID_STYLE, MARK_COLOUR, Floats, invalid_spans

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

COLOUR_MAP = "Blues"
# Green differs from the blue of the rows and the colours of the sides for every kind of colour vision.
LABEL_COLOUR = "#009E73"
_LEFT = 2.3  # width of the names [inches]
# Share of a row's height that the label's line takes.
_LABEL = 0.16


@dataclass(frozen=True)
class HeatRows:
    """Data of the rows.

    Attributes:
        timestamp: (T,) time of each frame [s].
        probabilities: (T, R).
        names: of the R rows.
        valid: (T,) frames that were recorded.
        labels: (T, R) of 1, 0 and -1 (unknown), if any.
        sides: (T, R, 2), if left and right are told: then a row shows the left in its upper half, the right below.
    """

    timestamp: Floats
    probabilities: Floats
    names: tuple[str, ...]
    valid: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.integer] | None = None
    sides: Floats | None = None


def draw_heat_rows(parent: SubFigure, rows: HeatRows, marks: Sequence[float]) -> None:
    """Fill ``parent`` with one row per action unit, ``marks`` as dashed lines [s]."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    width, height = parent.bbox.width / parent.figure.dpi, parent.bbox.height / parent.figure.dpi
    axes = parent.add_axes((_LEFT / width, 0.5 / height, 1 - (_LEFT + 0.85) / width, 1 - 0.95 / height))
    half = 0.5 * float(np.median(np.diff(rows.timestamp)))
    start, stop = float(rows.timestamp[0]) - half, float(rows.timestamp[-1]) + half
    count = len(rows.names)
    shown = rows.probabilities if rows.sides is None else rows.sides.reshape(len(rows.sides), -1)
    image = axes.imshow(
        np.where(rows.valid[:, None], shown, np.nan).T,
        aspect="auto",
        interpolation="nearest",
        extent=(start, stop, count - 0.5, -0.5),
        cmap=colormaps[COLOUR_MAP],
        vmin=0.0,
        vmax=1.0,
    )
    for first, last in invalid_spans(rows.timestamp, ~rows.valid):
        axes.axvspan(first, last, **INVALID_STYLE)
    if rows.labels is not None:
        on = np.where(rows.labels == 1, 1.0, np.nan).T
        for row in range(count):
            axes.imshow(
                on[row][None],
                aspect="auto",
                interpolation="nearest",
                extent=(start, stop, row + 0.5, row + 0.5 - _LABEL),
                cmap=ListedColormap([LABEL_COLOUR]),
                vmin=0.0,
                vmax=1.0,
            )
    for line in np.arange(0.5, count - 1):
        axes.axhline(line, color="white", linewidth=1.5)
    for mark in marks:
        axes.axvline(mark, color=MARK_COLOUR, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlim(start, stop)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks(range(count), rows.names, fontsize=8.5)
    axes.tick_params(labelsize=8.5, length=0)
    axes.tick_params(axis="x", labelsize=8, length=2)
    axes.set_xlabel("time [s]", fontsize=9, labelpad=2)
    axes.spines[:].set_visible(False)
    bar = parent.add_axes((1 - 0.65 / width, 0.5 / height, 0.12 / width, 1 - 0.95 / height))
    parent.figure.colorbar(image, cax=bar).set_label(
        "probability" if rows.sides is None else "probability: left above, right below", fontsize=8
    )
    bar.tick_params(labelsize=8, length=2)
    handles: list[Line2D | Patch] = []
    if rows.labels is not None:
        handles.append(Patch(color=LABEL_COLOUR, label="labelled on"))
    if marks:
        handles.append(Line2D([], [], color=MARK_COLOUR, linewidth=0.8, linestyle=(0, (4, 3)), label="moment shown"))
    if not rows.valid.all():
        handles.append(Patch(**INVALID_STYLE, label="not measured"))
    parent.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(_LEFT / width, 1 - 0.42 / height),
        ncols=max(len(handles), 1),
        frameon=False,
        fontsize=8.5,
        borderaxespad=0.0,
        borderpad=0.2,
        handlelength=1.6,
        columnspacing=1.4,
    )
