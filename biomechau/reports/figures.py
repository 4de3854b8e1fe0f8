"""Complete figures: muscle forces next to the face that they move, contact sheets. Needs the ``viz`` extra."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from biomechau.reports._heat_rows import HeatRows, draw_heat_rows
from biomechau.reports._render import overlay_colours
from biomechau.reports.curves import SIDE_COLOURS, ForceCurves, draw_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

MISSING_VIZ = 'pictures need pyvista and matplotlib: pip install "biomechau[viz]"'
RESOLUTION = 150  # dots per inch


def viz_available() -> bool:
    """Whether pyvista and matplotlib are installed."""
    return find_spec("pyvista") is not None and find_spec("matplotlib") is not None


@dataclass(frozen=True)
class FacePicture:
    """One rendered face of a figure.

    Attributes:
        image: (height, width, 3) RGB.
        time: of the frame [s].
        title: above the face.
    """

    image: npt.NDArray[np.uint8]
    time: float
    title: str


def forces_figure(curves: ForceCurves, face: FacePicture, scale: float, unit: str, title: str) -> Figure:
    """The strongest muscles over time, and the face at one moment coloured by force.

    Args:
        curves: the forces.
        face: the face at its strongest frame.
        scale: value at the top of the colour bar.
        unit: label of the colour bar.
        title: heading, such as the name of the recording.
    """
    figure = new_figure(11.5, 6.4)
    grid = figure.add_gridspec(1, 2, width_ratios=(1.6, 1.0))
    left, right = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    draw_heading(left, title)
    draw_curves(left, curves, [face.time], num_rows=8)
    _draw_face(right.add_axes((0.02, 0.13, 0.96, 0.8)), face)
    draw_colour_bar(right, (0.2, 0.085, 0.6, 0.022), scale, unit)
    return figure


def strip_figure(curves: ForceCurves, faces: Sequence[FacePicture], scale: float, unit: str, title: str) -> Figure:
    """Faces at several moments above the curves, known forces beneath the recovered ones.

    Args:
        curves: the forces, with their reference.
        faces: the face at each moment, with a common colour scale.
        scale: value at the top of the colour bar.
        unit: label of the colour bar.
        title: heading.
    """
    # In inches: the faces fill the width that the colour bar leaves.
    width, heading, bar = 12.5, 0.75, 0.85
    cell = (width - bar) / len(faces)
    strip = cell * max(face.image.shape[0] / face.image.shape[1] for face in faces)
    figure = new_figure(width, heading + strip + 5.0)
    grid = figure.add_gridspec(2, 1, height_ratios=(heading + strip, 5.0))
    top, bottom = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    draw_heading(top, title)
    share = strip / (heading + strip)
    for index, face in enumerate(faces):
        _draw_face(top.add_axes((index * cell / width, 0.0, cell / width, share)), face)
    box = (1 - 0.95 * bar / width, 0.12 * share, 0.12 / width, 0.76 * share)
    draw_colour_bar(top, box, scale, unit, upright=True)
    draw_curves(bottom, curves, [face.time for face in faces], num_rows=5, num_columns=2)
    return figure


def prediction_figure(
    rows: HeatRows,
    curves: ForceCurves | None,
    faces: Sequence[FacePicture],
    scale: float,
    unit: str,
    title: str,
) -> Figure:
    """Faces at several moments, the action units over time beneath, and the strongest muscles beneath those.

    Args:
        rows: the action units.
        curves: the forces; None without physics.
        faces: the face at each moment, with a common colour scale.
        scale: value at the top of the colour bar.
        unit: label of the colour bar.
        title: heading.
    """
    # In inches.
    width, heading, bar, muscles = 12.5, 0.75, 0.85, 0.0 if curves is None else 3.9
    cell = (width - bar) / len(faces)
    # Long faces leave space at their sides.
    strip = min(cell * max(face.image.shape[0] / face.image.shape[1] for face in faces), 3.2)
    units = 0.95 + 0.27 * len(rows.names)
    figure = new_figure(width, heading + strip + units + muscles)
    grid = figure.add_gridspec(
        3 if muscles else 2, 1, height_ratios=(heading + strip, units, muscles)[: 3 if muscles else 2]
    )
    top, middle = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    draw_heading(top, title)
    share = strip / (heading + strip)
    for index, face in enumerate(faces):
        _draw_face(top.add_axes((index * cell / width, 0.0, cell / width, share)), face)
    marks = [face.time for face in faces]
    if curves is not None:
        box = (1 - 0.95 * bar / width, 0.12 * share, 0.12 / width, 0.76 * share)
        draw_colour_bar(top, box, scale, unit, upright=True)
        draw_curves(figure.add_subfigure(grid[2]), curves, marks, num_rows=4, num_columns=2, above=0.45)
    draw_heat_rows(middle, rows, marks)
    return figure


def contact_sheet(faces: Sequence[tuple[str, npt.NDArray[np.uint8]]], unit: str, title: str) -> Figure:
    """Rendered faces in a grid, each with its name beneath.

    Args:
        faces: name and picture of each, of one size.
        unit: label of the colour bar, which runs from 0 to 1.
        title: heading.
    """
    num_columns = len(faces) if len(faces) <= 4 else 6 if len(faces) <= 24 else 8
    num_rows = -(-len(faces) // num_columns)
    # In inches.
    heading, caption, footer, width = 0.42, 0.26, 0.6, (3.0 if num_columns <= 4 else 1.8)
    picture = width * faces[0][1].shape[0] / faces[0][1].shape[1]
    total = heading + (picture + caption) * num_rows + footer
    figure = new_figure(max(width * num_columns, 4.0), total)
    draw_heading(figure, title)
    for index, (name, image) in enumerate(faces):
        row, column = divmod(index, num_columns)
        above = heading + row * (picture + caption)
        axes = figure.add_axes((column / num_columns, 1 - (above + picture) / total, 1 / num_columns, picture / total))
        axes.imshow(image)
        axes.set_axis_off()
        axes.text(0.5, -0.01, name, transform=axes.transAxes, ha="center", va="top", fontsize=8)
    draw_colour_bar(figure, (0.3, 0.4 / total, 0.4, 0.12 / total), 1.0, unit)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=RESOLUTION, facecolor="white", format="png")


def new_figure(width: float, height: float) -> Figure:
    """A figure with its own Agg canvas: no display, no global state of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def draw_heading(parent: Figure | SubFigure, title: str) -> None:
    """A heading in the top left corner, 0.12 inch from either edge."""
    inch = parent.figure.dpi
    x, y = 0.12 * inch / parent.bbox.width, 1 - 0.12 * inch / parent.bbox.height
    parent.text(x, y, title, ha="left", va="top", fontsize=11, fontweight="bold")


