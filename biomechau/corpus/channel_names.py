"""Finds the blendshapes among the columns of a recording, in any spelling."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from biomechau.file_errors import quote
from biomechau.rig.names import ARKIT_SHAPES, canonical, shortened

# MediaPipe's 52 outputs, in its order: _neutral, which is not a shape, and ARKit's shapes without the tongue.
NEUTRAL = "_neutral"
MEDIAPIPE_SHAPES = tuple(sorted(name for name in ARKIT_SHAPES if name != "tongueOut"))
POSE = tuple(f"{part}{axis}" for part in ("Head", "LeftEye", "RightEye") for axis in ("Yaw", "Pitch", "Roll"))
# A common prefix or suffix, as in blendShapes.JawOpen, is removed if at least this many names have it.
_FEWEST_WRAPPED = 3
_PLAIN = re.compile(r"[\W_]+")


class Channels(NamedTuple):
    """Where the blendshapes of a recording are.

    Attributes:
        shapes: position of each shape's column, by name.
        pose: position of the column of each head or eye angle, by name.
        others: names of all other columns, except ``_neutral`` and columns without a name.
    """

    shapes: dict[str, int]
    pose: dict[str, int]
    others: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """ARKit's shapes that the recording lacks. The tongue, which many writers omit, is named only with others."""
        found = {canonical(name) for name in self.shapes}
        found |= {key.rpartition("_")[0] for key in found if "_" in key}  # browInnerUp, if it has two sides
        missing = tuple(name for name in ARKIT_SHAPES if canonical(name) not in found)
        return () if missing == ("tongueOut",) else missing


def find_channels(names: Sequence[str], wanted: Iterable[str] = ()) -> Channels:
    """Find ARKit's blendshapes, the head and eye angles, and other wanted shapes by name.

    Names match by their canonical spelling (:func:`biomechau.rig.names.canonical`). A prefix or suffix that most names
    share is removed first. An ARKit shape without a side may also come as two halves: ``browInnerUp_L``.

    Args:
        names: of the columns.
        wanted: names of other shapes: those of a rig, or of a table of channels.

    Raises:
        ValueError: two columns are the same shape.
    """
    pose = {canonical(name) for name in POSE}
    known = {canonical(name) for name in (*ARKIT_SHAPES, *wanted)}
    known |= {f"{key}_{side}" for key in map(canonical, ARKIT_SHAPES) if "_" not in key for side in "lr"}
    found = Channels({}, {}, ())
    others = []
    spelled: dict[str, str] = {}
    unwrapped = _unwrap(names, known)
    for position, (name, shown) in enumerate(zip(names, unwrapped, strict=True)):
        key = canonical(shown)
        if key not in known and key not in pose:
            if name and name.lower() != NEUTRAL:
                others.append(name)
            continue
        if key in spelled:
            twins = "" if spelled[key] == name else f", also as {quote(spelled[key])}"
            raise ValueError(f"column {quote(name)} appears twice{twins}")
        spelled[key] = name
        (found.shapes if key in known else found.pose)[shown] = position
    return found._replace(others=tuple(others))


def listed(what: str, names: Sequence[str]) -> str:
    """``what: 2 (a, b)``."""
    return f"{what}: {len(names)} ({shortened(names, 8)})"


def _unwrap(names: Sequence[str], known: set[str]) -> list[str]:
    """The names without a shared prefix and suffix, if more names are known without these than with them."""
    direct = sum(canonical(name) in known for name in names)
    # mouthSmile_L is found as both mouthsmilel and mouthsmileleft.
    cores = {_plain(name): name for name in (*ARKIT_SHAPES, *POSE, *known)}
    search = re.compile("|".join(map(re.escape, sorted(cores, key=len, reverse=True))))
    wraps: Counter[tuple[str, str]] = Counter()
    inner: list[tuple[tuple[str, str], str] | None] = []
    for name in names:
        plain = _plain(name)
        match = search.search(plain) if cores else None
        if match is None or len(match[0]) == len(plain):
            inner.append(None)
            continue
        wrap = plain[: match.start()], plain[match.end() :]
        wraps[wrap] += 1
        inner.append((wrap, cores[match[0]]))
    usual, count = wraps.most_common(1)[0] if wraps else (("", ""), 0)
    if count < _FEWEST_WRAPPED or count <= direct:
        return list(names)
    return [name if core is None or core[0] != usual else core[1] for name, core in zip(names, inner, strict=True)]


def _plain(name: str) -> str:
    return _PLAIN.sub("", name).lower()
