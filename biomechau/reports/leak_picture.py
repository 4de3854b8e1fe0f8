"""Picture of the leaks of a rig: how much force a muscle that moves alone gives to the others."""

from __future__ import annotations

from pathlib import Path

from biomechau.analysis.rig_leaks import FAST, SLOW, Leaks
from biomechau.reports._heat_rows import COLOUR_MAP
from biomechau.reports.figures import draw_heading, new_figure, save_figure

_CELL = 0.2  # inches
_NAMES, _HEADING, _BAR = 2.1, 0.9, 0.8  # inches
_TOP = 0.5  # share at the top of the colours; larger ones look the same


def draw_leaks(leaks: Leaks, path: Path, title: str) -> None:
    """Write two heat maps, slow and fast: one row per muscle that moves alone, one column per muscle that gets a force.

    Args:
        leaks: the shares of force.
        path: of the PNG.
        title: heading.
    """
    names = [name.replace("_", " ") for name in leaks.names]
    side = max(_CELL * len(names), 1.6)
    width, height = 2 * (_NAMES + side) + _BAR, _HEADING + side + _NAMES
    figure = new_figure(width, height)
    draw_heading(figure, title)
    image = None
    for index, (speed, duration, shares) in enumerate((("slow", SLOW, leaks.slow), ("fast", FAST, leaks.fast))):
        left = (index + 1) * _NAMES + index * side
        axes = figure.add_axes((left / width, _NAMES / height, side / width, side / height))
        moving, other, share = leaks.worst(shares, 1)[0]
        words = f"{speed}, {duration:g} s: at most {share:.2f}"
        axes.set_title(words if share == 0 else f"{words} ({moving} to {other})".replace("_", " "), fontsize=8)
        image = axes.imshow(shares, cmap=COLOUR_MAP, vmin=0.0, vmax=_TOP)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.tick_params(length=0)
        axes.set_xlabel("muscle that gets a force", fontsize=8)
        axes.set_ylabel("muscle whose shapes move alone", fontsize=8)
    assert image is not None
    bar = figure.add_axes(((width - 0.7) / width, _NAMES / height, 0.12 / width, side / height))
    figure.colorbar(image, cax=bar, extend="max").set_label("force, share of the moving muscle's own", fontsize=8)
    bar.tick_params(labelsize=7, length=2)
    save_figure(figure, path)
