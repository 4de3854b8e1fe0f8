"""The learned metric of a rig: what simulated people on it teach inverse dynamics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from biomechau.corpus.simulator import SimulationConfig, simulate
from biomechau.physics import FaceDynamics, ForceMetric, InverseOptions, inverse_dynamics, required_force
from biomechau.physics.force_metric import CUTOFF, NEUTRAL
from biomechau.physics.neutral import neutral_coefficients
from biomechau.physics.smoothing import whittaker
from biomechau.rig import FaceRig

# Displays of a table, random sets and single units, the sides of the face apart.
PEOPLE = (
    SimulationConfig(subjects=20, hardness=2.0, seed=11_001),
    SimulationConfig(subjects=12, hardness=1.5, seed=11_002),
    SimulationConfig(subjects=16, hardness=1.0, seed=11_003),
)
_CALIBRATING = 4  # every fourth person tells how wide intervals are
_TOLERANCE = 1e-4  # of the solver: far below the deviations


class SimulatedPerson(NamedTuple):
    """Recordings of one simulated person: coefficients (S, T, K'), true forces (S, T, M), valid (S, T), frame rate.

    Forces of muscles that the simulator lacks are 0.
    """

    coefficients: Tensor
    forces: Tensor
    valid: Tensor
    fps: float

    @property
    def neutral(self) -> Tensor:
        """(K',) the neutral face that the metric takes: of the person, over all recordings."""
        return neutral_coefficients(self.coefficients.flatten(0, 1), NEUTRAL, self.valid.flatten())


def simulated_people(rig: FaceRig, dynamics: FaceDynamics, config: SimulationConfig) -> Iterator[SimulatedPerson]:
    """People of the package's simulator, by the shapes and muscles of a model, float64.

    Raises:
        ValueError: as :func:`biomechau.corpus.simulator.simulate`.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for sequence in simulate(rig, config):
        names = sequence.muscle_names
        own = [names.index(name) if name in names else len(names) for name in dynamics.muscles.names]
        forces = torch.cat([sequence.muscle_forces, torch.zeros(config.frames, 1)], 1)[:, own].double()
        parts.append((sequence.coefficients[:, dynamics.shape_indices].double(), forces, sequence.valid))
        if len(parts) == config.sequences:
            c, pulls, valid = (torch.stack(part) for part in zip(*parts, strict=True))
            yield SimulatedPerson(c, pulls, valid, config.fps)
            parts.clear()


def learn_metric(
    rig: FaceRig, dynamics: FaceDynamics, progress: Callable[[int, int], None] | None = None
) -> ForceMetric:
    """Simulate people on a rig, and estimate the errors of their coefficients and the distribution of their forces.

    Takes about a minute; the same for every frame rate of the model.

    Args:
        rig: the face.
        dynamics: its model in float64, with the law ``elastic`` and fibre forces.
        progress: called with (people done, people in all).

    Raises:
        ValueError: another law or other forces, a rig whose people cannot be simulated, or muscles that they lack.
    """
    ForceMetric.check_physics(dynamics.config)
    total = sum(config.subjects for config in PEOPLE)
    people: list[SimulatedPerson] = []
    for config in PEOPLE:
        for person in simulated_people(rig, dynamics, config):
            people.append(person)
            if progress is not None:
                progress(len(people), total)
    metric = ForceMetric.estimate(
        dynamics.shape_names,
        dynamics.muscles.names,
        torch.cat([_displacement(dynamics, person)[person.valid] for person in people]),
        torch.cat([person.forces[person.valid] for person in people]),
        torch.linalg.solve(dynamics.stiffness, dynamics.projection),
    )
    options = InverseOptions(metric="learned", tolerance=_TOLERANCE)
    c, truth, valid, neutral = together(people)
    found = inverse_dynamics(dynamics, c, 1 / people[0].fps, options, None, valid, metric, neutral=neutral)
    recordings = zip(*(x.split([len(p.valid) for p in people]) for x in (found.forces, truth, valid)), strict=True)
    metric = metric.with_recovery([(forces[seen], true[seen]) for forces, true, seen in recordings])
    c, truth, valid, neutral = together(people[::_CALIBRATING])
    found = inverse_dynamics(dynamics, c, 1 / people[0].fps, options, None, valid, metric, True, neutral)
    assert found.deviation is not None
    return metric.calibrated(found.forces[valid], found.deviation[valid], truth[valid])


def together(people: Sequence[SimulatedPerson]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coefficients, forces, valid and the neutral face (S, K') of all recordings of people."""
    c, forces, valid = (torch.cat(parts) for parts in list(zip(*people, strict=True))[:3])
    return c, forces, valid, torch.cat([person.neutral.expand(len(person.valid), -1) for person in people])


def _displacement(dynamics: FaceDynamics, person: SimulatedPerson) -> Tensor:
    """y = K^-1 (M c'' + D c' + K c), as the inverse sees it, (S, T, K')."""
    motion = whittaker(person.coefficients - person.neutral, CUTOFF, person.fps)
    return torch.linalg.solve(dynamics.stiffness, required_force(dynamics, motion, 1 / person.fps).mT).mT
