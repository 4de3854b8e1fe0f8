"""Weights that are not finite: found by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor with a number that is not finite, or None; all on one device."""
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not floating:
        return None
    # A sum that is finite has finite terms; one answer for all of them, because a GPU is waited for to have it.
    if bool(torch.stack([tensor.sum(dtype=torch.float64) for tensor in floating.values()]).isfinite().all()):
        return None
    return next((name for name, tensor in floating.items() if not bool(tensor.isfinite().all())), None)


def check_finite(place: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Make sure that all numbers are finite.

    Args:
        place: that the tensors are from, or for, as the message names it.
        tensors: by name.

    Raises:
        ValueError: a number is not finite; the message names the place, the tensor and the index.
    """
    if (name := not_finite(tensors)) is not None:
        tensor = tensors[name]
        index = tuple((~tensor.isfinite()).nonzero()[0].tolist())
        where = f" at {list(index)}" if index else ""
        raise ValueError(f"{place}: tensor {name} is not finite: {float(tensor[index])}{where}")
