"""The compressed-sparse-row matrix that the force ops read."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from biomechau.ops import _check

if TYPE_CHECKING:
    from typing_extensions import Self


class Transpose(NamedTuple):
    """Column-wise view of a CSR matrix: what the kernels gather by muscle.

    Attributes:
        crow: (M + 1,) int64, start of each column's entries.
        row: (nnz,) int64, row of each entry, ascending within a column.
        order: (nnz,) int64, position of each entry in the row-wise arrays.
    """

    crow: Tensor
    row: Tensor
    order: Tensor


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """A real (N, M) matrix in compressed-sparse-row form.

    Attributes:
        crow: (N + 1,) int64, start of each row's entries.
        col: (nnz,) int64, column of each entry, strictly ascending within a row.
        val: (nnz,) float32 or float64; may require grad.
        shape: (N, M).
        row: (nnz,) int64, row of each entry; made from ``crow``.
        transpose: the same index by column; made once and kept with the matrix.

    Raises:
        TypeError: an index is not an int64 tensor, or ``val`` is not float32 or float64.
        ValueError: the arrays do not describe a matrix of that shape, or are on different devices.
    """

    crow: Tensor
    col: Tensor
    val: Tensor
    shape: tuple[int, int]
    row: Tensor = field(init=False, repr=False)
    transpose: Transpose = field(init=False, repr=False)

    def __post_init__(self) -> None:
        num_rows, num_cols = self.shape
        for name in ("crow", "col"):
            index = getattr(self, name)
            if not isinstance(index, Tensor):
                raise TypeError(f"{name} must be a torch.Tensor, got {type(index).__name__}")
            if index.dtype != torch.int64:
                raise TypeError(f"{name} must be int64, got {index.dtype}")
        self._check_values(self.val)
        if self.crow.device != self.col.device:
            raise ValueError(f"crow must be on {self.col.device} as col is, got {self.crow.device}")
        if self.crow.shape != (num_rows + 1,):
            raise ValueError(f"crow must have shape ({num_rows + 1},), got {tuple(self.crow.shape)}")
        nnz = self.col.numel()
        if int(self.crow[0]) != 0 or int(self.crow[-1]) != nnz or bool((self.crow.diff() < 0).any()):
            raise ValueError(f"crow must rise from 0 to {nnz}, the number of entries")
        if nnz and (int(self.col.min()) < 0 or int(self.col.max()) >= num_cols):
            raise ValueError(f"col must lie in [0, {num_cols}), got {int(self.col.min())} to {int(self.col.max())}")
        # object.__setattr__: the two derived fields of a frozen class.
        row = torch.repeat_interleave(torch.arange(num_rows, device=self.crow.device), self.crow.diff())
        object.__setattr__(self, "row", row)
        object.__setattr__(self, "transpose", _transpose(row, self.col, num_cols))
        flat = self.row * num_cols + self.col
        if bool((flat.diff() <= 0).any()):
            raise ValueError("col must ascend strictly within each row")

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return self.col.numel()

    def _check_values(self, val: Tensor) -> None:
        """``val`` fits the index."""
        _check.same_kind(val=val)
        if self.col.ndim != 1 or val.shape != self.col.shape:
            raise ValueError(
                f"col and val must be vectors of one length, got {tuple(self.col.shape)} and {tuple(val.shape)}"
            )
        if val.device != self.col.device:
            raise ValueError(f"val must be on {self.col.device} as col is, got {val.device}")

    def with_values(self, val: Tensor) -> Self:
        """The same pattern with other values (nnz,), without looking at the index again."""
        self._check_values(val)
        new = copy.copy(self)
        object.__setattr__(new, "val", val)
        return new

    def to(self, *args: object, **kwargs: object) -> Self:
        """A copy on another device or of another float dtype; takes what ``Tensor.to`` takes."""
        val = self.val.to(*args, **kwargs)  # pyright: ignore[reportCallIssue, reportArgumentType]
        new = copy.copy(self)
        for name in ("crow", "col", "row"):
            object.__setattr__(new, name, getattr(self, name).to(val.device))
        object.__setattr__(new, "transpose", Transpose(*(index.to(val.device) for index in self.transpose)))
        return new.with_values(val)

    def to_sparse_csr(self) -> Tensor:
        """The matrix as a ``torch.sparse_csr_tensor``."""
        return torch.sparse_csr_tensor(self.crow, self.col, self.val, self.shape, check_invariants=True)

    def dense(self) -> Tensor:
        """The matrix as an ordinary (N, M) tensor; differentiable in ``val``."""
        out = self.val.new_zeros(self.shape)
        return out.index_put((self.row, self.col), self.val)

    @staticmethod
    def from_dense(matrix: Tensor) -> SparseMatrix:
        """The non-zero entries of an (N, M) tensor."""
        if matrix.ndim != 2:
            raise _check.wrong_shape("matrix", matrix, "(N, M)")
        row, col = matrix.nonzero(as_tuple=True)
        crow = torch.zeros(matrix.shape[0] + 1, dtype=torch.int64, device=matrix.device)
        crow[1:] = torch.bincount(row, minlength=matrix.shape[0]).cumsum(0)
        return SparseMatrix(crow, col, matrix[row, col], (matrix.shape[0], matrix.shape[1]))


def _transpose(row: Tensor, col: Tensor, num_cols: int) -> Transpose:
    order = torch.argsort(col, stable=True)
    crow = torch.zeros(num_cols + 1, dtype=torch.int64, device=col.device)
    crow[1:] = torch.bincount(col, minlength=num_cols).cumsum(0)
    return Transpose(crow, row[order], order)
