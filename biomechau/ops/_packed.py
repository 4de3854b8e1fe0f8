"""How the ops take packed blendshapes apart, and put them together for the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from biomechau import _core
from biomechau.ops._backend import Buffer, buffer
from biomechau.ops.packed_blendshapes import PackedBlendshapes
from biomechau.ops.sparse import SparseMatrix
from biomechau.ops.tracing import goes_to_dispatcher

# Packed blendshapes in an op's schema: all None where B is an ordinary tensor.
PACKED_SCHEMA = "Tensor? vertex_crow, Tensor? shape_crow, Tensor? vertices, Tensor? shapes, Tensor? packed_values"
NUM_PACKED = 5

# And the entries of P in the order of their groups; all None where the kernels have to sort them.
SORTED_SCHEMA = "Tensor? group_crow, Tensor? list_muscle, Tensor? list_crow, Tensor? list_vertex, Tensor? list_entry"
NUM_SORTED = 5


def unpacked(blendshapes: Tensor | PackedBlendshapes) -> Tensor:
    """B (K, N, 3) as a tensor, whichever way it is given."""
    return blendshapes.dense if isinstance(blendshapes, PackedBlendshapes) else blendshapes


def packed_arguments(
    blendshapes: Tensor | PackedBlendshapes, values: Literal["lanes", "rows"]
) -> tuple[Tensor | None, ...]:
    """The arguments that ``PACKED_SCHEMA`` names. Kernels of other devices read the tensor."""
    if not isinstance(blendshapes, PackedBlendshapes) or blendshapes.dense.device.type != "cpu":
        return (None,) * NUM_PACKED
    index = (blendshapes.vertex_crow, blendshapes.shape_crow, blendshapes.vertices, blendshapes.shapes)
    return *index, blendshapes.lanes if values == "lanes" else blendshapes.rows


def sorted_arguments(blendshapes: Tensor | PackedBlendshapes, distribution: SparseMatrix) -> tuple[Tensor | None, ...]:
    """The arguments that ``SORTED_SCHEMA`` names."""
    if not isinstance(blendshapes, PackedBlendshapes) or blendshapes.dense.device.type != "cpu" or goes_to_dispatcher():
        return (None,) * NUM_SORTED
    return blendshapes.sorted_entries(distribution)


def core_sorted(entries: Sequence[Tensor | None]) -> _core.SortedEntries | None:
    """Sorted entries as the kernels read them. Hold the tensors while it is used."""
    return None if entries[0] is None else _core.SortedEntries(*map(buffer, entries))


def core_blendshapes(
    blendshapes: Tensor, packed: Sequence[Tensor | None]
) -> tuple[Buffer | None, _core.PackedBlendshapes | None]:
    """B as the kernels read it: a dense tensor, or packed. Hold the tensors while it is used."""
    if packed[0] is None:
        return buffer(blendshapes), None
    num_shapes, num_vertices, _ = blendshapes.shape
    return None, _core.PackedBlendshapes(num_shapes, num_vertices, *map(buffer, packed))
