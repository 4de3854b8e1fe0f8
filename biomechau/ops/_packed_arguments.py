"""Packed blendshapes as arguments of the ops, and as the kernels read them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

from biomechau import _core
from biomechau.ops._packed_blendshapes import PackedBlendshapes
from biomechau.ops._records import Constants, left_out
from biomechau.ops._sorted_entries import sorted_by_block
from biomechau.ops._sparse import SparseMatrix
from biomechau.ops.tracing import goes_to_dispatcher


class PackedArguments(NamedTuple):
    """Packed blendshapes as arguments of an op; all None if B is an ordinary tensor."""

    vertex_crow: Tensor | None
    shape_crow: Tensor | None
    vertices: Tensor | None
    shapes: Tensor | None
    packed_values: Tensor | None


class SortedArguments(NamedTuple):
    """The entries of P in the order of the groups or blocks, as arguments of an op; all None: the kernels sort them."""

    group_crow: Tensor | None
    list_muscle: Tensor | None
    list_crow: Tensor | None
    list_vertex: Tensor | None
    list_entry: Tensor | None


UNPACKED, UNSORTED = left_out(PackedArguments), left_out(SortedArguments)


def unpacked(blendshapes: Tensor | PackedBlendshapes) -> Tensor:
    """B (K, N, 3) as a tensor, packed or not."""
    return blendshapes.dense if isinstance(blendshapes, PackedBlendshapes) else blendshapes


def packed_arguments(blendshapes: Tensor | PackedBlendshapes, values: Literal["lanes", "rows"]) -> Constants | None:
    """The fields of ``PackedArguments``, or None: kernels of other devices read the tensor."""
    if not isinstance(blendshapes, PackedBlendshapes) or not blendshapes.dense.is_cpu:
        return None
    return blendshapes.with_lanes if values == "lanes" else blendshapes.with_rows


def sorted_arguments(blendshapes: Tensor | PackedBlendshapes, distribution: SparseMatrix) -> Constants | None:
    """The fields of ``SortedArguments``, or None."""
    if not unpacked(blendshapes).is_cpu or goes_to_dispatcher():
        return None
    if isinstance(blendshapes, PackedBlendshapes):
        return blendshapes.sorted_constants(distribution)
    return sorted_by_block(distribution)


def core_sorted(entries: Constants | None) -> _core.SortedEntries | None:
    """Sorted entries as the kernels read them."""
    return None if entries is None else entries.view(_core.SortedEntries)


def core_blendshapes(
    blendshapes: Tensor, packed: Constants | None
) -> tuple[Tensor | None, _core.PackedBlendshapes | None]:
    """B as the kernels read it: as a tensor, or packed."""
    if packed is None:
        return blendshapes, None
    num_shapes, num_vertices, _ = blendshapes.shape
    return None, packed.view(lambda *tensors: _core.PackedBlendshapes(num_shapes, num_vertices, *tensors))
