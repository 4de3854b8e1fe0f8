"""Aligns the coefficients of a recording with the labelled frames of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from biomechau.corpus.datasets.findings import frame_ranges
from biomechau.corpus.face_sequence import FaceSequence

Offset = int | Literal["first"] | None
# Number of frames by which a recording without frame numbers may be longer than the labels, since decoders differ in
# the last frame or two.
_TOLERANCE = 2


@dataclass(frozen=True, eq=False)
class Aligned:
    """Coefficients of the labelled frames.

    Attributes:
        coefficients: (T, C) float32, interpolated in frames that are not valid.
        valid: (T,) bool, True where the recording has a face in this frame.
        notes: what does not match, in words.
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
    """Assign to each labelled frame the coefficients that were recorded in it, never those of another frame.

    A recording with frame numbers is matched by number: its frame n is frame n + ``offset`` of the labels. The default
    offset is 0, or 1 if the labels count from 1 and the recording has a frame 0. A recording without numbers is
    resampled to the labels' frame rate by its times, and begins at frame ``offset`` of the labels, by default the first
    one. Labelled frames that the recording lacks are not valid. It is an error if the default may be wrong.

    Args:
        recording: the coefficients.
        frame: (T,) numbers of the labelled frames, without gaps.
        fps: frame rate of the labels [1/s].
        offset: see above; with ``"first"`` the recording begins at the first labelled frame.
        first_frame: number of the first frame of a video in the labels, if known.

    Raises:
        ValueError: no labelled frame has coefficients, or the default offset may be wrong; the message says which
            option to give.
    """
    notes = []
    if recording.frame is None:
        recording = recording.resample(fps)
        number = np.arange(len(recording)) + (frame[0] if offset in (None, "first") else offset)
        if offset is None and len(recording) > len(frame) + _TOLERANCE:
            raise ValueError(
                f"the recording has {len(recording)} frames without numbers, the labels have {len(frame)}: give the "
                "number of its first frame in the labels (--frame-offset)"
            )
    else:
        number = recording.frame.numpy()
        if offset == "first":
            number = number - number[0] + frame[0]
        elif offset is not None:
            number = number + offset
        elif first_frame == 1 and number[0] == 0:
            number = number + 1
            notes.append("the recording counts its frames from 0, the labels from 1: shifted by one")
        elif number[0] in (0, 1) and frame[0] > number[0] and number[-1] < frame[-1]:
            raise ValueError(
                f"the recording has frames {number[0]} to {number[-1]}, the labels {frame[0]} to {frame[-1]}: give "
                "--frame-offset first if it begins at the first labelled frame, else the number to add to its own, or 0"
            )
    # Row of each labelled frame, -1 if there is none.
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