def draw_sides(axes: Axes, fontsize: float = 7.5) -> None:
    """Mark the subject's own left and right in a picture of the face from the front, in the colours of the curves."""
    for x, side, align in ((0.06, "right", "left"), (0.94, "left", "right")):
        words = {"ha": align, "va": "bottom", "fontsize": fontsize, "color": SIDE_COLOURS[side]}
        axes.text(x, 0.0, side, transform=axes.transAxes, **words)


def _draw_face(axes: Axes, face: FacePicture) -> None:
    axes.imshow(face.image)
    axes.set_axis_off()
    axes.set_title(face.title, fontsize=10, pad=5)
    draw_sides(axes)


def draw_colour_bar(
    parent: Figure | SubFigure,
    box: tuple[float, float, float, float],
    scale: float,
    unit: str,
    upright: bool = False,
) -> None:
    """The colours of the faces, from bare skin upwards."""
    axes = parent.add_axes(box)
    ramp = overlay_colours(np.linspace(0.0, 1.0, 256))
    extent = (0.0, 1.0, 0.0, scale) if upright else (0.0, scale, 0.0, 1.0)
    axes.imshow(ramp[:, None] if upright else ramp[None], aspect="auto", origin="lower", extent=extent)
    axes.tick_params(labelsize=8, length=2)
    if upright:
        axes.set_xticks([])
        axes.yaxis.tick_right()
        axes.yaxis.set_label_position("right")
        axes.set_ylabel(unit, fontsize=8)
    else:
        axes.set_yticks([])
        axes.set_xlabel(unit, fontsize=9)
