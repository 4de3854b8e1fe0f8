"""A linear filter from coefficients to forces, learned from people whose forces are known: what linear means reach."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from biomechau.analysis.learned_metric import SimulatedPerson, together

_REACH = 4  # frames before and after
_RIDGE = 0.01  # share of the mean square of the inputs, added to that of each


class LinearFilter:
    """Forces as a weighted sum of all coefficients of a frame and its neighbours, by ridge regression.

    It knows the people it is made of, so it bounds what a linear inverse can find in others like them.

    Args:
        people: with their true forces.
    """

    def __init__(self, people: Sequence[SimulatedPerson]) -> None:
        _, truth, valid, _ = together(people)
        inputs, truth = _inputs(people)[valid], truth[valid]
        gram = inputs.mT @ inputs
        gram = gram + _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        self._weight = torch.linalg.solve(gram, inputs.mT @ truth)

    def forces(self, people: Sequence[SimulatedPerson]) -> Tensor:
        """(S, T, M) >= 0 of all recordings of people, as :func:`biomechau.analysis.learned_metric.together`."""
        return (_inputs(people) @ self._weight).clamp_min(0)


def _inputs(people: Sequence[SimulatedPerson]) -> Tensor:
    """(S, T, 9 K' + 1): coefficients without the neutral face of the person, repeated beyond the ends, and 1."""
    c, _, _, neutral = together(people)
    moved = c - neutral[:, None]
    ends = moved[:, :1].expand(-1, _REACH, -1), moved[:, -1:].expand(-1, _REACH, -1)
    around = torch.cat([ends[0], moved, ends[1]], 1).unfold(1, 2 * _REACH + 1, 1).flatten(2)
    return torch.cat([around, around.new_ones(*around.shape[:2], 1)], -1)
