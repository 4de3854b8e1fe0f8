"""The compressed-sparse-row matrix that the force ops read."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from torch import Tensor

from biomechau.ops import _check
from biomechau.ops._records import Constants
from biomechau.ops.tracing import not_compiled, plain_shape, require_values, version

if TYPE_CHECKING:
    from typing_extensions import Self


# Where no values can be read, as in a graph.
_ADVICE = "make it before; with_values takes other values, and to another device"


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


class DistributionIndex(NamedTuple):
    """The index of P as arguments of an op: by vertex, then by muscle."""

    crow: Tensor
    col: Tensor
    muscle_crow: Tensor
    muscle_row: Tensor
    muscle_entry: Tensor
    num_muscles: int

    @classmethod
    def of(cls, distribution: SparseMatrix) -> DistributionIndex:
        """The index of a matrix."""
        return cls(distribution.crow, distribution.col, *distribution.transpose, distribution.shape[1])


class GraphIndex(NamedTuple):
    """The index of a symmetric matrix as arguments of an op, with its neighbourhood order, if that is known."""

    crow: Tensor
    col: Tensor
    order: Tensor | None


@dataclass(frozen=True, eq=False, repr=False)
class SparseMatrix:
    """A real (N, M) matrix in compressed-sparse-row form.

    Attributes:
        crow: (N + 1,) int64, start of each row's entries.
        col: (nnz,) int64, column of each entry, strictly ascending within a row.
        val: (nnz,) float32 or float64; may require grad.
        shape: (N, M).
        row: (nnz,) int64, row of each entry; derived from ``crow``.
        transpose: the same index by column; derived once and kept with the matrix.
        index: both, as the force ops take them.
        graph: the index as the convolution takes it.

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
    index: Constants = field(init=False, repr=False)
    graph: Constants = field(init=False, repr=False)
    _symmetry: tuple[int, bool] | None = field(init=False, repr=False, default=None)

    @not_compiled(f"the index of a sparse matrix is checked: {_ADVICE}")
    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 0:
            raise ValueError(f"shape must be (N, M), got {tuple(self.shape)}")
        num_rows, num_cols = self.shape
        for name in ("crow", "col"):
            index = getattr(self, name)
            _check.tensor(name, index)
            if index.dtype != torch.int64:
                raise TypeError(f"{name} must be int64, got {index.dtype}")
        self._check_values(self.val)
        if self.crow.device != self.col.device:
            raise ValueError(f"crow must be on {self.col.device} as col is, got {self.crow.device}")
        require_values("the making of a sparse matrix", _ADVICE, self.crow, self.col)
        if self.crow.shape != (num_rows + 1,):
            raise ValueError(f"crow must have shape ({num_rows + 1},), got {tuple(self.crow.shape)}")
        nnz = self.col.numel()
        if int(self.crow[0]) != 0 or int(self.crow[-1]) != nnz or bool((self.crow.diff() < 0).any()):
            raise ValueError(f"crow must rise from 0 to {nnz}, the number of entries")
        if nnz and (int(self.col.min()) < 0 or int(self.col.max()) >= num_cols):
            raise ValueError(f"col must lie in [0, {num_cols}), got {int(self.col.min())} to {int(self.col.max())}")
        # object.__setattr__: these are derived fields of a frozen class.
        row = torch.repeat_interleave(torch.arange(num_rows, device=self.crow.device), self.crow.diff())
        object.__setattr__(self, "row", row)
        object.__setattr__(self, "transpose", _transpose(row, self.col, num_cols))
        flat = self.row * num_cols + self.col
        if bool((flat.diff() <= 0).any()):
            raise ValueError("col must ascend strictly within each row")
        object.__setattr__(self, "index", Constants(DistributionIndex.of(self)))
        object.__setattr__(self, "graph", Constants(GraphIndex(self.crow, self.col, None)))

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return self.col.numel()

    @property
    def is_symmetric(self) -> bool:
        """Whether the matrix equals its transpose; checked once, and again after its values were changed."""
        state = version(self.val)
        if self._symmetry is None or self._symmetry[0] != state:
            other = self.transpose
            same = self.shape[0] == self.shape[1] and torch.equal(other.crow, self.crow)
            same = same and torch.equal(other.row, self.col) and torch.equal(self.val[other.order], self.val)
            object.__setattr__(self, "_symmetry", (state, same))
            return same
        return self._symmetry[1]

    def neighbourhood_order(self, compute: bool = True) -> Tensor | None:
        """The vertices of a graph with this symmetric pattern, ordered so that neighbours are close to each other.

        Breadth first from a vertex at the rim, component after component; computed once and kept with the matrix.

        Args:
            compute: compute it if there is none yet.

        Returns:
            A permutation (N,) int64, or None if there is none yet.
        """
        if self.graph.fields[2] is None and compute:
            with torch.inference_mode(False):  # it is kept, also for calls with a gradient
                order = _breadth_first(self.crow, self.col)
            object.__setattr__(self, "graph", Constants(GraphIndex(self.crow, self.col, order)))
        return self.graph.fields[2]

    def _check_values(self, val: Tensor) -> None:
        """``val`` fits the index."""
        _check.same_kind(("val",), val)
        if self.col.ndim != 1 or plain_shape(val) != plain_shape(self.col):
            raise ValueError(
                f"col and val must be vectors of one length, got {tuple(self.col.shape)} and {tuple(val.shape)}"
            )
        if val.device != self.col.device:
            raise ValueError(f"val must be on {self.col.device} as col is, got {val.device}")

    def _copy(self) -> Self:
        """A copy that shares the index, which is not checked again."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        return new

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        # A matrix from a file passes the checks of a new one; torch.load with weights_only takes it.
        return type(self), tuple(getattr(self, field.name) for field in fields(self) if field.init)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"{type(self).__name__}({size}, {self.nnz} entries, {str(self.val.dtype)[6:]}, {self.val.device})"

    def with_values(self, val: Tensor) -> Self:
        """The same pattern with other values (nnz,), without checking the index again."""
        self._check_values(val)
        new = self._copy()
        object.__setattr__(new, "val", val)
        object.__setattr__(new, "_symmetry", None)
        return new

    def to(self, *args: object, **kwargs: object) -> Self:
        """A copy on another device or of another float dtype; takes what ``Tensor.to`` takes."""
        val = self.val.to(*args, **kwargs)  # pyright: ignore[reportCallIssue, reportArgumentType]
        new = self._copy()
        if val.device != self.val.device:
            for name in ("crow", "col", "row"):
                object.__setattr__(new, name, getattr(self, name).to(val.device))
            object.__setattr__(new, "transpose", Transpose(*(index.to(val.device) for index in self.transpose)))
            object.__setattr__(new, "index", Constants(DistributionIndex.of(new)))
            object.__setattr__(new, "graph", Constants(GraphIndex(new.crow, new.col, None)))
        return new.with_values(val)

    def to_sparse_csr(self) -> Tensor:
        """The matrix as a ``torch.sparse_csr_tensor``."""
        return torch.sparse_csr_tensor(self.crow, self.col, self.val, self.shape, check_invariants=True)

    def dense(self) -> Tensor:
        """The matrix as an ordinary (N, M) tensor; differentiable in ``val``."""
        out = self.val.new_zeros(self.shape)
        return out.index_put((self.row, self.col), self.val)

    @staticmethod
    @not_compiled(f"the entries of a sparse matrix are found by their values: {_ADVICE}")
    def from_dense(matrix: Tensor) -> SparseMatrix:
        """The non-zero entries of an (N, M) tensor."""
        _check.tensor("matrix", matrix)
        require_values("the making of a sparse matrix", _ADVICE, matrix)
        if matrix.ndim != 2:
            raise _check.wrong_shape("matrix", matrix, "(N, M)")
        row, col = matrix.nonzero(as_tuple=True)
        crow = torch.zeros(matrix.shape[0] + 1, dtype=torch.int64, device=matrix.device)
        crow[1:] = torch.bincount(row, minlength=matrix.shape[0]).cumsum(0)
        return SparseMatrix(crow, col, matrix[row, col], (matrix.shape[0], matrix.shape[1]))


torch.serialization.add_safe_globals([SparseMatrix])


def _transpose(row: Tensor, col: Tensor, num_cols: int) -> Transpose:
    order = torch.argsort(col, stable=True)
    crow = torch.zeros(num_cols + 1, dtype=torch.int64, device=col.device)
    crow[1:] = torch.bincount(col, minlength=num_cols).cumsum(0)
    return Transpose(crow, row[order], order)


# Vertices that the kernels process together.
_RUN = 32


def _breadth_first(crow: Tensor, col: Tensor) -> Tensor:
    num_rows = len(crow) - 1
    index = col.cpu().numpy(), crow.cpu().numpy()
    graph = csr_array((np.ones(len(col)), *index), shape=(num_rows, num_rows))
    num_components, component = connected_components(graph, directed=False)
    first = np.unique(component, return_index=True)[1]
    orders = []
    for start in first:
        # The last vertex reached is the farthest; repeating the search from there ends at the rim.
        for _ in range(3):
            reached = breadth_first_order(graph, start, directed=False, return_predecessors=False)
            start = reached[-1]
        orders.append(breadth_first_order(graph, start, directed=False, return_predecessors=False))
    order = np.concatenate(orders) if num_components else np.empty(0, np.int64)
    # Within a short run by the number of neighbours, so that the kernels' loops over them are of equal lengths.
    order = order[np.lexsort((np.diff(index[1])[order], np.arange(num_rows) // _RUN))]
    return torch.from_numpy(order.astype(np.int64)).to(col.device)
