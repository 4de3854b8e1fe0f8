"""The learned metric of a rig: what simulated people on it teach inverse dynamics."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from biomechau.corpus.simulator import SimulationConfig, simulate
from biomechau.physics import FaceDynamics, ForceMetric, required_force
from biomechau.physics.force_metric import CUTOFF, NEUTRAL
from biomechau.physics.neutral import neutral_coefficients
from biomechau.physics.smoothing import whittaker
from biomechau.rig import FaceRig

# Displays of a table, random sets and single units, the sides of the face apart.
PEOPLE = (
    SimulationConfig(subjects=24, hardness=2.0, seed=11_001),
    SimulationConfig(subjects=16, hardness=1.5, seed=11_002),
)


def learn_metric(
    rig: FaceRig, dynamics: FaceDynamics, progress: Callable[[int, int], None] | None = None
) -> ForceMetric:
    """Simulate people on a rig, and estimate the errors of their coefficients and the distribution of their forces.

    Takes about a minute; the same for every frame rate of the model.

    Args:
        rig: the face.
        dynamics: its model, with the law ``elastic`` and fibre forces.
        progress: called with (sequences done, sequences in all).

    Raises:
        ValueError: another law or other forces, a rig whose people cannot be simulated, or muscles that they lack.
    """
    if dynamics.config.law != "elastic" or dynamics.config.force != "fibre":
        raise ValueError('the metric "learned" needs the law "elastic" and fibre forces')
    total = sum(config.subjects * config.sequences for config in PEOPLE)
    seen: list[Tensor] = []
    pulled: list[Tensor] = []
    done = 0
    stiffness = dynamics.stiffness.detach().cpu().double()
    for config in PEOPLE:
        person: list[tuple[Tensor, Tensor]] = []
        for sequence in simulate(rig, config):
            done += 1
            if progress is not None:
                progress(done, total)
            own = [sequence.muscle_names.index(n) if n in sequence.muscle_names else -1 for n in dynamics.muscles.names]
            forces = torch.cat([sequence.muscle_forces, torch.zeros(config.frames, 1)], 1)[:, own].double()
            pulled.append(forces[sequence.valid])
            person.append((sequence.coefficients[:, dynamics.shape_indices].double(), sequence.valid))
            if len(person) < config.sequences:
                continue
            motion, valid = (torch.stack(parts) for parts in zip(*person, strict=True))
            neutral = neutral_coefficients(motion.flatten(0, 1), NEUTRAL, valid.flatten())
            motion = whittaker(motion - neutral, CUTOFF, config.fps)
            force = required_force(dynamics, motion.to(dynamics.mass), 1 / config.fps).cpu().double()
            seen.append(torch.linalg.solve(stiffness, force.mT).mT[valid])
            person.clear()
    response = torch.linalg.solve(stiffness, dynamics.projection.detach().cpu().double())
    return ForceMetric.estimate(
        dynamics.shape_names, dynamics.muscles.names, torch.cat(seen), torch.cat(pulled), response
    )
