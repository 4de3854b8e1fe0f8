"""How the ops take packed blendshapes apart, and put them together for the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from biomechau import _core
from biomechau.ops._backend import Buffer, buffer
from biomechau.ops.packed_blendshapes import PackedBlendshapes

# Packed blendshapes in an op's schema: all None where B is an ordinary tensor.
PACKED_SCHEMA = "Tensor? vertex_crow, Tensor? shape_crow, Tensor? vertices, Tensor? shapes, Tensor? packed_values"
NUM_PACKED = 5


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


def core_blendshapes(
    blendshapes: Tensor, packed: Sequence[Tensor | None]
) -> tuple[Buffer | None, _core.PackedBlendshapes | None]:
    """B as the kernels read it: a dense tensor, or packed. Hold the tensors while it is used."""
    if packed[0] is None:
        return buffer(blendshapes), None
    num_shapes, num_vertices, _ = blendshapes.shape
    return None, _core.PackedBlendshapes(num_shapes, num_vertices, *map(buffer, packed))
