"""Left and right of a face: mirror images as a second view, and action units of each side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from biomechau.models.physics_regressor import PhysicsParameters
from biomechau.physics.dynamics import FaceDynamics
from biomechau.rig.face_rig import FaceRig
from biomechau.rig.mirrored_mesh import mirror_reflection
from biomechau.rig.muscles import Muscles
from biomechau.rig.names import mirror_order

# They say how the mouth as a whole is open, whichever side pulls.
_WHOLE = frozenset({25, 26, 27})


class Sides(nn.Module):
    """A face and its mirror image, as two views (..., 2, T, C) of the same motion.

    Networks read both views with the same weights: in the first the left is a muscle's *own* side and the right the
    other one, in the second it is the reverse. What they say of the own side in the first view is said of the left, in
    the second of the right, so that a mirrored motion gives the mirrored result.

    Args:
        dynamics: its shapes and muscles.
        rig: of the dynamics.
        action_units: numbers of the R action units.

    Attributes:
        shapes: (K',) int64, the mirror image of each shape.
        muscles: (M,) int64, the muscle on the other side of each; itself in the middle.
        paired: (R,) bool, True for units that each side can show alone, see :func:`paired_units`.
        reflection: (3, 3), mirrors displacements.

    Raises:
        ValueError: a shape or a muscle has no mirror image.
    """

    shapes: Tensor
    muscles: Tensor
    paired: Tensor
    reflection: Tensor

    def __init__(self, dynamics: FaceDynamics, rig: FaceRig, action_units: Sequence[int]) -> None:
        super().__init__()
        try:
            shapes, muscles = mirror_order(dynamics.shape_names), _mirrored_muscles(dynamics.muscles)
        except ValueError as error:
            raise ValueError(f"{error}, so left and right cannot be mirrored: switch sides off (--no-sides)") from error
        for name, value in (
            ("shapes", torch.tensor(shapes)),
            ("muscles", torch.tensor(muscles)),
            ("paired", torch.tensor([unit in paired_units(dynamics.muscles) for unit in action_units])),
            ("reflection", mirror_reflection(rig).to(dynamics.mass)),
        ):
            self.register_buffer(name, value, persistent=False)

    def coefficients(self, c: Tensor) -> Tensor:
        """c (..., T, K') to both views (..., 2, T, K')."""
        return torch.stack([c, c[..., self.shapes]], -3)

    def forces(self, forces: Tensor, vector: bool) -> Tensor:
        """F (..., T, M), or (..., T, M, 3) with ``vector``, to both views (..., 2, T, M[, 3])."""
        return torch.stack([forces, self._mirrored(forces, vector)], -4 if vector else -3)

    def physics(self, both: PhysicsParameters, vector: bool) -> PhysicsParameters:
        """The parameters of a face from those that a network finds in each view: their mean, the second mirrored."""
        first, second = both.forces.unbind(-4 if vector else -3)
        forces = (first + self._mirrored(second, vector)) / 2
        mass = slack = None
        if both.mass is not None:
            first, second = both.mass.unbind(-3)
            mass = (first + second[..., self.shapes, :][..., self.shapes]) / 2
        if both.slack is not None:
            first, second = both.slack.unbind(-3)
            slack = (first + second[..., self.shapes]) / 2
        return PhysicsParameters(forces, mass, slack)

    def of_each(self, values: Tensor, units: Tensor | None = None) -> Tensor:
        """What is said of the own side in each view, (..., 2, T, R), as left and right (..., T, R, 2).

        Units without sides have the mean of both. ``units`` (I,) are the positions of some units, if it is said of
        these alone.
        """
        sides, paired = values.movedim(-3, -1), self.paired if units is None else self.paired[units]
        return torch.where(paired[:, None], sides, sides.mean(-1, keepdim=True))

    def either(self, logits: Tensor) -> Tensor:
        """Logits (..., T, R) of a unit on either side, from those of left and right (..., T, R, 2)."""
        return torch.where(self.paired, noisy_or(*logits.unbind(-1)), logits[..., 0])

    def _mirrored(self, forces: Tensor, vector: bool) -> Tensor:
        return forces[..., self.muscles, :] @ self.reflection if vector else forces[..., self.muscles]


def noisy_or(a: Tensor, b: Tensor) -> Tensor:
    """The logit of p = 1 - (1 - p_a) (1 - p_b) from the logits a and b, of one shape.

    The odds p / (1 - p) = (1 + e^a) (1 + e^b) - 1 = e^a + e^b + e^(a + b).
    """
    return torch.stack([a, b, a + b]).logsumexp(0)


def paired_units(muscles: Muscles) -> frozenset[int]:
    """Numbers of the action units that each side of the face can show alone: all muscles of theirs have a side.

    AU25 to AU27 are none: they tell how the whole mouth is open.
    """
    units = {unit for muscle in muscles for unit in muscle.action_units}
    middle = {unit for muscle in muscles if muscle.side == "both" for unit in muscle.action_units}
    return frozenset(units - middle - _WHOLE)


def _mirrored_muscles(muscles: Muscles) -> list[int]:
    other = {"left": "right", "right": "left"}
    index = {(muscle.name, muscle.side): position for position, muscle in enumerate(muscles)}
    order = []
    for muscle in muscles:
        mirrored = (muscle.name, other.get(muscle.side, muscle.side))
        if mirrored not in index:
            raise ValueError(f"muscle {muscle.identifier} has no counterpart on the other side")
        order.append(index[mirrored])
    return order
