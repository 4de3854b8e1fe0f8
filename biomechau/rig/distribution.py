"""Distribution: how much of each muscle's force each vertex receives, and along which direction."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from biomechau import ops
from biomechau.rig.face_rig import FaceRig
from biomechau.rig.muscles import Muscle, Muscles


@dataclass(frozen=True, eq=False, repr=False)
class Distribution(ops.SparseMatrix):
    """The (N, M) matrix P of Eq. 1, values in [0, 1], with the muscles of its columns.

    Attributes:
        muscles: the M muscles, their shapes named as in the rig.
        left_out: identifiers of the muscles in the table that the rig has no moving shapes for.

    Raises:
        ValueError: the number of muscles is not M, or the arrays do not describe a sparse matrix.
    """

    muscles: Muscles
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.muscles) != self.shape[1]:
            raise ValueError(f"muscles must be {self.shape[1]}, one per column, got {len(self.muscles)}")

    @classmethod
    def from_rig(cls, rig: FaceRig, muscles: Muscles | None = None, threshold: float = 0.05) -> Distribution:
        """P(i,m) = |displacement of the muscle's shapes at i| / its peak, small entries dropped (paper, section 3.1).

        Args:
            rig: the face.
            muscles: the table; ``Muscles.facs()`` if not given. Muscles whose shapes the rig lacks, or whose shapes
                do not move in it, are left out and named in a warning; those without any known shape are left out.
            threshold: entries below this share of a muscle's peak are dropped, in [0, 1].

        Returns:
            P, float32, one column per muscle that is not left out.

        Raises:
            ValueError: a threshold outside [0, 1], or a rig with shapes for none of the muscles.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
        match = (Muscles.facs() if muscles is None else muscles).match(rig.names)
        displacement = muscle_displacements(rig, match.muscles).norm(dim=-1)
        peak = displacement.amax(1)
        lacking = [f"{name} ({', '.join(shapes)})" for name, shapes in match.left_out.items() if shapes]
        still = [name for name, value in zip(match.muscles.names, peak.tolist(), strict=True) if value == 0]
        if lacking or still:
            warnings.warn(
                "the rig has no moving shapes for these muscles (left out): " + ", ".join(lacking + still),
                UserWarning,
                stacklevel=2,
            )
        shown = Muscles(muscle for muscle in match.muscles if muscle.identifier not in still)
        if not shown:
            raise ValueError(
                f"the rig has shapes for none of the muscles; its shapes are {', '.join(rig.names) or 'none'}"
            )
        share = (displacement[peak > 0] / peak[peak > 0, None]).T.float()
        sparse = ops.SparseMatrix.from_dense(torch.where(share >= threshold, share, 0))
        return cls(sparse.crow, sparse.col, sparse.val, sparse.shape, shown, (*match.left_out, *still))

    def directions(self, field: Tensor) -> Tensor:
        """The directions d with P(i,m) d_m(i) = field_m(i) at every stored entry.

        Args:
            field: force of each muscle at each vertex, shape (M, N, 3).

        Returns:
            d, shape (nnz, 3), not of unit length; 0 where P is 0.
        """
        expected = (self.shape[1], self.shape[0], 3)
        if field.shape != expected:
            raise ValueError(f"field must have shape {expected}, got {tuple(field.shape)}")
        share = self.val.detach()
        return torch.where(share > 0, 1 / share, 0)[:, None] * field[self.col, self.row]

    def coverage(self) -> Coverage:
        """The share of the vertices that each muscle reaches."""
        reached = self.val.detach() > 0
        count = torch.zeros(self.shape[1], dtype=torch.float64, device=self.val.device)
        count.index_add_(0, self.col[reached], torch.ones_like(self.col[reached], dtype=torch.float64))
        touched = self.row[reached].unique().numel()
        size = max(self.shape[0], 1)
        return Coverage(self.muscles.names, count / size, 1 - touched / size, self.nnz / size)

    def overlap(self) -> Overlap:
        """Cosine between the muscles' columns."""
        columns = self.dense().detach().double()
        unit = columns / columns.norm(dim=0).clamp_min(torch.finfo(torch.float64).tiny)
        return Overlap(self.muscles.names, unit.T @ unit)


