"""A self-contained page: tables, details and replays inserted into the templates of ``page/``."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt

from biomechau.reports._face_scene import FaceScene
from biomechau.reports._render import INSIDE, overlay_colours
from biomechau.reports.curves import BAND
from biomechau.reports.replay import Replay
from biomechau.rig.action_unit_names import NAMES, column_name
from biomechau.rig.muscles import split_identifier
from biomechau.training.metrics import THRESHOLD

_PAGE = files("biomechau.reports") / "page"
# The balance of left and right is shown only above this share of their highest sum: below, it would be noise.
_AT_REST = 0.05
_INT16 = 32767
_CLASS = ' class="words"'
# Number of columns from which a table is set narrower, with a first column that stays visible when scrolling.
_WIDE = 10


@dataclass(frozen=True)
class Shown:
    """A replay with notes.

    Attributes:
        replay: of the sequence.
        note: next to its name, such as why it was chosen.
        unit_notes: for each action unit, such as its F1; empty for none.
    """

    replay: Replay
    note: str = ""
    unit_notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """A cell with a bar.

    Attributes:
        text: of the cell.
        share: length of the bar in [0, 1].
    """

    text: str
    share: float


@dataclass(frozen=True)
class Link:
    """A cell that leads to another page.

    Attributes:
        text: what it says.
        address: relative, as a URL.
    """

    text: str
    address: str


def page(title: str, subtitle: Sequence[str], sections: Iterable[str], shown: Sequence[Shown] = ()) -> str:
    """The page of a report, which asks for nothing else.

    Args:
        title: heading.
        subtitle: lines beneath it.
        sections: HTML of this module's functions, in order.
        shown: sequences to play back, of one or several faces.

    Raises:
        ImportError: matplotlib is not installed.
    """
    player = read_player("player.html") if shown else ""
    script = read_part("face.js") + read_part("report.js") if shown else ""
    return assembled(title, subtitle, player, sections, _data(shown) if shown else {}, script)


def assembled(
    title: str,
    subtitle: Sequence[str],
    player: str,
    sections: Iterable[str],
    data: Mapping[str, Any],
    script: str,
    policy: str = "",
) -> str:
    """A page of its parts.

    Args:
        title: heading.
        subtitle: lines beneath it.
        player: HTML of what moves.
        sections: HTML of the others.
        data: for the script.
        script: JavaScript.
        policy: what the page may do beyond its own styles and scripts, as a content security policy.
    """
    return Template(read_part("report.html")).substitute(
        title=escape(title),
        subtitle="\n".join(f"<p>{escape(line)}</p>" for line in subtitle if line),
        style=read_part("report.css"),
        policy=policy,
        player=player,
        sections="\n".join(sections),
        version=escape(version("biomechau")),
        # The only character that could end the script element.
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        script=script,
    )


def table(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str | Cell | Link]],
    notes: Sequence[str] = (),
    total: bool = False,
    words: int = 1,
) -> str:
    """A section with a table.

    Args:
        title: heading.
        headings: of the columns.
        rows: cells of each row.
        notes: lines beneath.
        total: whether the last row summarises the others.
        words: number of columns on the left that contain text, not numbers.
    """
    rows = list(rows)
    head = "".join(
        f'<th scope="col"{_CLASS if column < words else ""}>{escape(heading)}</th>'
        for column, heading in enumerate(headings)
    )
    body = "\n".join(
        ('<tr class="total">' if total and index == len(rows) - 1 else "<tr>")
        + "".join(_cell(cell, column < words) for column, cell in enumerate(row))
        + "</tr>"
        for index, row in enumerate(rows)
    )
    wide = " wide" if len(headings) >= _WIDE else ""
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    beneath = f'<ul class="notes">{listed}</ul>' if listed else ""
    return (
        f'<section><h2>{escape(title)}</h2><div class="scroll{wide}"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>{beneath}</section>"
    )


def details(title: str, values: Mapping[str, Any], opened: bool = False) -> str:
    """A collapsible section of nested names and values."""
    return (
        f"<section><details{' open' if opened else ''}><summary>{escape(title)}</summary>{_described(values)}"
        "</details></section>"
    )


def pack(array: npt.ArrayLike) -> dict[str, Any]:
    """An array for ``unpack`` in ``report.js``: base64 of deflated little-endian bytes."""
    array = np.ascontiguousarray(array)
    little = array.astype(array.dtype.newbyteorder("<"))
    data = base64.b64encode(zlib.compress(little.tobytes(), 9)).decode()
    return {"type": f"{array.dtype.kind}{array.dtype.itemsize}", "data": data}


def _quantised(array: npt.NDArray[np.floating]) -> dict[str, Any]:
    """As :func:`pack`, rounded to 1 / 32,767 of the largest magnitude."""
    factor = float(np.abs(array).max(initial=0.0)) / _INT16 or 1.0
    return {**pack(np.round(array / factor).astype(np.int16)), "factor": factor}


def read_part(name: str) -> str:
    """A file of ``page/``."""
    return (_PAGE / name).read_text(encoding="utf-8")


def read_player(name: str) -> str:
    """A file of ``page/`` that shows a face."""
    return Template(read_part(name)).substitute(face=read_part("face.html"))


def _cell(cell: str | Cell | Link, words: bool) -> str:
    if isinstance(cell, Link):
        return f'<td class="words"><a href="{escape(cell.address)}">{escape(cell.text)}</a></td>'
    if isinstance(cell, Cell):
        return f'<td><meter min="0" max="1" value="{cell.share:.4f}"></meter>{escape(cell.text)}</td>'
    return f"<td{_CLASS if words else ''}>{escape(cell)}</td>"


def _described(value: Any) -> str:
    """A JSON value as HTML."""
    if isinstance(value, Mapping):
        pairs = (f"<dt>{escape(str(name).replace('_', ' '))}</dt><dd>{_described(v)}</dd>" for name, v in value.items())
        return f"<dl>{''.join(pairs)}</dl>"
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, (Mapping, list, tuple)) for item in value):
            return "".join(_described(item) for item in value)
        return escape(", ".join(map(_scalar, value))) or "none"
    return escape(_scalar(value))


def _scalar(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _data(shown: Sequence[Shown]) -> dict[str, Any]:
    scenes: list[FaceScene] = []
    sequences = []
    for one in shown:
        scene = one.replay.scene
        same = (i for i, other in enumerate(scenes) if _equal(scene, other))
        number = next(same, len(scenes))
        if number == len(scenes):
            scenes.append(scene)
        sequences.append({"scene": number, **_sequence(one)})
    return {
        **colour_data(),
        "scenes": [scene_data(scene) for scene in scenes],
        "sequences": sequences,
    }


def colour_data() -> dict[str, Any]:
    """The colours of forces, and of what is inside the face."""
    ramp = (255 * overlay_colours(np.linspace(0.0, 1.0, 256))).round().astype(np.uint8)
    return {"ramp": pack(ramp), "inside": list(INSIDE)}


def _equal(a: FaceScene, b: FaceScene) -> bool:
    theirs = b.tensors()
    return all(t.shape == theirs[name].shape and bool((t == theirs[name]).all()) for name, t in a.tensors().items())


def scene_data(scene: FaceScene) -> dict[str, Any]:
    """A face, for ``Face.setScene`` in ``face.js``."""
    integers = {name: pack(getattr(scene, name).numpy().astype(np.uint32)) for name in ("faces", "backing")}
    quantised = {name: _quantised(getattr(scene, name).numpy()) for name in ("blendshapes", "fields")}
    return {"neutral": pack(scene.neutral.numpy()), **integers, **quantised}


def _sequence(shown: Shown) -> dict[str, Any]:
    replay = shown.replay
    values: dict[str, Any] = {
        "name": replay.name,
        "note": shown.note,
        "vertex_force_unit": replay.vertex_force_unit,
        "force_unit": replay.force_unit,
        "residual_of": replay.residual_of,
        "peak": replay.peak_vertex_force(),
        "start": _expressive(replay),
        "timestamp": pack(replay.timestamp.double().numpy()),
        "valid": pack(replay.valid.numpy().astype(np.uint8)),
        "coefficients": pack(replay.coefficients.float().numpy()),
        "action_units": [
            {
                "number": column_name(unit),
                "name": NAMES.get(unit, ""),
                "note": note,
                "paired": unit in replay.paired_units,
                "threshold": threshold,
            }
            for unit, note, threshold in zip(
                replay.action_units,
                shown.unit_notes or ("",) * len(replay.action_units),
                replay.thresholds or (THRESHOLD,) * len(replay.action_units),
                strict=True,
            )
        ],
    }
    if replay.quality is not None:
        values["quality"] = pack(replay.quality.float().numpy())
    if replay.probabilities is not None:
        values["probabilities"] = pack(replay.probabilities.float().numpy())
    if replay.side_probabilities is not None:
        values["side_probabilities"] = pack(replay.side_probabilities.float().numpy())
    if replay.labels is not None:
        values["labels"] = pack(replay.labels.numpy().astype(np.int8))
    if replay.motion is not None and replay.residual is not None:
        values |= {"motion": pack(replay.motion.float().numpy()), "residual": pack(replay.residual.float().numpy())}
    return values | _muscles(replay)


def _muscles(replay: Replay) -> dict[str, Any]:
    """Forces, strongest muscles first, and their balance between the sides."""
    curves = replay.curves()
    if curves is None or replay.forces is None:
        return {}
    ratio = replay.ratio_of_sums()
    bands: dict[str, Any] = {}
    highest = curves.strength
    if curves.deviation is not None:
        half = BAND * curves.deviation
        bands, highest = {"bands": pack(half.astype(np.float32))}, highest + half
    return {
        **bands,
        "forces": pack(replay.forces.float().numpy()),
        "strength": pack(curves.strength.astype(np.float32)),
        "tops": highest[curves.valid].max(0, initial=0.0).tolist(),
        "muscles": [
            {
                "name": name,
                "detail": "not determined" if curves.is_undetermined(sides) else "",
                "sides": sides,
                "ratio_of_sums": ratio.get(name.replace(" ", "_")),
            }
            for name, sides in curves.strongest(len(curves.identifiers))
        ],
        "balance": pack(_balance(curves.strength, curves.identifiers).astype(np.float32)),
    }


def _balance(strength: npt.NDArray[np.floating], identifiers: Sequence[str]) -> npt.NDArray[np.floating]:
    """(L - R) / (L + R) of all paired muscles at each frame (T,), infinite if they are at rest."""
    sides = [split_identifier(identifier)[1] for identifier in identifiers]
    left, right = (strength[:, [side == which for side in sides]].sum(1) for which in ("left", "right"))
    total = left + right
    pulling = total > _AT_REST * total.max(initial=0.0)
    return np.divide(left - right, total, out=np.full(len(total), np.inf), where=pulling)


def _expressive(replay: Replay) -> int:
    """The valid frame with the largest forces or, without physics, the most probable action units."""
    shown = replay.strength if replay.strength is not None else replay.probabilities
    if shown is None or not replay.valid.any():
        return 0
    return int(np.where(replay.valid.numpy(), np.asarray(shown).sum(1), -np.inf).argmax())
