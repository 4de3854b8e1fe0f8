"""Reader of NumPy ``.npz`` files: meshes or coefficients over time."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.face_sequence import FaceSequence, check_frame_rate, find_dropped
from biomechau.rig import FaceRig
from biomechau.rig.names import ARKIT_SHAPES, canonical

_ARRAYS = ("vertices", "coefficients", "names", "timestamp", "fps")


def read_npz(
    path: str | Path,
    rig: FaceRig | None = None,
    fps: float | None = None,
    rigid: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FaceSequence:
    """Read one recording from an ``.npz`` file.

    It holds either ``vertices`` (T, N, 3) [cm], which are fitted with the shapes of the rig, or ``coefficients`` (T, K)
    and ``names`` (K strings). Beside them ``timestamp`` (T,) [s], or ``fps``, or neither when ``fps`` is an argument.

    Args:
        path: the file.
        rig: the face; needed for vertices. Names must be shapes of it, or ARKit's.
        fps: frame rate [1/s], instead of the file's own.
        rigid: fit the head's rigid motion too, and take it out (vertices only).
        progress: called with (frames done, frames in all).

    Raises:
        ValueError: not an .npz file of plain arrays, an array that is missing or of another shape or dtype, unknown
            shape names, a value that is not finite (named by frame), no frame rate; the message names the file.
        OSError: the file cannot be read.
    """
    arrays = _load_arrays(path)
    try:
        if "vertices" in arrays:
            if rig is None:
                raise ValueError("a rig must be given to fit vertices")
            channels = rig.names
            coefficients = rig.fit(_float_tensor(arrays, "vertices", 3), rigid=rigid, progress=progress).float()
        else:
            channels, coefficients = _named_coefficients(arrays, rig)
        timestamp, fps = _timing(arrays, len(coefficients), fps)
        return FaceSequence(
            name=Path(path).stem,
            coefficients=coefficients,
            channels=channels,
            timestamp=timestamp,
            valid=torch.ones(len(coefficients), dtype=torch.bool),
            fps=fps,
            dropped=find_dropped(timestamp, fps),
            source=f"{'vertices' if 'vertices' in arrays else 'coefficients'} of {Path(path).name}",
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _load_arrays(path: str | Path) -> dict[str, NDArray[np.generic]]:
    with open(path, "rb") as stream:
        try:
            with np.load(stream, allow_pickle=False) as file:
                return {name: file[name] for name in _ARRAYS if name in file}
        except (ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: not a complete .npz file of plain arrays: {error}") from error


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
    if rig is not None:
        arkit = {canonical(name) for name in ARKIT_SHAPES}
        unknown = [name for name in rig.map_channels(names).unused_channels if canonical(name) not in arkit]
        if unknown:
            raise ValueError(f"unknown shape {', '.join(unknown)}: neither in the rig nor one of ARKit's")
    return names, _float_tensor(arrays, "coefficients", 2).float()


def _timing(arrays: dict[str, NDArray[np.generic]], num_frames: int, fps: float | None) -> tuple[Tensor, float]:
    """Time of each frame and the frame rate, from the argument, the file's rate, or the usual step of its times."""
    if fps is None and "fps" in arrays:
        fps = float(arrays["fps"])
    if fps is not None:
        check_frame_rate(fps)
    if "timestamp" in arrays:
        timestamp = _float_tensor(arrays, "timestamp", 1).double()
        step = float(timestamp.diff().median()) if num_frames > 1 else math.nan
        fps = 1 / step if fps is None and step > 0 else fps
    else:
        timestamp = torch.arange(num_frames, dtype=torch.float64) / (fps or math.nan)
    if fps is None:
        raise ValueError("fps must be given: the file has neither fps nor a rising timestamp")
    return timestamp, fps