torch.serialization.add_safe_globals([Distribution, Muscles, Muscle])


@dataclass(frozen=True, eq=False)
class Coverage:
    """How much of the face the muscles reach.

    Attributes:
        names: identifiers of the M muscles.
        share: (M,) float64, share of the vertices that each muscle reaches.
        uncovered: share of the vertices that no muscle reaches.
        muscles_per_vertex: mean number of muscles that reach a vertex.
    """

    names: tuple[str, ...]
    share: Tensor
    uncovered: float
    muscles_per_vertex: float

    def __str__(self) -> str:
        cells = [(name, f"{value:.1%}") for name, value in zip(self.names, self.share.tolist(), strict=True)]
        cells += [("no muscle", f"{self.uncovered:.1%}"), ("muscles per vertex", f"{self.muscles_per_vertex:.2f}")]
        width = max(len(name) for name, _ in cells)
        return "\n".join(f"{name:{width}}  {value:>6}" for name, value in cells)


@dataclass(frozen=True, eq=False)
class Overlap:
    """How much the muscles overlap on the mesh.

    Attributes:
        names: identifiers of the M muscles.
        cosine: (M, M) float64, cosine between the columns of P, 1 on the diagonal.
    """

    names: tuple[str, ...]
    cosine: Tensor

    def worst(self, count: int = 10) -> list[tuple[str, str, float]]:
        """The pairs with the largest overlap, largest first: two identifiers and their cosine."""
        first, second = torch.triu_indices(*self.cosine.shape, offset=1)
        values = self.cosine[first, second]
        order = values.argsort(descending=True)[:count].tolist()
        return [(self.names[int(first[i])], self.names[int(second[i])], float(values[i])) for i in order]

    def __str__(self) -> str:
        pairs = [(f"{first} / {second}", value) for first, second, value in self.worst()]
        width = max((len(pair) for pair, _ in pairs), default=0)
        return "\n".join(f"{pair:{width}}  {value:.2f}" for pair, value in pairs)


def muscle_displacements(rig: FaceRig, muscles: Muscles) -> Tensor:
    """b_m, the sum of each muscle's shapes: its full contraction [cm], shape (M, N, 3), float64.

    Raises:
        ValueError: a muscle without shapes, or a shape that the rig lacks.
    """
    for muscle in muscles:
        if not muscle.shapes:
            raise ValueError(f"muscle {muscle.identifier} has no shapes")
    own = rig.blendshapes.new_empty((len(muscles), rig.num_vertices, 3), dtype=torch.float64)
    for row, muscle in zip(own, muscles, strict=True):
        torch.sum(rig.blendshapes[rig.shape_indices(muscle.shapes)], 0, dtype=torch.float64, out=row)
    return own


def fibre_directions(rig: FaceRig, distribution: Distribution, masses: Tensor | None = None) -> Tensor:
    """The d with P(i,m) d_m(i) = m_i b_m(i): a unit force accelerates the face exactly along the muscle's own shapes.

    Args:
        rig: the face.
        distribution: P, shape (N, M).
        masses: m_i [mass unit], shape (N,); the rig's vertex masses if not given.

    Returns:
        d [cm x mass unit], shape (nnz, 3), of the dtype of P.

    Raises:
        ValueError: masses of another shape, or shapes that the rig lacks.
    """
    masses = rig.vertex_masses if masses is None else masses
    if masses.shape != (rig.num_vertices,):
        raise ValueError(f"masses must have shape ({rig.num_vertices},), got {tuple(masses.shape)}")
    shapes = muscle_displacements(rig, distribution.muscles).to(distribution.val.dtype)
    return distribution.directions(masses.to(shapes.dtype)[:, None] * shapes)
