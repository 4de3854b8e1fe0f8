"""FaceSequence: the coefficients of one recording over time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.resampling import check_span, even_grid, interpolate, is_supported, nearest_frames
from biomechau.file_errors import shorten
from biomechau.rig.left_over import LeftOver

# Interpolating across more than this would invent motion: syllables and blinks last 0.1 to 0.4 s.
MAX_GAP = 0.1
# Of frames [1/s]: one in 100 seconds, and what the fastest cameras record.
_LOWEST_RATE, _HIGHEST_RATE = 0.01, 10_000.0
# Far above what any face does: 35 is a percentage.
LARGEST_COEFFICIENT = 10.0
COEFFICIENT_SCALE = "blendshapes go from 0 to 1: divide percent by 100"


class UnknownFrameRate(ValueError):
    """A recording does not contain its frame rate, and none was given."""


@dataclass(frozen=True, eq=False)
class FaceSequence:
    """Blendshape coefficients of one face over time.

    Attributes:
        name: short name of the recording.
        coefficients: (T, C) float32, about 0 to 1.
        channels: C channel names, in the spelling of the source.
        timestamp: (T,) float64, time of each frame [s], strictly increasing.
        valid: (T,) bool, False where the coefficients are not a measurement.
        fps: nominal frame rate [1/s].
        dropped: gaps of the recording as (frame before the gap, number of missing frames). Frames count from 0 in the
            recording as it was read, also after :meth:`resample`.
        source: what was read, free text.
        pose: (T, H) float32, head and eye angles [rad], apart from the blendshapes; H may be 0.
        pose_channels: H names.
        repeated: positions of recorded frames that were left out because they have the time of the frame before.
        frame: (T,) int64, the recording's own frame numbers, increasing; None if it has none, and after
            :meth:`resample`.
        notes: what the reader found that the user should know, in words.
        confidence: (T,) float32 in [0, 1], confidence of the face detector, 0 where it found no face; None if the
            recording does not contain it.
        lone: frames marked invalid because a face appears only briefly between long stretches without one.
        rows: (T,) int64, position of each frame in the recording, counting from 0 and including the frames that were
            left out; None if none were, and after :meth:`resample`.
        place: returns where a frame was read, for messages.
        original: the sequence before it was resampled, None if it was not.
        left_over: what the fit to recorded meshes leaves unexplained, with a distance for each frame of the recording
            as it was read; None if the recording is not a sequence of meshes.

    Raises:
        TypeError: a tensor has the wrong dtype.
        ValueError: shapes do not match, there are no frames, times or frame numbers do not increase, or a valid frame
            is not finite.
    """

    name: str
    coefficients: Tensor
    channels: tuple[str, ...]
    timestamp: Tensor
    valid: Tensor
    fps: float
    dropped: tuple[tuple[int, int], ...] = ()
    source: str = ""
    pose: Tensor = field(default_factory=lambda: torch.empty(0))
    pose_channels: tuple[str, ...] = ()
    repeated: tuple[int, ...] = ()
    frame: Tensor | None = None
    notes: tuple[str, ...] = ()
    confidence: Tensor | None = None
    lone: tuple[int, ...] = ()
    rows: Tensor | None = None
    place: Callable[[int], str] = "frame {}".format
    original: FaceSequence | None = None
    left_over: LeftOver | None = None

    def __post_init__(self) -> None:
        if self.pose.shape == (0,):
            object.__setattr__(self, "pose", self.coefficients.new_empty((len(self.coefficients), 0)))
        num_frames = len(self.coefficients)
        if num_frames == 0:
            raise ValueError("a sequence must have at least one frame")
        for name, dtype, shape in (
            ("coefficients", torch.float32, (num_frames, len(self.channels))),
            ("timestamp", torch.float64, (num_frames,)),
            ("valid", torch.bool, (num_frames,)),
            ("pose", torch.float32, (num_frames, len(self.pose_channels))),
            ("frame", torch.int64, (num_frames,)),
            ("confidence", torch.float32, (num_frames,)),
            ("rows", torch.int64, (num_frames,)),
        ):
            tensor = getattr(self, name)
            if name in ("frame", "confidence", "rows") and tensor is None:
                continue
            if tensor.dtype != dtype:
                raise TypeError(f"{name} must be {dtype}, got {tensor.dtype}")
            if tensor.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
        check_timestamp(self.timestamp)
        check_frame_rate(self.fps)
        if self.frame is not None and not (self.frame.diff() > 0).all():
            raise ValueError(f"frame does not increase after frame {int((self.frame.diff() <= 0).nonzero()[0])}")
        broken = (~torch.isfinite(self.coefficients) & self.valid[:, None]).nonzero()
        if len(broken):
            frame, channel = broken[0].tolist()
            raise ValueError(f"coefficient {shorten(self.channels[channel])} is not finite in frame {frame}")

    def __len__(self) -> int:
        return len(self.timestamp)

    @property
    def num_dropped(self) -> int:
        """Number of frames missing from the recording."""
        return sum(count for _, count in self.dropped)

    @property
    def recorded(self) -> FaceSequence:
        """The sequence as it was read, before it was resampled."""
        return self if self.original is None else self.original

    @property
    def num_faceless(self) -> int:
        """Number of recorded frames in which no face was found, without lone detections."""
        recorded = self.recorded
        return int((~recorded.valid).sum()) - len(recorded.lone)

    @property
    def recorded_frame(self) -> Tensor:
        """(T,) int64, the recording's own number of each frame, or its position if frames are not numbered; -1 where no
        recorded frame is near."""
        recorded = self.recorded
        numbers = recorded.rows if recorded.frame is None else recorded.frame
        if numbers is None:
            numbers = torch.arange(len(recorded))
        if self.original is None:
            return numbers
        nearest, near = nearest_frames(recorded.timestamp, self.timestamp, 0.5 / recorded.fps + 1e-9)
        return torch.where(near, numbers[nearest], -1)

    def resample(self, fps: float, max_gap: float = MAX_GAP) -> FaceSequence:
        """Resample the sequence to an even grid, frame n at n / fps seconds after the first.

        Values are interpolated between the valid frames. If ``fps`` is lower than the sequence's own rate, they are
        low-pass filtered first (:func:`biomechau.corpus.resampling.interpolate`). A new frame is valid if it lies
        between two valid frames at most ``max_gap`` apart, or within half a recorded frame of one.

        Args:
            fps: new frame rate [1/s].
            max_gap: longest time between two frames to interpolate across [s].

        Raises:
            ValueError: ``fps`` or ``max_gap`` is not positive, no frame is valid, or times are too far apart
                (:func:`biomechau.corpus.resampling.check_span`).
        """
        check_frame_rate(fps)
        if not max_gap > 0:
            raise ValueError(f"max_gap must be positive, got {max_gap}")
        if not self.valid.any():
            raise ValueError(f"{self.name} has no valid frame to resample")
        check_span(self.timestamp, fps, self.place)
        grid = even_grid(self.timestamp, fps)
        known = self.timestamp[self.valid].numpy()

        def onto_grid(values: Tensor) -> Tensor:
            return torch.from_numpy(interpolate(known, values[self.valid].numpy(), self.fps, grid, fps))

        return replace(
            self,
            coefficients=onto_grid(self.coefficients),
            timestamp=torch.from_numpy(grid),
            valid=torch.from_numpy(is_supported(known, self.fps, grid, max_gap)),
            fps=float(fps),
            pose=onto_grid(self.pose),
            frame=None,
            confidence=self._confidence_at(grid),
            lone=(),
            rows=None,
            original=self.recorded,
        )

    def _confidence_at(self, grid: NDArray[np.float64]) -> Tensor | None:
        if self.confidence is None:
            return None
        return torch.from_numpy(np.interp(grid, self.timestamp.numpy(), self.confidence.numpy()).astype(np.float32))


def check_frame_rate(fps: float) -> None:
    """Raise ``ValueError`` unless ``fps`` is a plausible frame rate of a camera."""
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be positive, got {fps}")
    if not _LOWEST_RATE <= fps <= _HIGHEST_RATE:
        raise ValueError(f"fps must lie in [{_LOWEST_RATE:g}, {_HIGHEST_RATE:g}], got {fps:g}")


def check_timestamp(timestamp: Tensor) -> None:
    """Raise ``ValueError`` unless the times (T,) are finite and strictly increasing; the message names the frame."""
    if not torch.isfinite(timestamp).all():
        raise ValueError(f"timestamp is not finite in frame {int((~torch.isfinite(timestamp)).nonzero()[0])}")
    if not (timestamp.diff() > 0).all():
        raise ValueError(f"timestamp does not increase after frame {int((timestamp.diff() <= 0).nonzero()[0])}")


def find_dropped(timestamp: Tensor, fps: float) -> tuple[tuple[int, int], ...]:
    """Gaps between recorded frames: (frame before, number of missing frames), from times (T,) [s] and the rate."""
    missing = (timestamp.diff() * fps).round().long() - 1
    return tuple((int(frame), int(missing[frame])) for frame in (missing > 0).nonzero()[:, 0])
