"""Checks and factors of masses and matrices, for the twins and the modal system."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from biomechau import _core
from biomechau.ops import _check
from biomechau.ops.tracing import has_values

# The matrix that the implicit scheme solves with, as errors name it.
IMPLICIT_SYSTEM = "mass + dt damping + dt^2 stiffness"


def require(good: Tensor, error: Callable[[int], ValueError]) -> None:
    """Raises ``error`` of the first flat index that is not good; in a compiled graph the error names no index."""
    if torch.compiler.is_compiling():
        torch._assert_async(  # pyright: ignore[reportPrivateImportUsage]
            good.all(), "a mass or a matrix of biomechau is not what its op needs: run it uncompiled"
        )
    elif has_values(good) and not bool(good.all()):
        raise error(int((~good).flatten().nonzero()[0]))


def symmetric(name: str, matrix: Tensor, num_batch_axes: int) -> Tensor:
    """The symmetric part of (..., K, K), or ``ValueError`` naming the first matrix that is not symmetric or finite."""
    with torch.no_grad():
        gap = (matrix - matrix.mT).abs().flatten(-2).amax(-1)
        good = gap <= _core.symmetry_tolerance * matrix.abs().flatten(-2).amax(-1)  # False for NaN too
        good &= matrix.isfinite().flatten(-2).all(-1)
    require(good, lambda i: _check.not_symmetric(name, _check.place(i, tuple(good.shape), num_batch_axes)))
    return (matrix + matrix.mT) / 2


def cholesky(name: str, matrix: Tensor, num_batch_axes: int) -> Tensor:
    """Lower Cholesky factor of (..., K, K), or ``ValueError`` naming the first matrix that has none."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    with torch.no_grad():
        # A pivot this small against its diagonal entry is rounding: the matrix is singular in this precision.
        tolerance = matrix.shape[-1] * torch.finfo(matrix.dtype).eps
        pivots = factor.diagonal(dim1=-2, dim2=-1) ** 2
        good = (info == 0) & (pivots > tolerance * matrix.diagonal(dim1=-2, dim2=-1)).all(-1)
    require(good, lambda i: _check.not_positive_definite(name, _check.place(i, tuple(good.shape), num_batch_axes)))
    return factor
