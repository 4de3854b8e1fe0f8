"""Coefficients of a recording onto the labelled frames of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from biomechau.corpus.datasets.findings import frame_ranges
from biomechau.corpus.face_sequence import FaceSequence

Offset = int | Literal["first"] | None
# Frames by which a recording without frame numbers may outlast the labels: decoders differ in the last frame or two.
_TOLERANCE = 2


@dataclass(frozen=True, eq=False)
class Aligned:
    """Coefficients of the labelled frames.

    Attributes:
        coefficients: (T, C) float32, filled between the valid frames where they are not valid.
        valid: (T,) bool, True where the recording has a face in this frame.
        notes: what does not fit, in words.
    """

    coefficients: NDArray[np.float32]
    valid: NDArray[np.bool_]
    notes: tuple[str, ...]


def align(
    recording: FaceSequence,
    frame: NDArray[np.int64],
    fps: float,
    offset: Offset = None,
    first_frame: int | None = None,
) -> Aligned:
    """Give each labelled frame the coefficients that were recorded in it; no frame takes those of another.

    A recording that numbers its frames is matched by number: its frame n is the labels' frame n + ``offset``, and the
    default offset is 0; 1 where the labels count from 1 and the recording has a frame 0. A recording that does not is
    put onto the labels' frame rate by its times, and begins at the labels' frame ``offset``, by default the first one.
    Labelled frames that the recording lacks are not valid. Where the default may be wrong, it is refused.

    Args:
        recording: the coefficients.
        frame: (T,) numbers of the labelled frames, without gaps.
        fps: frame rate of the labels [1/s].
        offset: see above; ``"first"`` lets the recording begin at the first labelled frame.
        first_frame: number that the labels give to the first frame of a video, where that is known.

    Raises:
        ValueError: no labelled frame has coefficients, or the default offset may be wrong; the message says what to
            give.
    """
    notes = []
    if recording.frame is None:
        recording = recording.resample(fps)
        number = np.arange(len(recording)) + (frame[0] if offset in (None, "first") else offset)
        if offset is None and len(recording) > len(frame) + _TOLERANCE:
            raise ValueError(
                f"the recording lasts {len(recording)} frames, the labels {len(frame)}, and it does not number its "
                "frames: give the labels' number of its first frame (--frame-offset)"
            )
    else:
        number = recording.frame.numpy()
        if offset == "first":
            number = number - number[0] + frame[0]
        elif offset is not None:
            number = number + offset
        elif first_frame == 1 and number[0] == 0:
            number = number + 1
            notes.append("the recording counts its frames from 0, the labels from 1: matched so")
        elif number[0] in (0, 1) and frame[0] > number[0] and number[-1] < frame[-1]:
            raise ValueError(
                f"the recording has frames {number[0]} to {number[-1]}, the labels {frame[0]} to {frame[-1]}: give "
                "--frame-offset first if it begins at the first labelled frame, else the number to add to its own, or 0"
            )
    # Row of each labelled frame, -1 where there is none.
    row = np.full(len(frame), -1)
    inside = (number >= frame[0]) & (number <= frame[-1])
    row[number[inside] - frame[0]] = np.flatnonzero(inside)
    lacking = row < 0
    valid = ~lacking & recording.valid.numpy()[row]
    if not valid.any():
        raise ValueError(
            f"no labelled frame has coefficients: labels {frame[0]} to {frame[-1]}, recording "
            f"{number[0]} to {number[-1]}" + (", none of them with a face" if not lacking.all() else "")
        )
    outside = int((~inside).sum())
    for missing, words in ((lacking, "not in the recording"), (~valid & ~lacking, "without a face")):
        if missing.any():
            notes.append(f"labelled frames {words}, masked: {missing.sum()} ({frame_ranges(frame[missing])})")
    if outside:
        notes.append(f"recorded frames without a label, left out: {outside}")
    values = recording.coefficients.numpy()[row]
    where = np.flatnonzero(valid)
    filled = np.stack([np.interp(np.arange(len(frame)), where, channel[where]) for channel in values.T], 1)
    return Aligned(filled.astype(np.float32), valid, tuple(notes))
