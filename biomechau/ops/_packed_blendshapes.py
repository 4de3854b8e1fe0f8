"""Constant blendshapes, laid out once for the CPU kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar
from weakref import WeakKeyDictionary, ref

import numpy as np
import torch
from torch import Tensor

from biomechau.ops import _check
from biomechau.ops._records import Constants
from biomechau.ops._sorted_entries import SortedEntries, sort_entries
from biomechau.ops._sparse import SparseMatrix
from biomechau.ops.tracing import is_wrapped, not_compiled, require_values

_Length = TypeVar("_Length", int, Tensor)

# Vertices that start as one group; groups are then merged where that saves work.
_SEED = 32
_MOST_SEEDS = 1024  # every pair of seeds is compared
# Larger groups are cut: the displacements should stay in the second-level cache, and threads need pieces to share.
_LARGEST = 256
# Rows of displacements that are read together, once per muscle: they should stay in the first-level cache.
_BLOCK_BYTES = 20_480
_LANES = 16  # vertices that a vector register holds in float32
# A pair of shapes costs three multiply-adds per vector of vertices in a group, and about this much to sum the lanes.
_PAIR_OVERHEAD = 4


class KeptProjection:
    """The reduced projection of a constant P and constant directions, and the state of these tensors."""

    def __init__(self, distribution: SparseMatrix, directions: Tensor | None, matrix: Tensor) -> None:
        self.matrix = matrix
        # The memory that the values were read from: as long as it is held, no other tensor gets its address.
        self._memory, self._version = distribution.val.detach(), distribution.val._version
        # Not the tensor itself, which may be unused elsewhere, and not its address, which another tensor may get.
        self._directions = None if directions is None else (ref(directions), directions._version, directions.data_ptr())

    def is_of(self, distribution: SparseMatrix, directions: Tensor | None) -> bool:
        """Whether the projection was made from these tensors, and they have not been written to since."""
        val = distribution.val
        if val._version != self._version or val.data_ptr() != self._memory.data_ptr():
            return False
        if self._directions is None or directions is None:
            return self._directions is None and directions is None
        tensor, *state = self._directions
        return tensor() is directions and state == [directions._version, directions.data_ptr()]


@dataclass(frozen=True, eq=False, repr=False)
class PackedBlendshapes:
    """Constant blendshapes B, passed to the ops instead of the tensor: made once, faster in every call.

    A vertex is moved by only some of the shapes. Vertices moved by about the same shapes form a group, which holds the
    displacements of its own shapes only. The CPU kernels read nothing else; other devices and the plain-torch twins
    read ``dense``.

    Attributes:
        dense: B, displacements [length], shape (K, N, 3), float32 or float64: a copy, so that nothing changes it.
        vertex_crow: (G + 1,) int64, start of each group's vertices.
        shape_crow: (G + 1,) int64, start of each group's shapes.
        vertices: (N,) int32, the vertices group by group, then those that no shape moves.
        shapes: int32, the shapes of each group, ascending.
        lanes: each group's displacements, vertex fastest: (vectors of vertices, shapes, 3, vertices of a vector).
        rows: each group's displacements by vertex: (vertices, shapes x 3, with zeros to a multiple of 16).
        kept: the reduced projections of distributions that ``force_projection`` was called with.

    Raises:
        TypeError: ``dense`` is not a float32 or float64 tensor.
        ValueError: its shape is not (K, N, 3), or it requires grad: pass learned blendshapes as a tensor.

    Example:
        >>> B = ops.PackedBlendshapes(torch.ones(2, 4, 3))
        >>> ops.generalized_mass(B, torch.full((4,), 0.25))
        tensor([[3., 3.],
                [3., 3.]])
    """

    dense: Tensor
    vertex_crow: Tensor = field(init=False)
    shape_crow: Tensor = field(init=False)
    vertices: Tensor = field(init=False)
    shapes: Tensor = field(init=False)
    lanes: Tensor = field(init=False)
    rows: Tensor = field(init=False)
    with_lanes: Constants = field(init=False)
    with_rows: Constants = field(init=False)
    kept: WeakKeyDictionary[SparseMatrix, KeptProjection] = field(init=False)
    _sorted: WeakKeyDictionary[Constants, Constants] = field(init=False)

    @not_compiled("blendshapes are packed by their values: pack them before, or give the op the tensor")
    def __post_init__(self) -> None:
        if not (isinstance(self.dense, Tensor) and self.dense.is_meta):
            advice = "pack them before, or give the op the tensor"
            require_values("the packing of blendshapes", advice, self.dense)
        _check.same_kind(("blendshapes",), self.dense)
        if self.dense.ndim != 3 or self.dense.shape[2] != 3:
            raise _check.wrong_shape("blendshapes", self.dense, "(K, N, 3)")
        if self.dense.requires_grad:
            raise ValueError("packed blendshapes are constant, but blendshapes requires grad: give the op the tensor")
        dense = self.dense.clone(memory_format=torch.contiguous_format)
        if is_wrapped(dense):
            raise RuntimeError("blendshapes cannot be packed within torch.func.grad and the like: pack them before")
        if dense.is_meta:  # nothing but shapes will be computed
            values = torch.empty(dense.shape, dtype=dense.dtype, device="cpu")
            groups, still = [], torch.arange(dense.shape[1], device="cpu")
        else:
            values = dense.cpu()
            groups, still = _grouped((values != 0).any(-1).T.numpy())
        lanes, rows, shapes = [], [], []
        for group in groups:
            of_group = values[:, group]
            moving = (of_group != 0).any(-1).any(-1).nonzero()[:, 0]
            shapes.append(moving)
            lanes.append(_lanes(of_group[moving]))
            rows.append(_rows(of_group[moving]))
        for name, value in (
            ("dense", dense),
            ("vertex_crow", _starts(groups)),
            ("shape_crow", _starts(shapes)),
            ("vertices", torch.cat([*groups, still]).int()),
            ("shapes", _joined(shapes, torch.int32)),
            ("lanes", _joined(lanes, values.dtype)),
            ("rows", _joined(rows, values.dtype)),
            ("kept", WeakKeyDictionary()),
            ("_sorted", WeakKeyDictionary()),
        ):
            object.__setattr__(self, name, value)
        index = (self.vertex_crow, self.shape_crow, self.vertices, self.shapes)
        object.__setattr__(self, "with_lanes", Constants((*index, self.lanes)))
        object.__setattr__(self, "with_rows", Constants((*index, self.rows)))

    @property
    def shape(self) -> torch.Size:
        """(K, N, 3)."""
        return self.dense.shape

    def sorted_entries(self, distribution: SparseMatrix) -> SortedEntries:
        """The entries of a P (N, M) in the order of the groups; computed once per pattern, whatever its values."""
        return self.sorted_constants(distribution).fields  # pyright: ignore[reportReturnType]

    def sorted_constants(self, distribution: SparseMatrix) -> Constants:
        """The same, as the ops take them."""
        found = self._sorted.get(distribution.index)
        if found is None:
            with torch.inference_mode(False):  # they are kept, also for calls with a gradient
                found = self._sorted[distribution.index] = Constants(self._sort(distribution))
        return found

    def _sort(self, distribution: SparseMatrix) -> SortedEntries:
        num_vertices = distribution.shape[0]
        sizes = self.vertex_crow.diff()
        moving = self.vertices[: sizes.sum()].long()
        group, place = torch.full((2, num_vertices), -1, device="cpu")
        group[moving] = torch.repeat_interleave(torch.arange(len(sizes), device="cpu"), sizes)
        place[moving] = torch.arange(len(moving), device="cpu") - self.vertex_crow[:-1].repeat_interleave(sizes)
        row_bytes = self.rows.element_size() * _padded(3 * self.shape_crow.diff())
        return sort_entries(distribution, group, place, (_BLOCK_BYTES // row_bytes).clamp(min=1))

    def __reduce__(self) -> tuple[type[PackedBlendshapes], tuple[Tensor]]:
        # Without the kept projections and entries; torch.load with weights_only takes it.
        return PackedBlendshapes, (self.dense,)

    def __repr__(self) -> str:
        size, dtype = " x ".join(map(str, self.shape)), str(self.dense.dtype)[6:]
        return f"PackedBlendshapes({size}, {len(self.vertex_crow) - 1} groups, {dtype}, {self.dense.device})"

    def to(self, *args: object, **kwargs: object) -> PackedBlendshapes:
        """A copy on another device or of another float dtype; takes what ``Tensor.to`` takes."""
        return PackedBlendshapes(self.dense.to(*args, **kwargs))  # pyright: ignore[reportCallIssue, reportArgumentType]


torch.serialization.add_safe_globals([PackedBlendshapes])


def _starts(parts: list[Tensor]) -> Tensor:
    return torch.tensor([0, *(len(part) for part in parts)], device="cpu").cumsum(0)


def _joined(parts: list[Tensor], dtype: torch.dtype) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=dtype, device="cpu"), *(part.flatten().to(dtype) for part in parts)])


def _lanes(values: Tensor) -> Tensor:
    """(U, n, 3) to (V, U, 3, L), L the vertices of a vector of 64 bytes."""
    width = 64 // values.element_size()
    num = values.shape[1]
    padded = torch.nn.functional.pad(values, (0, 0, 0, -num % width))
    return padded.unflatten(1, (-1, width)).permute(1, 0, 3, 2)


def _rows(values: Tensor) -> Tensor:
    """(U, n, 3) to (n, 3 U), padded to whole vectors of either precision."""
    by_vertex = values.transpose(0, 1).flatten(1)
    return torch.nn.functional.pad(by_vertex, (0, _padded(by_vertex.shape[1]) - by_vertex.shape[1]))


def _padded(length: _Length) -> _Length:
    return -(-length // 16) * 16


def _grouped(moves: np.ndarray) -> tuple[list[Tensor], Tensor]:
    """Groups of vertices, from which shapes move which vertex (N, K), and the vertices that no shape moves."""
    moving = moves.any(1)
    still = torch.from_numpy((~moving).nonzero()[0])
    if not moving.any():
        return [], still
    # Similar sets of shapes side by side: vertices in the order of their sets, read as binary numbers.
    order = moving.nonzero()[0]
    order = order[np.lexsort(moves[order].T[::-1])]
    length = max(_SEED, -(-len(order) // (_MOST_SEEDS * _SEED)) * _SEED)
    seeds = np.split(order, range(length, len(order), length))
    groups = []
    for members in _merged(moves, seeds):
        group = np.concatenate([seeds[seed] for seed in members])
        parts = -(-len(group) // _LARGEST)
        size = -(-len(group) // (parts * _LANES)) * _LANES
        groups += np.split(group, range(size, len(group), size))
    return [torch.from_numpy(group) for group in groups], still


def _merged(moves: np.ndarray, seeds: list[np.ndarray]) -> list[list[int]]:
    """Merges the two groups whose merger saves the most work, as long as any does."""
    sets = np.stack([moves[seed].any(0) for seed in seeds]).astype(np.float64)
    vertices = np.array([len(seed) for seed in seeds], dtype=np.float64)
    members = [[i] for i in range(len(seeds))]
    alive = np.ones(len(seeds), bool)

    def cost(shapes: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        return shapes * (shapes + 1) / 2 * (3 * np.ceil(vertices / _LANES) + _PAIR_OVERHEAD)

    def savings(i: int) -> np.ndarray:
        own, union = sets[i].sum(), sets.sum(1) + sets[i].sum() - sets @ sets[i]
        apart = cost(own, vertices[i]) + cost(sets.sum(1), vertices)
        saved = np.where(alive, apart - cost(union, vertices + vertices[i]), -np.inf)
        saved[i] = -np.inf
        return saved

    saved = np.stack([savings(i) for i in range(len(seeds))])
    best = saved.argmax(1)  # the partner of each group
    everyone = np.arange(len(seeds))
    while True:
        i = int(saved[everyone, best].argmax())
        j = int(best[i])
        if saved[i, j] <= 0 or i == j:
            break
        sets[i] = np.maximum(sets[i], sets[j])
        vertices[i] += vertices[j]
        members[i] += members[j]
        alive[j] = False
        saved[j] = saved[:, j] = -np.inf
        saved[i] = saved[:, i] = savings(i)
        changed = (best == i) | (best == j)
        changed[[i, j]] = True
        best = np.where(saved[:, i] > saved[everyone, best], i, best)
        best[changed] = saved[changed].argmax(1)
    return [sorted(members[i]) for i in alive.nonzero()[0]]
