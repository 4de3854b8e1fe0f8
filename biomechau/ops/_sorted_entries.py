"""The entries of a distribution matrix in the order in which the projections follow them."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from biomechau import _core
from biomechau.ops._records import Constants
from biomechau.ops._sparse import SparseMatrix


class SortedEntries(NamedTuple):
    """The entries of P in lists, one for each muscle at each block of a group's vertices.

    Attributes:
        group_crow: (G + 1,) int64, start of each group's lists; they are sorted by block and muscle.
        muscle: (L,) int32, muscle of each list.
        list_crow: (L + 1,) int64, start of each list's entries.
        vertex: int32, vertex of each entry in a list, counted in its group.
        entry: (nnz,) int32, position of each among the values of P; last those of vertices that are in no group.
    """

    group_crow: Tensor
    muscle: Tensor
    list_crow: Tensor
    vertex: Tensor
    entry: Tensor


def sort_entries(distribution: SparseMatrix, group: Tensor, place: Tensor, block_size: Tensor) -> SortedEntries:
    """Lists of the entries of P (N, M).

    Args:
        distribution: P.
        group: (N,) int64, group of each vertex, or -1.
        place: (N,) int64, place of each vertex in its group.
        block_size: (G,) int64, how many vertices of each group make a block.
    """
    num_vertices, num_muscles = distribution.shape
    is_listed = group[distribution.row] >= 0
    entry, others = is_listed.nonzero()[:, 0], (~is_listed).nonzero()[:, 0]
    row, muscle = distribution.row[entry], distribution.col[entry]
    # In the order of group, block, muscle and vertex.
    block = place[row] // block_size[group[row]]
    num_blocks = int(block.max()) + 1 if len(block) else 1
    within, order = (((group[row] * num_blocks + block) * num_muscles + muscle) * num_vertices + place[row]).sort()
    lengths = torch.unique_consecutive(within // num_vertices, return_counts=True)[1]
    first = order[_with_zero(lengths)[:-1]]  # of each list
    return SortedEntries(
        group_crow=_with_zero(torch.bincount(group[row[first]], minlength=len(block_size))),
        muscle=muscle[first].int(),
        list_crow=_with_zero(lengths),
        vertex=place[row[order]].int(),
        entry=torch.cat([entry[order], others]).int(),
    )


_kept: WeakKeyDictionary[Constants, Constants] = WeakKeyDictionary()


def sorted_by_block(distribution: SparseMatrix) -> Constants:
    """The entries of P for blocks of a tensor B, as the ops take them; sorted once per pattern, whatever its values."""
    found = _kept.get(distribution.index)
    if found is None:
        size = _core.projection_block
        vertices = torch.arange(distribution.shape[0], device="cpu")
        sizes = torch.full((-(-distribution.shape[0] // size),), size, device="cpu")
        with torch.inference_mode(False):  # they are kept, also for calls with a gradient
            entries = sort_entries(distribution, vertices // size, vertices % size, sizes)
            found = _kept[distribution.index] = Constants(entries)
    return found


def _with_zero(counts: Tensor) -> Tensor:
    """Where each of consecutive parts begins, and the end of the last."""
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))
