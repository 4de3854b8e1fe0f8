"""Reader of NumPy ``.npz`` files: meshes or coefficients over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.blendshape_table import channel_notes, no_shapes
from biomechau.corpus.channel_names import find_channels
from biomechau.corpus.face_sequence import (
    COEFFICIENT_SCALE,
    LARGEST_COEFFICIENT,
    FaceSequence,
    UnknownFrameRate,
    check_frame_rate,
    check_timestamp,
    find_dropped,
)
from biomechau.corpus.frame_columns import LARGEST_FRAME, LONGEST_STEP
from biomechau.corpus.mesh_axes import SAME_AXES
from biomechau.corpus.mesh_fit import MeshFitter
from biomechau.corpus.npz_arrays import read_arrays
from biomechau.corpus.resampling import check_span
from biomechau.corpus.tracked_sequence import Tracked, tracked_sequence
from biomechau.file_errors import naming, quote
from biomechau.rig import FaceRig

_ARRAYS = ("vertices", "coefficients", "names", "timestamp", "fps", "frame", "valid", "confidence")
_RATE_TOLERANCE = 0.1  # by which the file's rate and its times may differ


def read_npz(
    path: str | Path,
    rig: FaceRig | None = None,
    fps: float | None = None,
    rigid: bool = False,
    scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
    count_rows: bool = False,
    wanted: Iterable[str] = (),
    axes: str = SAME_AXES,
) -> FaceSequence:
    """Read one recording from an ``.npz`` file.

    It has either ``vertices`` (T, N, 3), which are fitted with the shapes of the rig, or ``coefficients`` (T, K) and
    ``names`` (K strings), of which unknown names are left out. It also has ``timestamp`` (T,) [s], ``fps``, or both;
    neither is needed if ``fps`` is an argument. Optional arrays are ``frame`` (T,), increasing whole numbers of the
    frames, used if only a rate is known; ``valid`` (T,) bool, False where no face was found; and ``confidence`` (T,) in
    [0, 1]. A frame of NaN, or of at least 20 coefficients that are all 0, has no face either.

    Args:
        path: the file.
        rig: the face; needed for vertices.
        fps: frame rate [1/s], instead of the file's own rate and times.
        rigid: fit the rigid motion of the head too, and remove it (vertices only).
        scale: centimetres per unit of the vertices.
        progress: called with (frames done, total frames).
        count_rows: treat frames as evenly spaced at ``fps``, and ignore the file's times and numbers.
        wanted: names of shapes other than ARKit's to look for.
        axes: which axes of the vertices are the rig's x, y and z, such as ``x,z,-y``.

    Raises:
        ValueError: not an .npz file of plain arrays, an array that is missing or has the wrong shape or dtype, no known
            shape name, a frame with some values only, no frame with a face, a coefficient above 10 (named by frame), a
            first mesh more than three times larger or smaller than the rig, no frame rate, times or numbers that do not
            increase, a typical step of half a second or more, times too far apart or inconsistent with the file's rate,
            or arrays larger than the file can hold; the message names the file.
        OSError: the file cannot be read.
    """
    arrays = read_arrays(path, _ARRAYS)
    with naming(path):
        if "vertices" not in arrays:
            return _named_sequence(
                Path(path), arrays, (*wanted, *(rig.names if rig is not None else ())), fps, count_rows
            )
        if rig is None:
            raise ValueError("a rig must be given to fit vertices")
        fitter = MeshFitter(rig, rigid, scale, axes)
        vertices = _float_tensor(arrays, "vertices", 3)
        timestamp, fps = _timing(arrays, len(vertices), fps, count_rows)
        check_span(timestamp, fps)
        coefficients = fitter.fit(vertices, progress).float()
        return FaceSequence(
            name=Path(path).stem,
            coefficients=coefficients,
            channels=rig.names,
            timestamp=timestamp,
            valid=_valid_frames(arrays, len(vertices)),
            fps=fps,
            dropped=find_dropped(timestamp, fps),
            source=f"vertices ({fitter.placement}) of {Path(path).name}",
            frame=_frame_numbers(arrays, len(vertices)),
            place=_place(path),
            notes=fitter.notes(),
            left_over=fitter.left_over(),
        )


def _named_sequence(
    path: Path, arrays: dict[str, NDArray[np.generic]], wanted: Sequence[str], fps: float | None, count_rows: bool
) -> FaceSequence:
    names, values = _named_coefficients(arrays)
    channels = find_channels(names, wanted)
    if not channels.shapes:
        raise ValueError(no_shapes(names))
    timestamp, fps = _timing(arrays, len(values), fps, count_rows)
    check_span(timestamp, fps)
    valid = _valid_frames(arrays, len(values)).numpy()
    values = values[:, list(channels.shapes.values())]
    _check_sizes(values, valid, list(channels.shapes))
    with np.errstate(invalid="ignore"):  # numpy warns of a signalling NaN, which is a missing value too
        values = values.astype(np.float64)
    confidence = _float_tensor(arrays, "confidence", 1).double().numpy() if "confidence" in arrays else None
    if confidence is not None and (len(confidence) != len(values) or not ((confidence >= 0) & (confidence <= 1)).all()):
        raise ValueError(f"confidence must be in [0, 1] and of shape ({len(values)},), got shape {confidence.shape}")
    return tracked_sequence(
        Tracked(
            name=path.stem,
            source=f"coefficients of {path.name}",
            channels=tuple(channels.shapes),
            values=values,
            timestamp=timestamp,
            fps=fps,
            place=_place(path),
            lost=~valid,
            confidence=confidence,
            frame=None if count_rows else _frame_numbers(arrays, len(values)),
            notes=channel_notes(channels, channels.others, name_missing=not wanted),
            name_dead=False,
        )
    )


def _place(path: str | Path) -> Callable[[int], str]:
    return lambda index: f"{path}: frame {index}"


def _float_tensor(arrays: dict[str, NDArray[np.generic]], name: str, ndim: int) -> Tensor:
    array = arrays[name]
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be float32 or float64, got {array.dtype}")
    if array.ndim != ndim or not len(array):
        raise ValueError(f"{name} must have {ndim} axes and at least one frame, got shape {array.shape}")
    return torch.from_numpy(array)


def _named_coefficients(
    arrays: dict[str, NDArray[np.generic]],
) -> tuple[tuple[str, ...], NDArray[np.floating]]:
    missing = [name for name in ("coefficients", "names") if name not in arrays]
    if missing:
        raise ValueError(f"missing array {', '.join(missing)}: expected vertices, or coefficients and names")
    if arrays["names"].dtype.kind not in "US" or arrays["names"].ndim != 1:
        raise TypeError(f"names must be a vector of strings, got {arrays['names'].dtype} {arrays['names'].shape}")
    names = tuple(
        name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in arrays["names"].tolist()
    )
    values = _float_tensor(arrays, "coefficients", 2).numpy()
    if values.shape[1] != len(names):
        raise ValueError(f"coefficients must have shape ({len(values)}, {len(names)}), got {values.shape}")
    return names, values


def _check_sizes(values: NDArray[np.floating], valid: NDArray[np.bool_], names: Sequence[str]) -> None:
    # Checked before the conversion to float32, in which 1e39 would be infinite.
    outside = np.argwhere(valid[:, None] & ~np.isnan(values) & ~(np.abs(values) <= LARGEST_COEFFICIENT))
    if len(outside):
        frame, channel = outside[0].tolist()
        raise ValueError(
            f"coefficient {quote(names[channel])} is {float(values[frame, channel]):g} in frame {frame}, expected a "
            f"number of at most {LARGEST_COEFFICIENT:g} in size; {COEFFICIENT_SCALE}"
        )
    values[~valid] = np.nan


def _timing(
    arrays: dict[str, NDArray[np.generic]], num_frames: int, fps: float | None, count_rows: bool
) -> tuple[Tensor, float]:
    """Time of each frame and the frame rate: those of the arguments if given, else those of the file."""
    if count_rows and fps is None:
        raise ValueError("count_rows (--count-rows) needs fps (--recorded-fps), the frame rate of the rows")
    frame = None if count_rows else _frame_numbers(arrays, num_frames)
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
            raise UnknownFrameRate("fps must be given (--recorded-fps): it cannot be found from a single frame")
        return timestamp, rate
    step = float(timestamp.diff().median())
    if rate is None:
        if step >= LONGEST_STEP:
            raise ValueError(
                f"the typical step of timestamp is {step:g}: are the times in seconds? If its frames are at an even "
                "rate F, give --count-rows --recorded-fps F"
            )
        check_frame_rate(1 / step)
        return timestamp, 1 / step
    if not abs(rate * step - 1) <= _RATE_TOLERANCE:
        raise ValueError(
            f"fps is {rate:g}, but the typical step of timestamp is {step:g} s, {1 / step:g} frames per second"
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
