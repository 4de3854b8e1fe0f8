"""CSV files of other programs, made row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

# As MediaPipe's model names them, in its order.
_NAMES = (
    "_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft "
    "cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight "
    "eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft "
    "eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft "
    "mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight "
    "mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft "
    "mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft "
    "noseSneerRight"
)
MEDIAPIPE_NAMES = _NAMES.split()


def blendshapes(frame: int, dead: Iterable[str] = ()) -> list[str]:
    """52 values of one frame that tell their column and frame: the n-th name is 0.01 n + 0.02 (frame mod 10)."""
    values = {name: 0.01 * n + 0.02 * (frame % 10) for n, name in enumerate(MEDIAPIPE_NAMES)}
    return [f"{0.0001 if name in dead else value:.6f}" for name, value in values.items()]


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], separator: str = ",") -> Path:
    lines = [separator.join(header), *(separator.join(map(str, row)) for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_mediapipe(path: Path, frames: Iterable[int], lost: Iterable[int] = (), dead: Iterable[str] = ()) -> Path:
    """Frame numbers, no times; rows of lost frames are empty."""
    lost = set(lost)
    rows = ([frame, *([""] * 52 if frame in lost else blendshapes(frame, dead))] for frame in frames)
    return write_table(path, ["frame", *MEDIAPIPE_NAMES], rows)
