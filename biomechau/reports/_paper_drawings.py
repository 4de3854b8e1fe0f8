"""Drawings of the figures of the paper: effective areas, forces with labels, faces above their forces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from biomechau.reports._render import SKIN, FaceRenderer
from biomechau.reports.curves import INVALID_STYLE, SIDE_COLOURS, Floats, invalid_spans
from biomechau.reports.figures import RESOLUTION, draw_colour_bar, draw_sides, new_figure
from biomechau.rig import Distribution, FaceRig
from biomechau.rig.muscles import split_identifier

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Image = npt.NDArray[np.uint8]
FORCE_COLOUR, LABEL_COLOUR = SIDE_COLOURS["left"], SIDE_COLOURS["right"]
# Opacity of an area at its rim; it is largest where the muscle pulls most.
_RIM = 0.3
_CAPTION = 8.5  # points


@dataclass(frozen=True)
class Panel:
    """A muscle's force and an action unit's label over the T frames of one sequence.

    Attributes:
        title: of the panel.
        timestamp: (T,) [s].
        force: (T,) magnitude, both sides together [force unit].
        label: (T,) of 1, 0 and -1 (unknown).
        valid: (T,) frames that were recorded.
        r: Pearson correlation of the two over the valid frames with a label.
    """

    title: str
    timestamp: Floats
    force: Floats
    label: npt.NDArray[np.integer]
    valid: npt.NDArray[np.bool_]
    r: float


@dataclass(frozen=True)
class Moments:
    """Some frames of one sequence.

    Attributes:
        title: of the sequence.
        headings: of the frames.
        above: photograph or rendered face at each frame.
        below: the same face coloured by force.
    """

    title: str
    headings: tuple[str, ...]
    above: tuple[Image, ...]
    below: tuple[Image, ...]


def area_pictures(rig: FaceRig, distribution: Distribution, height: int) -> dict[str, Image]:
    """The neutral face with the effective area of each muscle, in the colours of the sides.

    Returns:
        By the muscle's readable name, in the order of the table.
    """
    from matplotlib.colors import to_rgb

    share = distribution.dense().detach().double().numpy()
    sides: dict[str, dict[str, int]] = {}
    for column, identifier in enumerate(distribution.muscles.names):
        name, side = split_identifier(identifier)
        sides.setdefault(name, {})[side] = column
    neutral = rig.neutral.double().numpy()
    pictures = {}
    with FaceRenderer([neutral], rig.faces.numpy(), height, rig.axes) as renderer:
        for name, columns in sides.items():
            colours = np.broadcast_to(SKIN, (len(neutral), 3)).astype(float)
            for side, column in columns.items():
                weight = np.where(share[:, column] > 0, _RIM + (1 - _RIM) * share[:, column], 0.0)[:, None]
                colours = (1 - weight) * colours + weight * np.array(to_rgb(SIDE_COLOURS[side]))
            pictures[name] = renderer.picture(neutral, colours=colours)
    return pictures


def area_figure(pictures: Mapping[str, Image], names: Mapping[str, str], caption: str) -> Figure:
    """Fig. 2: one face per muscle.

    Args:
        pictures: by muscle name.
        names: text beneath each picture.
        caption: beneath the figure.
    """
    from matplotlib.patches import Patch

    columns = min(len(pictures), 7)
    rows = -(-len(pictures) // columns)
    width, words, foot = 1.75, 0.5, 0.5  # inches
    picture = next(iter(pictures.values()))
    tall = width * picture.shape[0] / picture.shape[1]
    total = rows * (tall + words) + foot
    figure = new_figure(width * columns, total)
    for index, (name, image) in enumerate(pictures.items()):
        row, column = divmod(index, columns)
        bottom = 1 - (row * (tall + words) + tall) / total
        axes = figure.add_axes((column / columns, bottom, 1 / columns, tall / total))
        axes.imshow(image)
        axes.set_axis_off()
        axes.text(0.5, -0.01, names[name], transform=axes.transAxes, ha="center", va="top", fontsize=8)
    handles = [Patch(color=SIDE_COLOURS[side], label=side) for side in ("left", "right")]
    handles.append(Patch(color=SIDE_COLOURS["both"], label="unpaired"))
    figure.legend(handles=handles, loc="lower right", ncols=3, frameon=False, fontsize=9)
    _draw_caption(figure, caption, 0.72)
    return figure


def correlation_figure(columns: Sequence[tuple[str, Sequence[Panel]]], unit: str, caption: str) -> Figure:
    """Fig. 4: force magnitude and label over time.

    Args:
        columns: title and panels of each sequence.
        unit: label of the force axis.
        caption: beneath the figure.
    """
    rows = max(len(panels) for _, panels in columns)
    height, foot = 1.75 * max(rows, 1) + 0.5, 0.5
    figure = new_figure(4.3 * len(columns), height + foot)
    grid = figure.add_gridspec(
        max(rows, 1),
        len(columns),
        left=0.75 / (4.3 * len(columns)),
        right=0.99,
        top=1 - 0.62 / (height + foot),
        bottom=(foot + 0.5) / (height + foot),
        hspace=0.55,
        wspace=0.2,
    )
    for number, (title, panels) in enumerate(columns):
        for row in range(max(len(panels), 1)):
            axes = figure.add_subplot(grid[row, number])
            if not panels:
                axes.set_axis_off()
                axes.text(0.5, 0.5, "no label changes", ha="center", fontsize=9, transform=axes.transAxes)
            else:
                _draw_panel(axes, panels[row])
                if row == len(panels) - 1:
                    axes.set_xlabel("time [s]", fontsize=9)
            if row == 0:
                axes.text(0.5, 1.32, title, ha="center", fontsize=10, fontweight="bold", transform=axes.transAxes)
    figure.text(0.15 / (4.3 * len(columns)), 0.55, unit, rotation=90, ha="left", va="center", fontsize=9)
    _draw_caption(figure, caption, 1.0)
    return figure


def moments_figure(rows: Sequence[Moments], scale: float, unit: str, caption: str) -> Figure:
    """Fig. 5: faces above, forces on the mesh below.

    Args:
        rows: one per sequence.
        scale: value at the top of the colour bar.
        unit: label of the colour bar.
        caption: beneath the figure.
    """
    count = max(len(row.headings) for row in rows)
    margin, heading, bar, foot, cell = 0.45, 0.62, 0.85, 0.75, 1.85  # inches
    width = margin + count * cell + bar
    tall = 0.97 * cell * max(image.shape[0] / image.shape[1] for row in rows for image in (*row.above, *row.below))
    block = heading + 2 * tall
    total = block * len(rows) + foot
    figure = new_figure(width, total)
    for number, row in enumerate(rows):
        top = total - number * block
        figure.text(0.1 / width, (top - heading - tall) / total, row.title, rotation=90, va="center", fontsize=9.5)
        for index, (words, *images) in enumerate(zip(row.headings, row.above, row.below, strict=True)):
            for index_below, image in enumerate(images):
                bottom = top - heading - (index_below + 1) * tall
                axes = figure.add_axes(
                    ((margin + index * cell) / width, bottom / total, 0.97 * cell / width, 0.98 * tall / total)
                )
                axes.imshow(image)
                axes.set_axis_off()
                if index_below:
                    draw_sides(axes, 6)
                else:
                    axes.set_title("\n".join(fill(line, 26) for line in words.split("\n")), fontsize=8.5, pad=3)
    box = (1 - 0.7 / width, (foot + 0.15 * block) / total, 0.12 / width, 0.7 * block / total)
    draw_colour_bar(figure, box, scale, unit, upright=True)
    _draw_caption(figure, caption, 1.0)
    return figure


def save_all(figure: Figure, stem: Path, title: str, caption: str, vector: bool) -> list[str]:
    """Write a figure as PNG, and line drawings also as PDF and SVG, with title and caption in the metadata.

    Returns:
        Names of the files.
    """
    kinds: dict[str, dict[str, str | None]] = {"png": {"Title": title, "Description": caption}}
    if vector:
        # No dates: the same figure gives the same file.
        kinds["pdf"] = {"Title": title, "Subject": caption, "CreationDate": None}
        kinds["svg"] = {"Title": title, "Description": caption, "Date": None}
    for kind, metadata in kinds.items():
        figure.savefig(f"{stem}.{kind}", dpi=RESOLUTION, facecolor="white", format=kind, metadata=metadata)
    return [f"{stem.name}.{kind}" for kind in kinds]


def _draw_panel(axes: Axes, panel: Panel) -> None:
    top = 1.1 * float(panel.force[panel.valid].max(initial=0.0)) or 1.0
    for start, stop in invalid_spans(panel.timestamp, ~panel.valid):
        axes.axvspan(start, stop, **INVALID_STYLE, zorder=0)
    shown = panel.valid & (panel.label >= 0)
    label = np.where(shown, panel.label * top / 1.1, np.nan)
    axes.fill_between(panel.timestamp, 0, label, step="mid", color=LABEL_COLOUR, alpha=0.15, linewidth=0)
    axes.step(panel.timestamp, label, where="mid", color=LABEL_COLOUR, linewidth=1.2)
    axes.plot(panel.timestamp, np.where(panel.valid, panel.force, np.nan), color=FORCE_COLOUR, linewidth=1.6)
    axes.set_ylim(0, top)
    axes.margins(x=0)
    axes.set_title(f"{panel.title}, r = {panel.r:.2f}", fontsize=9, pad=4)
    axes.tick_params(labelsize=8, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_caption(figure: Figure, caption: str, share: float) -> None:
    """Draw a caption at the lower left, over a share of the width."""
    width = figure.get_figwidth()
    letters = int(share * (width - 0.2) * 72 / (0.56 * _CAPTION))
    figure.text(0.1 / width, 0.08 / figure.get_figheight(), fill(caption, letters), fontsize=_CAPTION, va="bottom")
