"""Safetensors files, opened so that every error names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from biomechau.file_errors import naming, reason, regular_file


@contextmanager
def open_tensors(path: str | Path) -> Iterator[Any]:
    """An open safetensors file, memory-mapped; see ``safetensors.safe_open``.

    Raises:
        ValueError: not a complete safetensors file, or what the block raises as ValueError; the message names the file.
        OSError: the file cannot be read.
    """
    regular_file(path)
    with naming(path):
        try:
            with safe_open(path, framework="pt") as file:
                yield file
        except (SafetensorError, AttributeError) as error:  # dtypes that this version of torch lacks are attributes
            raise ValueError(f"{path}: not a complete safetensors file: {reason(error)}") from error


def check_finite(tensors: dict[str, Tensor]) -> None:
    """Raise ``ValueError`` unless all floating-point tensors are finite; the message names the tensor and the place."""
    for name, tensor in tensors.items():
        # A float64 sum of numbers this small is finite exactly if all of them are; only then is each one looked at.
        if not tensor.dtype.is_floating_point or torch.isfinite(tensor.sum(dtype=torch.float64)):
            continue
        broken = (~torch.isfinite(tensor)).nonzero()
        if len(broken):
            place = broken[0].tolist()
            raise ValueError(f"tensor {name} is not finite at {place}: {float(tensor[tuple(place)])}")
