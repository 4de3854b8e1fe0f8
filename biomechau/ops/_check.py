"""Checks of meaning, shared by the ops. Memory safety is checked again in the binding."""

from __future__ import annotations

import math
from collections import Counter
from numbers import Real

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
    given: list[tuple[str, Tensor]] = []
    for name, value in zip(names, tensors, strict=True):
        if isinstance(value, Tensor):
            given.append((name.rstrip("?"), value))
        elif value is not None or not name.endswith("?"):
            raise TypeError(f"{name.rstrip('?')} must be a torch.Tensor, got {type(value).__name__}")
    for name, value in given:
        if value.dtype not in FLOATS:
            raise TypeError(f"{name} must be float32 or float64, got {value.dtype}{_advice(value.dtype)}")
    if all(value.dtype == given[0][1].dtype and value.device == given[0][1].device for _, value in given):
        return
    # The one that differs from most others is at fault.
    dtype = Counter(value.dtype for _, value in given).most_common(1)[0][0]
    device = Counter(value.device for _, value in given).most_common(1)[0][0]
    for name, value in given:
        if value.dtype != dtype:
            other = next(name for name, value in given if value.dtype == dtype)
            raise TypeError(f"{name} must be {dtype} as {other} is, got {value.dtype}")
        if value.device != device:
            other = next(name for name, value in given if value.device == device)
            raise ValueError(f"{name} must be on {device} as {other} is, got {value.device}")


def _advice(dtype: torch.dtype) -> str:
    return "; convert it with .float()" if dtype in HALVES else ""


def positive_number(name: str, value: float) -> None:
    """A number above 0 and finite, of Python or numpy; a tensor would silently lose its gradient."""
    if isinstance(value, bool) or not isinstance(value, Real):
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
