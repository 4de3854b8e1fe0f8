"""Detection of tensors that are not finite."""

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
    # A finite sum has finite terms; one result for all of them, because it requires a synchronisation of the GPU.
    if bool(torch.stack([tensor.sum(dtype=torch.float64) for tensor in floating.values()]).isfinite().all()):
        return None
    return next((name for name, tensor in floating.items() if not bool(tensor.isfinite().all())), None)


def check_finite(source: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that all numbers are finite.

    Args:
        source: of the tensors, for the message, such as a file.
        tensors: by name.

    Raises:
        ValueError: a number is not finite; the message names the source, the tensor and the index.
    """
    if (name := not_finite(tensors)) is not None:
        tensor = tensors[name]
        index = tuple((~tensor.isfinite()).nonzero()[0].tolist())
        where = f" at {list(index)}" if index else ""
        raise ValueError(f"{source}: tensor {name} is not finite: {float(tensor[index])}{where}")
