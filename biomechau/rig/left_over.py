"""What a fit leaves over of the meshes it was made for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LeftOver:
    """How far meshes are from the rig's neutral, and from their fit.

    Distances are root mean squares over the face's area; with ``rigid`` after the head's motion was taken out.

    Attributes:
        departure: (T,) float64, distance of each mesh from the neutral [cm].
        residual: (T,) float64, distance of each mesh from its fit [cm].
        shape: share of the squared departure of all meshes that the fit leaves over, 0 to about 1; 0 without any.
        motion: the same share of their motion alone, the differences from the mean mesh.
    """

    departure: Tensor
    residual: Tensor
    shape: float
    motion: float


class LeftOverSums:
    """Adds up what a fit leaves over, part by part (:meth:`biomechau.FaceRig.fit`)."""

    def __init__(self) -> None:
        self._distances: list[tuple[Tensor, Tensor]] = []
        self._sums: tuple[Tensor, Tensor] | None = None
        self._weights = torch.empty(0)

    def add(self, displacement: Tensor, residual: Tensor, weights: Tensor) -> None:
        """Displacements from the neutral and from the fit (T, N, 3) [cm], and the weights (N,) of the vertices."""
        self._weights = weights / weights.sum()
        squares = [torch.einsum("n,tna->t", self._weights, part.double().square()) for part in (displacement, residual)]
        sums = displacement.sum(0, dtype=torch.float64), residual.sum(0, dtype=torch.float64)
        if self._sums is not None:
            sums = self._sums[0] + sums[0], self._sums[1] + sums[1]
        self._sums = sums
        self._distances.append((squares[0], squares[1]))

    def result(self) -> LeftOver:
        """Of all that was added, at least one mesh."""
        assert self._sums is not None
        departure, residual = (torch.cat(parts) for parts in zip(*self._distances, strict=True))
        whole, left = float(departure.sum()), float(residual.sum())
        still, still_left = (float(self._weights @ total.square().sum(1)) / len(departure) for total in self._sums)
        return LeftOver(
            departure.sqrt(),
            residual.sqrt(),
            left / whole if whole else 0.0,
            _share(left - still_left, whole - still, whole),
        )


def _share(left: float, moving: float, whole: float) -> float:
    """Of the moving part; 0 where that is rounding."""
    return max(left, 0.0) / moving if moving > 1e-9 * whole else 0.0
