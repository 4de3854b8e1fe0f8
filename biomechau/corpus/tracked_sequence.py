"""Turns the values of a recording into a FaceSequence, and decides which frames are measurements of a face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.channel_names import listed
from biomechau.corpus.face_sequence import FaceSequence, find_dropped
from biomechau.file_errors import shorten

# A channel that varies by less than this in a whole recording does not follow the face.
_DEAD = 0.01
# With at least this many coefficients, a tracked face never has all of them exactly 0.
_FEWEST_ZEROS = 20
# A lone detection lasts at most the first time [s], between stretches without a face of at least the second [s].
_LONE, _LONG_GAP = 0.1, 0.5


@dataclass(frozen=True, eq=False)
class Tracked:
    """A recording as a reader found it.

    Attributes:
        name: of the recording.
        source: what was read, free text.
        channels: C names.
        values: (T, C), NaN where there is no value.
        timestamp: (T,) float64 [s].
        fps: nominal frame rate [1/s].
        place: returns where a frame was read, for messages.
        lost: (T,) bool, True in frames without a face; by default all False.
        confidence: (T,) of the detector, in [0, 1], NaN where it is missing.
        frame: (T,) int64 frame numbers, if frames are numbered.
        rows: (T,) int64 position of each frame in the recording.
        repeated: positions that were left out as repeats.
        pose: (T, H) angles.
        pose_channels: H names.
        notes: what the reader found.
        measured: whether a tracker measured the values; frames of zeros are then frames without a face.
        name_dead: whether channels that never move get a note.
    """

    name: str
    source: str
    channels: tuple[str, ...]
    values: NDArray[np.float64]
    timestamp: Tensor
    fps: float
    place: Callable[[int], str]
    lost: NDArray[np.bool_] | None = None
    confidence: NDArray[np.float64] | None = None
    frame: Tensor | None = None
    rows: NDArray[np.int64] | None = None
    repeated: tuple[int, ...] = ()
    pose: NDArray[np.float64] | None = None
    pose_channels: tuple[str, ...] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    measured: bool = True
    name_dead: bool = True


def tracked_sequence(tracked: Tracked) -> FaceSequence:
    """Convert the recording to a sequence.

    Frames are not valid if they have no values, only zeros, or are reported lost by the tracker. A face that appears
    briefly between long stretches without one is treated as a false detection. Channels without any value are left out.

    Raises:
        ValueError: a frame has some values only, or no frame has a face; the message names the place.
    """
    values, notes = tracked.values.astype(np.float32), list(tracked.notes)
    channels = np.array(tracked.channels, dtype=object)
    lost = np.zeros(len(values), np.bool_) if tracked.lost is None else tracked.lost
    empty = np.isnan(values).all(0)
    if empty.any() and not empty.all():
        notes.append(listed("channels without any value, left out", channels[empty].tolist()))
        values, channels = values[:, ~empty], channels[~empty]
    values[lost] = np.nan
    known = np.isfinite(values)
    for index in np.flatnonzero(known.any(1) & ~known.all(1))[:1]:
        name = channels[int(np.flatnonzero(~known[index])[0])]
        raise ValueError(
            f"{tracked.place(int(index))}: column {shorten(name)} has no value, but others of the row do: give it "
            "one, or none to the whole row where there is no face"
        )
    valid = np.asarray(known.all(1))
    zeros = valid & (values == 0).all(1)
    if zeros.any() and tracked.measured and len(channels) >= _FEWEST_ZEROS:
        valid = valid & ~zeros
        notes.append(f"frames of zeros, treated as frames without a face: {int(zeros.sum())}")
    if not valid.any():
        words = "no row has a face" + (": all of its values are 0" if zeros.any() else "")
        raise ValueError(words)
    lone = _lone_detections(tracked.timestamp.numpy(), valid, tracked.fps)
    if len(lone):
        where = ", ".join(f"{index} ({float(tracked.timestamp[index]):.2f} s)" for index in lone[:4])
        more = f" and {len(lone) - 4} more" if len(lone) > 4 else ""
        notes.append(f"brief detections between long stretches without a face, left out: frame {where}{more}")
        valid[lone] = False
    if tracked.name_dead:
        dead = channels[np.ptp(values[valid], 0) < _DEAD].tolist()
        notes += [listed(f"channels that never move by {_DEAD}", dead)] if dead else []
    confidence = tracked.confidence
    pose = np.empty((len(values), 0)) if tracked.pose is None else np.nan_to_num(tracked.pose)
    return FaceSequence(
        name=tracked.name,
        coefficients=torch.from_numpy(values),
        channels=tuple(channels.tolist()),
        timestamp=tracked.timestamp,
        valid=torch.from_numpy(valid),
        fps=tracked.fps,
        dropped=find_dropped(tracked.timestamp, tracked.fps),
        source=tracked.source,
        pose=torch.from_numpy(pose.astype(np.float32)),
        pose_channels=tracked.pose_channels,
        repeated=tracked.repeated,
        frame=tracked.frame,
        notes=tuple(notes),
        confidence=None if confidence is None else torch.from_numpy(np.nan_to_num(confidence).astype(np.float32)),
        lone=tuple(lone.tolist()),
        rows=None if tracked.rows is None else torch.from_numpy(tracked.rows),
        place=tracked.place,
    )


def _lone_detections(times: NDArray[np.float64], valid: NDArray[np.bool_], fps: float) -> NDArray[np.int64]:
    """Valid frames of short runs with long stretches without a face, or the end of the recording, on both sides."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], valid, [False]]).astype(np.int8)))
    first, last = edges[::2], edges[1::2] - 1
    short = times[last] - times[first] + 1 / fps <= max(_LONE, 1 / fps) + 1e-9
    if short.all():
        return np.empty(0, np.int64)
    gaps = times[first[1:]] - times[last[:-1]]
    alone = short & (np.append(np.inf, gaps) >= _LONG_GAP) & (np.append(gaps, np.inf) >= _LONG_GAP)
    runs = [np.arange(start, end + 1) for start, end in zip(first[alone], last[alone], strict=True)]
    return np.concatenate([np.empty(0, np.int64), *runs])
