"""Reader of NumPy ``.npz`` files: meshes or coefficients over time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.face_sequence import (
    LARGEST_COEFFICIENT,
    FaceSequence,
    UnknownFrameRate,
    check_frame_rate,
    check_timestamp,
    find_dropped,
)
from biomechau.corpus.frame_columns import LARGEST_FRAME
from biomechau.corpus.mesh_axes import SAME_AXES
from biomechau.corpus.mesh_fit import MeshFitter
from biomechau.corpus.npz_arrays import read_arrays
from biomechau.corpus.resampling import check_span
from biomechau.file_errors import naming, quote
from biomechau.rig import FaceRig
from biomechau.rig.names import ARKIT_SHAPES, canonical, index_by_name, shortened

_ARRAYS = ("vertices", "coefficients", "names", "timestamp", "fps", "frame", "valid")
_LONGEST_STEP = 1.0  # [s] between frames; more is no recording of motion, but milliseconds
_RATE_TOLERANCE = 0.1  # by which the file's rate and its times may differ


def read_npz(
    path: str | Path,
    rig: FaceRig | None = None,
    fps: float | None = None,
    rigid: bool = False,
    scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
    axes: str = SAME_AXES,
) -> FaceSequence:
    """Read one recording from an ``.npz`` file.

    It holds either ``vertices`` (T, N, 3), which are fitted with the shapes of the rig, or ``coefficients`` (T, K) and
    ``names`` (K strings). Beside them ``timestamp`` (T,) [s], or ``fps``, or both, or neither when ``fps`` is an
    argument. It may also hold ``frame`` (T,), rising whole numbers, which count the frames where only a rate is known,
    and ``valid`` (T,) bool, False where no face was found.

    Args:
        path: the file.
        rig: the face; needed for vertices. Names must be shapes of it, or ARKit's.
        fps: frame rate [1/s], in place of the file's own rate and times.
        rigid: fit the head's rigid motion too, and take it out (vertices only).
        scale: centimetres per unit of the vertices.
        progress: called with (frames done, frames in all).
        axes: which axes of the vertices are the rig's x, y and z, as ``x,z,-y``.

    Raises:
        ValueError: not an .npz file of plain arrays, an array that is missing or of another shape or dtype, unknown
            shape names, a value that is not finite or a coefficient beyond 10 (named by frame), a first mesh more than
            three times as large or as small as the rig, no frame rate, times or numbers that do not rise, times that
            are not in seconds, too far apart or at odds with the file's rate, arrays that ask for more than the file
            can hold; the message names the file.
        OSError: the file cannot be read.
    """
    arrays = read_arrays(path, _ARRAYS)
    notes, left_over = (), None
    with naming(path):
        if "vertices" in arrays:
            if rig is None:
                raise ValueError("a rig must be given to fit vertices")
            fitter = MeshFitter(rig, rigid, scale, axes)
            vertices = _float_tensor(arrays, "vertices", 3)
            timestamp, fps = _timing(arrays, len(vertices), fps)
            channels, coefficients = rig.names, fitter.fit(vertices, progress).float()
            content = f"vertices ({fitter.placement})"
            notes, left_over = fitter.notes(), fitter.left_over()
        else:
            channels, coefficients = _named_coefficients(arrays, rig)
            timestamp, fps = _timing(arrays, len(coefficients), fps)
            content = "coefficients"
        check_span(timestamp, fps)
        return FaceSequence(
            name=Path(path).stem,
            coefficients=coefficients,
            channels=channels,
            timestamp=timestamp,
            valid=_valid_frames(arrays, len(coefficients)),
            fps=fps,
            dropped=find_dropped(timestamp, fps),
            source=f"{content} of {Path(path).name}",
            frame=_frame_numbers(arrays, len(coefficients)),
            notes=notes,
            left_over=left_over,
        )


def _float_tensor(arrays: dict[str, NDArray[np.generic]], name: str, ndim: int) -> Tensor:
    array = arrays[name]
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be float32 or float64, got {array.dtype}")
    if array.ndim != ndim or not len(array):
        raise ValueError(f"{name} must have {ndim} axes and at least one frame, got shape {array.shape}")
    return torch.from_numpy(array)


def _named_coefficients(arrays: dict[str, NDArray[np.generic]], rig: FaceRig | None) -> tuple[tuple[str, ...], Tensor]:
    missing = [name for name in ("coefficients", "names") if name not in arrays]
    if missing:
        raise ValueError(f"missing array {', '.join(missing)}: expected vertices, or coefficients and names")
    if arrays["names"].dtype.kind != "U" or arrays["names"].ndim != 1:
        raise TypeError(f"names must be a vector of strings, got {arrays['names'].dtype} {arrays['names'].shape}")
    names = tuple(arrays["names"].tolist())
    index_by_name(names, "channel names")
    if rig is not None:
        arkit = {canonical(name) for name in ARKIT_SHAPES}
        unknown = [name for name in rig.map_channels(names).unused_channels if canonical(name) not in arkit]
        if unknown:
            raise ValueError(f"unknown shape {shortened(unknown)}: neither in the rig nor one of ARKit's")
    values = _float_tensor(arrays, "coefficients", 2)
    if values.shape[1] != len(names):
        raise ValueError(f"coefficients must have shape ({len(values)}, {len(names)}), got {tuple(values.shape)}")
    # Before float32, in which 1e39 would be infinite.
    outside = (_valid_frames(arrays, len(values))[:, None] & (values.abs() > LARGEST_COEFFICIENT)).nonzero()
    if len(outside):
        frame, channel = outside[0].tolist()
        raise ValueError(
            f"coefficient {quote(names[channel])} is {float(values[frame, channel]):g} in frame {frame}, expected a "
            f"number of at most {LARGEST_COEFFICIENT:g} in size"
        )
    return names, values.clamp(-LARGEST_COEFFICIENT, LARGEST_COEFFICIENT).float()


def _timing(arrays: dict[str, NDArray[np.generic]], num_frames: int, fps: float | None) -> tuple[Tensor, float]:
    """Time of each frame and the frame rate: the argument's, or else those of the file."""
    frame = _frame_numbers(arrays, num_frames)
    count = torch.arange(num_frames) if frame is None else frame - frame[0]
    if fps is not None:
        check_frame_rate(fps)
        return count.double() / fps, fps
    rate = _own_rate(arrays)
    if "timestamp" not in arrays:
        if rate is None:
            raise UnknownFrameRate("fps must be given (--recorded-fps): the file has neither fps nor timestamp")
        return count.double() / rate, rate
    timestamp = _float_tensor(arrays, "timestamp", 1).double()
    if len(timestamp) != num_frames:
        raise ValueError(f"timestamp must have shape ({num_frames},), got {tuple(timestamp.shape)}")
    check_timestamp(timestamp)
    if num_frames == 1:
        if rate is None:
            raise UnknownFrameRate("fps must be given (--recorded-fps): the time of a single frame does not tell it")
        return timestamp, rate
    step = float(timestamp.diff().median())
    if rate is None:
        if step > _LONGEST_STEP:
            raise ValueError(f"the usual step of timestamp is {step:g}: are the times in seconds?")
        check_frame_rate(1 / step)
        return timestamp, 1 / step
    if not abs(rate * step - 1) <= _RATE_TOLERANCE:
        raise ValueError(
            f"fps is {rate:g}, but the usual step of timestamp is {step:g} s, {1 / step:g} frames a second"
        )
    return timestamp, rate


