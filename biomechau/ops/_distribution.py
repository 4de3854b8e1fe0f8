"""How the force ops take a sparse matrix apart, and put it together for the kernels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from biomechau import _core
from biomechau.ops import _check
from biomechau.ops._backend import buffer
from biomechau.ops.sparse import SparseMatrix

# The index of P in an op's schema: by vertex, then by muscle.
SCHEMA = "Tensor crow, Tensor col, Tensor muscle_crow, Tensor muscle_row, Tensor muscle_entry, int num_muscles"


def check_distribution(distribution: SparseMatrix, directions: Tensor | None, **others: Tensor) -> None:
    """P, its fibre directions and the other tensors of the call have one dtype and device and fit each other."""
    if not isinstance(distribution, SparseMatrix):
        raise TypeError(f"distribution must be a SparseMatrix or Distribution, got {type(distribution).__name__}")
    _check.same_kind(**others, directions=directions, **{"distribution.val": distribution.val})
    if directions is not None and (directions.ndim != 2 or directions.shape != (distribution.nnz, 3)):
        _check.shape("directions", directions, f"({distribution.nnz}, 3)", False)


def index_arguments(distribution: SparseMatrix) -> tuple[Any, ...]:
    """The arguments that ``SCHEMA`` names."""
    by_muscle = distribution.transpose
    return distribution.crow, distribution.col, *by_muscle, distribution.shape[1]


def core_distribution(
    val: Tensor,
    directions: Tensor | None,
    crow: Tensor,
    col: Tensor,
    muscle_crow: Tensor,
    muscle_row: Tensor,
    muscle_entry: Tensor,
    num_muscles: int,
) -> tuple[_core.Distribution, int, object]:
    """The kernels' view of P, its number of rows, and what must be held while the view is used."""
    num_vertices = crow.shape[0] - 1
    index = tuple(tensor.contiguous() for tensor in (crow, col, muscle_crow, muscle_row, muscle_entry))
    val = val.contiguous()
    directions = None if directions is None else directions.contiguous()
    crow_, col_, muscle_crow_, muscle_row_, muscle_entry_ = map(buffer, index)
    view = _core.Distribution(
        num_vertices,
        num_muscles,
        crow_,
        col_,
        muscle_crow_,
        muscle_row_,
        muscle_entry_,
        buffer(val),
        buffer(directions),
        directions is not None,
    )
    return view, num_vertices, (index, val, directions)
