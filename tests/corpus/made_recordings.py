"""Recordings of one known motion, in the ways that programs and people write them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pytest
import torch

from biomechau.corpus import FaceSequence
from biomechau.rig.names import ARKIT_SHAPES, canonical

POSE = tuple(f"{part}{axis}" for part in ("Head", "LeftEye", "RightEye") for axis in ("Yaw", "Pitch", "Roll"))


def motion(time: float) -> dict[str, float]:
    """Coefficients at a time [s]: a smile on the left, a raised right brow, a jaw; the right smile stays 0.05."""
    values = dict.fromkeys(ARKIT_SHAPES, 0.0)
    values["mouthSmileLeft"] = 0.4 * (1 - math.cos(math.pi * time))
    values["mouthSmileRight"] = 0.05
    values["browOuterUpRight"] = 0.3 * (1 - math.cos(math.pi * time / 2))
    values["jawOpen"] = 0.2 * math.sin(math.pi * time / 3) ** 2
    return values


def pascal(name: str) -> str:
    """As Live Link Face spells it."""
    return name[0].upper() + name[1:]


def sided(name: str) -> str:
    """``mouthSmile_L``; ``jawLeft`` says where the jaw goes, and keeps its name."""
    for side in ("Left", "Right"):
        if name.endswith(side) and name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
            return f"{name.removesuffix(side)}_{side[0]}"
    return name


def write_recording(
    path: Path,
    count: int,
    fps: float,
    before: Mapping[str, Callable[[int], object]],
    *,
    names: Sequence[str] = ARKIT_SHAPES,
    spell: Callable[[str], str] = lambda name: name,
    after: Mapping[str, Callable[[int], object]] | None = None,
    lost: Iterable[int] = (),
    zeros: Iterable[int] = (),
    left_out: Iterable[int] = (),
    separator: str = ",",
    decimal: str = ".",
    encoding: str = "utf-8",
) -> Path:
    """A table: columns before, the blendshapes, columns after.

    Args:
        path: of the file.
        count: frames.
        fps: of the motion [1/s].
        before: columns before the blendshapes, by name; called with the number of the row.
        names: of the blendshapes that are written.
        spell: how they are spelled.
        after: columns after them.
        lost: rows with empty blendshapes.
        zeros: rows with blendshapes of 0.
        left_out: rows that are not written at all.
        separator: of the fields.
        decimal: before the fraction.
        encoding: of the text.
    """
    after, lost, zeros, left_out = after or {}, set(lost), set(zeros), set(left_out)
    lines = [[*before, *map(spell, names), *after]]
    for row in range(count):
        if row in left_out:
            continue
        values = motion(row / fps)
        shown = [
            "" if row in lost else "0.0" if row in zeros else f"{values[name]:.6f}".replace(".", decimal)
            for name in names
        ]
        around = [[str(tell(row)) for tell in columns.values()] for columns in (before, after)]
        lines.append([*around[0], *shown, *around[1]])
    text = "".join(separator.join(line) + "\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def timecode(rate: int, fraction: Callable[[int], str] = lambda row: "000", start: int = 0) -> Callable[[int], str]:
    """Timecodes of rows at ``rate`` a second; ``start`` seconds at row 0."""

    def tell(row: int) -> str:
        seconds, frame = divmod(row, rate)
        seconds += start
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frame:02}.{fraction(row)}"

    return tell


def check(sequence: FaceSequence, count: int, fps: float, tolerance: float = 2e-3) -> None:
    """The known motion at these frames, at a time that begins with the first."""
    assert (len(sequence), sequence.num_dropped, sequence.repeated) == (count, 0, ())
    assert sequence.fps == pytest.approx(fps, rel=2e-3)
    times = sequence.timestamp - sequence.timestamp[0]
    torch.testing.assert_close(times, torch.arange(count).double() / fps, atol=tolerance, rtol=0)
    keys = [canonical(name) for name in sequence.channels]
    for name in ("mouthSmileLeft", "mouthSmileRight", "browOuterUpRight", "jawOpen", "eyeBlinkLeft"):
        expected = torch.tensor([motion(n / fps)[name] for n in range(count)])
        torch.testing.assert_close(
            sequence.coefficients[:, keys.index(canonical(name))], expected, atol=2e-6, rtol=0, msg=name
        )


def seconds(fps: float, digits: int = 4) -> dict[str, Callable[[int], object]]:
    return {"timestamp": lambda row: f"{row / fps:.{digits}f}"}
