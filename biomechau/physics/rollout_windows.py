"""Windows in which a motion is decoded, each of which starts where the previous one ends."""

from __future__ import annotations

import torch
from torch import Tensor


def rollout_windows(num_frames: int, length: int) -> Tensor:
    """Frames of windows that together decode every frame except the first, which is given.

    The first frame of a window is the last one of the previous window; the last window starts earlier if frames are
    left over.

    Args:
        num_frames: T, at least 2.
        length: frames of a window, at least 2; T if T is less.

    Returns:
        (W, length) int64.

    Raises:
        ValueError: fewer than 2 frames.
    """
    if num_frames < 2 or length < 2:
        raise ValueError(f"expected at least 2 frames in windows of at least 2, got {num_frames} and {length}")
    length = min(length, num_frames)
    starts = torch.arange(0, num_frames - 1, length - 1).clamp(max=num_frames - length)
    return starts[:, None] + torch.arange(length)
