"""The neutral face of a person in the coefficients of a tracker."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def neutral_coefficients(c: Tensor, percentile: float, valid: Tensor | None = None) -> Tensor:
    """A low percentile of each coefficient over time; subtracting it removes a tracker's constant errors.

    Compute it from everything recorded of a person: an expression may be held for a whole sequence, and for longer
    than a window.

    Args:
        c: coefficients, (..., T, K).
        percentile: 0 to 100, usually 5 to 10.
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
