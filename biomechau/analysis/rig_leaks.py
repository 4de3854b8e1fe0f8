"""Leaks: the forces that inverse dynamics gives to muscles at rest while another muscle moves the face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from biomechau.analysis.face_forces import Floats, force_strength
from biomechau.physics import FaceDynamics, InverseOptions

# Duration of a slow and a fast movement, from rest to rest [s]: an expression, and a blink.
SLOW, FAST = 2.0, 0.16
_AMPLITUDE = 0.8  # of the moving muscle's shapes
_REST = 0.8  # before and after [s]


@dataclass(frozen=True, eq=False)
class Leaks:
    """The largest force of each muscle (columns) over that of the one muscle that moves (rows).

    1 on the diagonal; 0 for muscles that share a shape, since that shape moves both.

    Attributes:
        names: identifiers of the M muscles.
        slow: (M, M), in a movement of 2 s.
        fast: (M, M), in a movement of 0.16 s.
    """

    names: tuple[str, ...]
    slow: Floats
    fast: Floats

    def worst(self, shares: Floats, count: int | None = None) -> list[tuple[str, str, float]]:
        """The moving muscle, the muscle with the largest force beside it and its share: one per row, largest first.

        Args:
            shares: ``slow`` or ``fast``.
            count: of rows; all if not given.
        """
        others = shares - np.diag(np.diag(shares))
        columns = others.argmax(1)
        rows = np.argsort(-others.max(1), kind="stable")[:count]
        return [(self.names[i], self.names[columns[i]], float(others[i, columns[i]])) for i in rows]

    def to_json(self) -> dict[str, Any]:
        """Names and matrices, and the median and the worst of the rows' largest leaks, as JSON values."""
        described: dict[str, Any] = {"muscles": list(self.names)}
        for name, shares in (("slow", self.slow), ("fast", self.fast)):
            rows = self.worst(shares)
            described[name] = {
                "median": float(np.median([share for _, _, share in rows])),
                "worst": dict(zip(("moving", "other", "share"), rows[0], strict=True)),
                "shares": shares.tolist(),
            }
        return described


def force_leaks(dynamics: FaceDynamics, options: InverseOptions | None = None) -> Leaks:
    """Move the shapes of one muscle at a time, slowly and fast, and find the forces of all muscles.

    Args:
        dynamics: the model.
        options: of the inverse dynamics.

    Raises:
        ValueError: a muscle that moves alone gets no force itself.
    """
    moved = [[float(shape in muscle.shapes) for shape in dynamics.shape_names] for muscle in dynamics.muscles]
    shapes = torch.tensor(moved, dtype=dynamics.mass.dtype, device=dynamics.mass.device)
    shared = (shapes @ shapes.mT).cpu().numpy() > 0
    np.fill_diagonal(shared, val=False)
    found = []
    for duration in (SLOW, FAST):
        forces, _ = dynamics.inverse(_pulse(duration, dynamics).to(shapes)[:, None] * shapes[:, None], None, options)
        peaks = np.stack([force_strength(force).max(0) for force in forces])
        own = peaks.diagonal()
        if not (own > 0).all():
            raise ValueError(f"muscle {dynamics.muscles.names[int(own.argmin())]} moves alone and gets no force")
        found.append(np.where(shared, 0.0, peaks / own[:, None]))
    return Leaks(dynamics.muscles.names, *found)


def _pulse(duration: float, dynamics: FaceDynamics) -> torch.Tensor:
    """(T,) a raised cosine of this duration [s] between two rests."""
    fps = dynamics.config.fps
    moving = max(round(duration * fps), 2)
    wave = 0.5 - 0.5 * torch.cos(torch.linspace(0, 2 * torch.pi, moving + 1, dtype=torch.float64))
    rest = torch.zeros(round(_REST * fps), dtype=torch.float64)
    return _AMPLITUDE * torch.cat([rest, wave, rest])