def _own_rate(arrays: dict[str, NDArray[np.generic]]) -> float | None:
    """The file's ``fps``, if it has one."""
    if "fps" not in arrays:
        return None
    array = arrays["fps"]
    if array.shape != () or array.dtype.kind not in "iuf":
        raise TypeError(f"fps must be a single number, got {array.dtype} of shape {array.shape}")
    rate = float(array)
    check_frame_rate(rate)
    return rate


def _frame_numbers(arrays: dict[str, NDArray[np.generic]], num_frames: int) -> Tensor | None:
    """The file's ``frame``, if it has one."""
    if "frame" not in arrays:
        return None
    array = arrays["frame"]
    if array.dtype.kind not in "iu" or array.shape != (num_frames,):
        raise ValueError(f"frame must be whole numbers of shape ({num_frames},), got {array.dtype} {array.shape}")
    for index, number in enumerate(array.tolist()):
        if not 0 <= number <= LARGEST_FRAME:
            raise ValueError(f"frame number {number} at {index}, expected 0 to {LARGEST_FRAME:,}")
    return torch.from_numpy(array.astype(np.int64))


def _valid_frames(arrays: dict[str, NDArray[np.generic]], num_frames: int) -> Tensor:
    """The file's ``valid``; all frames if it has none."""
    if "valid" not in arrays:
        return torch.ones(num_frames, dtype=torch.bool)
    array = arrays["valid"]
    if array.dtype != np.bool_ or array.shape != (num_frames,):
        raise ValueError(f"valid must be bool of shape ({num_frames},), got {array.dtype} {array.shape}")
    return torch.from_numpy(array)
