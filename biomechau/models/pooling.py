"""Down-sampling of meshes by quadric edge collapse to vertices of the original mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biomechau.rig.face_rig import FaceRig


@dataclass(frozen=True, eq=False)
class Level:
    """One mesh of a hierarchy.

    Attributes:
        kept: (N',) int64 ascending, its vertices as indices into the previous level.
        edges: (E, 2) int64, its undirected edges, each once.
    """

    kept: Tensor
    edges: Tensor

    @property
    def num_vertices(self) -> int:
        """N'."""
        return len(self.kept)


@dataclass(frozen=True, eq=False)
class MeshHierarchy:
    """Successively coarser meshes of one face.

    Attributes:
        num_vertices: N, vertices of the rig.
        levels: the first is the input mesh of an encoder, with vertices of the rig; each of the others keeps vertices
            of the previous level.

    Raises:
        ValueError: no levels, or kept vertices that the previous level does not have.
    """

    num_vertices: int
    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        if not self.levels:
            raise ValueError("a mesh hierarchy needs at least one level")
        size = self.num_vertices
        for number, level in enumerate(self.levels):
            if not len(level.kept) or int(level.kept[0]) < 0 or int(level.kept[-1]) >= size:
                raise ValueError(
                    f"level {number} must keep some of the {size} vertices of the previous level, in ascending order"
                )
            if bool((level.kept.diff() <= 0).any()):
                raise ValueError(f"level {number} must keep each vertex once, in ascending order")
            size = level.num_vertices

    @classmethod
    def from_rig(
        cls, rig: FaceRig, num_poolings: int = 4, factor: float = 4.0, num_input_vertices: int | None = None
    ) -> MeshHierarchy:
        """The rig's mesh, down-sampled ``num_poolings`` times; deterministic.

        Args:
            rig: the face.
            num_poolings: down-samplings after the first level.
            factor: N / N' of each; rounded up, 9,409 vertices give 2,353, 589, 148 and 37.
            num_input_vertices: vertices of the first level; all of the rig if not given or not fewer.

        Raises:
            ValueError: a factor that is not above 1, a negative number of poolings, fewer than 4 input vertices.
        """
        if not factor > 1:
            raise ValueError(f"factor must be above 1, got {factor}")
        if num_poolings < 0:
            raise ValueError(f"num_poolings must be at least 0, got {num_poolings}")
        if num_input_vertices is not None and num_input_vertices < 4:
            raise ValueError(f"num_input_vertices must be at least 4, got {num_input_vertices}")
        positions, faces = rig.neutral.detach().cpu().double().numpy(), rig.faces.cpu().numpy()
        kept = np.arange(len(positions))
        if num_input_vertices is not None and num_input_vertices < len(positions):
            kept, faces = coarsen(positions, faces, num_input_vertices)
            positions = positions[kept]
        levels = [_level(kept, faces)]
        for _ in range(num_poolings):
            kept, faces = coarsen(positions, faces, int(np.ceil(len(positions) / factor)))
            positions = positions[kept]
            levels.append(_level(kept, faces))
        return cls(rig.num_vertices, tuple(levels))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, to be stored."""
        named = {f"{name}_{i}": getattr(x, name) for i, x in enumerate(self.levels) for name in ("kept", "edges")}
        return {"num_vertices": torch.tensor(self.num_vertices), **named}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> MeshHierarchy:
        """The hierarchy whose :meth:`tensors` these are.

        Raises:
            KeyError: a tensor is missing.
        """
        count = sum(name.startswith("kept_") for name in tensors)
        levels = tuple(Level(tensors[f"kept_{i}"], tensors[f"edges_{i}"]) for i in range(count))
        return cls(int(tensors["num_vertices"]), levels)


def coarsen(positions: np.ndarray, faces: np.ndarray, num_kept: int) -> tuple[np.ndarray, np.ndarray]:
    """Quadric edge collapse that keeps original vertices.

    Each vertex of the simplified mesh stands for a cluster of vertices collapsed into it; kept is the cluster's member
    nearest to it, so no vertex is kept twice and the simplified triangles join the kept ones.

    Args:
        positions: (N, 3) float64.
        faces: (F, 3) int64.
        num_kept: number of vertices wanted, at least 1; the result has the nearest number that the collapse reaches.

    Returns:
        kept (N',) ascending and the triangles among them (F', 3).
    """
    # Imported here, because only models on meshes need it.
    from fast_simplification import replay_simplification, simplify

    best = np.arange(len(positions)), faces
    fewest, most = 1, len(faces)
    # The simplifier counts triangles, and fewer of them leave fewer vertices: bisect.
    while fewest <= most and len(best[0]) != num_kept:
        target = (fewest + most) // 2
        *_, collapses = simplify(positions, faces, target_count=target, return_collapses=True)
        simple, triangles, cluster = replay_simplification(positions, faces, collapses)
        if len(simple) > num_kept:
            most = target - 1
        else:
            fewest = target + 1
        error, current = abs(len(simple) - num_kept), abs(len(best[0]) - num_kept)
        if error < current or (error == current and len(simple) < len(best[0])):
            best = _nearest_members(positions, simple, cluster, triangles)
    return best


def _nearest_members(
    positions: np.ndarray, simple: np.ndarray, cluster: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    distance = np.square(positions - simple[cluster]).sum(1)
    order = np.lexsort((distance, cluster))
    member = order[np.unique(cluster[order], return_index=True)[1]]
    rank = np.empty_like(member)
    ascending = np.argsort(member)
    rank[ascending] = np.arange(len(member))
    return member[ascending], rank[triangles]


def _level(kept: np.ndarray, faces: np.ndarray) -> Level:
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    return Level(torch.from_numpy(kept.astype(np.int64)), torch.from_numpy(edges.astype(np.int64)))
