"""Movements made of single shapes, and what a detector says of them: whether it knows units or habits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from biomechau.models import Detector
from biomechau.rig import Muscles
from biomechau.rig.names import canonical
from biomechau.training.metrics import THRESHOLD

LEVEL = 0.7
# Neutral, rise, hold, fall and neutral again [s].
PHASES = (0.6, 0.4, 1.0, 0.4, 0.6)


@dataclass(frozen=True)
class Movement:
    """Some shapes that rise to 0.7 together, are held, and fall, while all others stay at 0.

    Attributes:
        name: of the shapes, both sides of a pair under one name.
        shapes: positions in the shapes of the detector.
        units: numbers of the action units that they show: those of the muscles whose shapes they are.
    """

    name: str
    shapes: tuple[int, ...]
    units: frozenset[int]

    def coefficients(self, num_shapes: int, fps: float, level: float = LEVEL) -> Tensor:
        """(T, K) float32."""
        rise = torch.tensor(PHASES).cumsum(0)
        time = torch.arange(round(sum(PHASES) * fps)) / fps
        up = ((time - rise[0]) / PHASES[1]).clamp(0, 1)
        down = ((rise[3] - time) / PHASES[3]).clamp(0, 1)
        motion = torch.zeros(len(time), num_shapes)
        motion[:, list(self.shapes)] = level * torch.minimum(up, down)[:, None]
        return motion


def single_movements(shape_names: Sequence[str], one_sided: bool = False) -> tuple[Movement, ...]:
    """Each shape alone, left and right together.

    Args:
        shape_names: of the detector.
        one_sided: in place of these, the left and the right shape of each pair by itself.
    """
    units: dict[str, set[int]] = {}
    for muscle in Muscles.facs():
        for shape in muscle.shapes:
            # A side that the rig does not split counts for the whole.
            for name in (canonical(shape), canonical(shape).removesuffix("_l").removesuffix("_r")):
                units.setdefault(name, set()).update(muscle.action_units)
    groups: dict[str, list[int]] = {}
    for position, name in enumerate(shape_names):
        key = canonical(name)
        paired = key.endswith(("_l", "_r"))
        if one_sided and not paired:
            continue
        groups.setdefault(name if one_sided or not paired else _without_side(name), []).append(position)
    return tuple(
        Movement(
            name,
            tuple(positions),
            frozenset(unit for p in positions for unit in units.get(canonical(shape_names[p]), ())),
        )
        for name, positions in groups.items()
    )


def _without_side(name: str) -> str:
    for ending in ("_L", "_R", "Left", "Right", "_l", "_r"):
        name = name.removesuffix(ending)
    return name


def paired_movements(single: Sequence[Movement]) -> tuple[Movement, ...]:
    """Every two of these movements at once."""
    return tuple(
        Movement(f"{a.name} + {b.name}", a.shapes + b.shapes, a.units | b.units) for a, b in combinations(single, 2)
    )


@torch.no_grad()
def movement_probabilities(detector: Detector, movements: Sequence[Movement], level: float = LEVEL) -> Tensor:
    """(n, R) what a detector in evaluation mode says of each movement: the mean over the frames in which it is held."""
    fps, num_shapes = detector.config.physics.fps, detector.dynamics.num_shapes
    motion = torch.stack([movement.coefficients(num_shapes, fps, level) for movement in movements])
    found = detector({"coefficients": motion.to(detector.dynamics.mass.dtype)}).probabilities
    held = motion.amax((0, 2)) >= 0.999 * level
    return found[:, held].double().mean(1)


def named_rightly(probabilities: Tensor, movements: Sequence[Movement], action_units: Sequence[int]) -> Tensor:
    """(n,) True where a movement's units, and no others, have a probability (n, R) of at least 0.5."""
    expected = torch.tensor([[unit in movement.units for unit in action_units] for movement in movements])
    return ((probabilities >= THRESHOLD) == expected).all(1)
