"""Checks of meaning, shared by the ops. Memory safety is checked again in the binding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from biomechau import _core
from biomechau.ops.autocast import HALVES
from biomechau.ops.tracing import is_compiling

FLOATS = (torch.float32, torch.float64)
# Euler's methods: explicit, semi_implicit, implicit.
SCHEMES = _core.schemes


def tensor(name: str, value: object) -> None:
    """A torch tensor; numpy arrays have other methods of the same names, and no device."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")


def same_kind(names: tuple[str, ...], *tensors: Tensor | None) -> None:
    """All tensors are float32 or all float64, on one device; with a ? at the end of its name one may be None."""
    if not is_compiling() and _core.same_kind(names, *tensors):
        return
    first = dtype = device = None
    for place, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            if tensor is None and names[place].endswith("?"):
                continue
            raise TypeError(f"{names[place].rstrip('?')} must be a torch.Tensor, got {type(tensor).__name__}")
        if dtype is None:
            first, dtype, device = place, tensor.dtype, tensor.device
            if dtype not in FLOATS:
                raise TypeError(f"{names[place].rstrip('?')} must be float32 or float64, got {dtype}{_advice(dtype)}")
        elif tensor.dtype != dtype or tensor.device != device:
            name, first_name = names[place].rstrip("?"), names[first or 0].rstrip("?")
            if tensor.dtype != dtype:
                advice = _advice(tensor.dtype)
                raise TypeError(f"{name} must be {dtype} as {first_name} is, got {tensor.dtype}{advice}")
            raise ValueError(f"{name} must be on {device} as {first_name} is, got {tensor.device}")


def _advice(dtype: torch.dtype) -> str:
    return "; convert it with .float()" if dtype in HALVES else ""


def positive_number(name: str, value: float) -> None:
    """A Python number above 0 and finite; a tensor would silently lose its gradient."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a Python number, got {type(value).__name__}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number, got {value}")


def scheme(name: str) -> None:
    """One of SCHEMES."""
    if name not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {name!r}")


def wrong_shape(name: str, tensor: Tensor, expected: str) -> ValueError:
    """A tensor of another shape than expected."""
    return ValueError(f"{name} must have shape {expected}, got {tuple(tensor.shape)}")


def place(index: int, axes: tuple[int, ...], num_batch_axes: int) -> str:
    """How an error names entry ``index`` of a flattened (*batch,) or (*batch, T) array: its sequence and frame."""
    coordinates = []
    for size in reversed(axes):
        coordinates.insert(0, index % size)
        index //= size
    sequence, frame = coordinates[:num_batch_axes], coordinates[num_batch_axes:]
    where = ""
    if sequence:
        where += f" of sequence {sequence[0] if len(sequence) == 1 else tuple(sequence)}"
    if frame:
        where += f"{',' if sequence else ' of'} frame {frame[0]}"
    return where


def not_positive_definite(name: str, where: str) -> ValueError:
    """A matrix that has no Cholesky factor in the precision of the call."""
    return ValueError(f"{name}{where} must be symmetric positive definite, but it is singular or indefinite")


def not_symmetric(name: str, where: str) -> ValueError:
    """A matrix that differs from its transpose, or holds NaN or infinity."""
    return ValueError(f"{name}{where} must be symmetric and finite")


def bad_mass(mass: Tensor, index: int) -> ValueError:
    """Vertex masses (..., N) with a negative or non-finite one at a flat index."""
    vertex = index % mass.shape[-1]
    where = place(index // mass.shape[-1], tuple(mass.shape[:-1]), mass.ndim - 1)
    value = float(mass.flatten()[index])
    return ValueError(f"mass{where} must be finite and not negative, got {value} at vertex {vertex}")
