"""What the commands show on a terminal: tables, notes, progress. Whatever it holds, it is shown as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from biomechau.analysis import Demonstration, FaceForces
from biomechau.reports.curves import ForceCurves
from biomechau.rig.action_unit_names import NAMES, column_name
from biomechau.rig.muscles import split_identifier

# As many names as fit on a line or two; the rest is in the JSON.
NUM_NAMES = 8


def forces_table(face: FaceForces, summary: dict[str, Any], count: int = 10) -> Table:
    """The strongest muscles: peak of each side, its time, asymmetry."""
    table = new_table(f"Strongest muscles, peak force [{face.force_unit}]")
    table.add_column("muscle")
    for heading in ("left", "right", "unpaired", "time [s]", "asymmetry"):
        table.add_column(heading, justify="right")
    for name, sides in ForceCurves.of(face).strongest(count):
        rows = {side: summary["muscles"][face.identifiers[column]] for side, column in sides.items()}
        peaks = [f"{rows[side]['peak']:.2f}" if side in rows else "" for side in ("left", "right", "both")]
        time = max(rows.values(), key=lambda row: row["peak"])["time_of_peak"]
        index = summary["asymmetry"].get(name.replace(" ", "_"))
        table.add_row(name, *peaks, f"{time:.2f}", "" if index is None else f"{index:+.2f}")
    return table


def forces_notes(summary: dict[str, Any]) -> list[str]:
    """What was read, dropped, unused and left unexplained: one line each, nothing where there is nothing to say."""
    slack = summary["slack_share"]
    notes = [
        *input_notes(summary),
        f"{len(summary['frames']['filled'])} frames filled in by interpolation, not counted in peaks and means"
        if summary["frames"]["filled"]
        else "",
        *muscle_notes(summary),
        f"{slack:.1%} of the motion belongs to shapes without a muscle and was left out" if slack else "",
        f"{1 - summary['residual_share']:.1%} of the motion of the muscles' shapes is explained; "
        f"rank {summary['rank']} of {summary['unknowns']} unknowns, condition {summary['condition']:.1f}",
    ]
    return [note for note in notes if note]


def input_notes(summary: dict[str, Any]) -> list[str]:
    """What was read, dropped and unused: one line each."""
    frames, channels, meshes = summary["frames"], summary["channels"], summary["meshes"]
    missing = sum(gap["count"] for gap in frames["dropped"])
    gaps = ", ".join(f"{gap['count']} after frame {gap['after_recorded_frame']}" for gap in frames["dropped"])
    notes = [
        f"{frames['count']} frames at {frames['fps']:g} fps, {frames['end'] - frames['start']:.2f} s",
        f"{missing} frames dropped in the recording: {gaps}" if missing else "",
        f"{meshes['share_left_over']:.1%} of the meshes' shape and {meshes['share_of_motion_left_over']:.1%} of their "
        f"motion are left over by the rig ({meshes['residual_mm']:.2f} of {meshes['departure_mm']:.2f} mm)"
        if meshes
        else "",
        listing("channels that drive no shape", channels["unused"]),
        listing("shapes that no channel drives", channels["missing_shapes"]),
    ]
    return [note for note in notes if note]


def muscle_notes(summary: dict[str, Any]) -> list[str]:
    """Muscles that say nothing: one line each."""
    unmeasured = [name for name, row in summary["muscles"].items() if not row["measured"]]
    notes = [
        listing("muscles without a channel", unmeasured),
        listing("muscles that the rig cannot show", summary["muscles_left_out"]),
    ]
    return [note for note in notes if note]


def prediction_table(summary: dict[str, Any], action_units: tuple[int, ...]) -> Table:
    """How long each action unit is on, and its probability."""
    table = new_table("Action units")
    table.add_column("")
    table.add_column("name")
    for heading in ("on", "mean p", "peak p", "at [s]"):
        table.add_column(heading, justify="right")
    scores = summary["labels"]
    if scores is not None:
        table.add_column("labelled on", justify="right")
        table.add_column("F1", justify="right")
    for unit, row in zip(action_units, summary["action_units"].values(), strict=True):
        cells = [f"{row['share_on']:.0%}", f"{row['mean']:.2f}", f"{row['peak']:.2f}", f"{row['time_of_peak']:.2f}"]
        if scores is not None:
            score = next(score for score in scores["action_units"] if score["action_unit"] == unit)
            known = score["known_frames"]
            cells += [f"{score['positive_rate']:.0%}" if known else "", _two_digits(score["f1"])]
        table.add_row(column_name(unit), NAMES.get(unit, ""), *cells)
    return table


def recovery_table(demonstration: Demonstration) -> Table:
    """True against recovered force, muscle by muscle, and the medians."""
    table = new_table("Recovery of known muscle forces: peaks, correlation, relative error")
    table.add_column("muscle")
    for heading in ("side", "true peak", "recovered", "r", "error"):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    for row in demonstration.recoveries:
        name, side = split_identifier(row.identifier)
        scores = [("" if value is None else f"{value:.3f}") for value in (row.correlation, row.relative_error)]
        table.add_row(name, "" if side == "both" else side, f"{row.peak:.2f}", f"{row.recovered_peak:.2f}", *scores)
    table.add_section()
    medians = [f"{demonstration.median(what):.3f}" for what in ("correlation", "relative_error")]
    table.add_row("median of muscles that act", "", "", "", *medians, style="bold")
    return table


def rig_table(file: str, description: dict[str, Any]) -> Table:
    """What ``rig info`` says."""
    table = new_table(file, header=False)
    table.add_column("what", style="bold")
    table.add_column("value")
    muscles, coverage = description["muscles"], description["coverage"]
    x, y, z = description["extent_cm"]
    rows = {
        "vertices": f"{description['vertices']:,}",
        "faces": f"{description['faces']:,}",
        "shapes": f"{len(description['shapes'])}: {', '.join(description['shapes'])}",
        "identity modes": str(description["identity_modes"]),
        "extent": f"{x:.1f} x {y:.1f} x {z:.1f} cm",
        **{f"provenance: {key.replace('_', ' ')}": text for key, text in description["provenance"].items() if text},
        "muscles found": f"{len(muscles['found'])} of {muscles['of']}: {', '.join(_without_sides(muscles['found']))}",
        "muscles missing": "\n".join(
            f"{name} (lacks {', '.join(shapes)})" if shapes else f"{name} (no known shape)"
            for name, shapes in muscles["missing"].items()
        ),
    }
    if coverage is not None:
        rows["coverage"] = (
            f"{1 - coverage['uncovered']:.1%} of the vertices have a muscle, {coverage['muscles_per_vertex']:.1f} each"
        )
        rows["overlap"] = "\n".join(
            f"{pair['cosine']:.2f}  {' / '.join(pair['muscles'])}" for pair in description["overlap"]
        )
    if description["mass_condition"] is not None:
        rows["condition of the mass matrix"] = f"{description['mass_condition']:.3g}"
    rows["shapes that hardly move"] = ", ".join(description["dropped_shapes"])
    rows["doubts"] = "\n".join(description["doubts"])
    rows["problems"] = "\n".join(description["problems"])
    for what, value in rows.items():
        if value:
            table.add_row(what, value)
    return table


@contextmanager
def progress_bar(what: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, drawn on a terminal only; yields the function to call with (done, total)."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def printable(text: str) -> str:
    """A text whose characters all stand for themselves: those that move the cursor, colour or turn the line, and those
    that no encoding has, are written as Python writes them."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


