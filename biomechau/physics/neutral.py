"""The neutral face of a person, as a tracker sees it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def neutral_coefficients(c: Tensor, percentile: float, valid: Tensor | None = None) -> Tensor:
    """A low percentile of each coefficient over time, which removes a tracker's constant errors when subtracted.

    Only for all that there is of a person: a person may hold an expression for a whole sequence, and longer than a
    window.

    Args:
        c: coefficients, (..., T, K).
        percentile: 0 to 100; 5 to 10 is usual.
        valid: (..., T) bool, frames that count; all if not given.

    Returns:
        (..., K).

    Raises:
        ValueError: a percentile out of range, or no valid frame.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile must lie in [0, 100], got {percentile}")
    recorded = c.detach().cpu()
    if valid is not None:
        recorded = recorded.masked_fill(~valid.cpu()[..., None], math.nan)
    if not c.shape[-2] or (valid is not None and not bool(valid.any(-1).all())):
        raise ValueError("a neutral face needs at least one valid frame")
    neutral = np.nanpercentile(recorded.numpy(), percentile, axis=-2)
    return torch.as_tensor(neutral, dtype=c.dtype, device=c.device)