class _Plain(Console):
    """A console that takes no text for markup, and lets no control character through."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def show(*tables: Table) -> None:
    """Print tables."""
    _Plain().print(*tables)


def say(*lines: object, flush: bool = False) -> None:
    """Print lines."""
    print(*(printable(str(line)) for line in lines), sep="\n", flush=flush)


def tell(kind: str, message: str) -> None:
    """One line on stderr, whatever the message holds."""
    print(printable(f"biomechau: {kind}: {' '.join(message.split())}"), file=sys.stderr)


def new_table(title: str, header: bool = True) -> Table:
    """An empty table in the style of all of them."""
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_header=header)


def _without_sides(identifiers: Iterable[str]) -> list[str]:
    """Readable names, both sides as one: ``"zygomaticus major (2)"``."""
    names = [split_identifier(identifier)[0] for identifier in identifiers]
    return [f"{name} (2)" if names.count(name) == 2 else name for name in dict.fromkeys(names)]


def _two_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def listing(what: str, names: Iterable[str]) -> str:
    """``what: a, b, c`` with the first few names; empty without any."""
    names = list(names)
    more = f" and {len(names) - NUM_NAMES} more" if len(names) > NUM_NAMES else ""
    return f"{what}: {', '.join(names[:NUM_NAMES])}{more}" if names else ""
