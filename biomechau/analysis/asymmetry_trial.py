"""How well the index of asymmetry tells weak sides of simulated people from even faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from biomechau.analysis.asymmetry import asymmetry_index, in_upper_face
from biomechau.analysis.face_forces import Floats
from biomechau.analysis.force_trial import HARDNESS, own_channels, second_person
from biomechau.analysis.learned_metric import SimulatedPerson, simulated_people, together
from biomechau.corpus.simulator import SimulationConfig
from biomechau.corpus.simulator.second_simulator import simulate_second
from biomechau.corpus.simulator.simulation import people
from biomechau.physics import FaceDynamics, ForceMetric, InverseOptions, inverse_dynamics
from biomechau.rig import FaceRig

GROUPS = {
    "package": "the package's simulator, where a quarter of the people have one weak side",
    "second": "the second simulator, half of the people with one weak side",
    "mouth": "the second simulator, half of the people with a weak side of nose and mouth alone; index of these",
}
Method = Literal["true forces", "own channel", "plain", "learned"]
METHODS: tuple[Method, ...] = ("true forces", "own channel", "plain", "learned")
_SEED = 900  # of people that nothing was learned from or chosen on
_SENSITIVITY = 0.9
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class AsymmetryScore:
    """How one method does on the people of one group.

    Attributes:
        group: of ``GROUPS``.
        hardness: of the simulator.
        method: of ``METHODS``.
        even, weak: number of people.
        r: correlation of the index with that of the true forces.
        error: mean absolute difference of the two.
        auc: of the size of the index, weak against even people.
        specificity: share of the even people whose index is smaller than that of nine tenths of the weak ones.
    """

    group: str
    hardness: float
    method: str
    even: int
    weak: int
    r: float
    error: float
    auc: float
    specificity: float

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return dict(self.__dict__)


def run_asymmetry_trial(
    rig: FaceRig,
    dynamics: FaceDynamics,
    learned: ForceMetric,
    count: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[AsymmetryScore]:
    """All groups at hardness 1 and 2, by each method.

    Args:
        rig: the face.
        dynamics: its model, in float64 and at 25 frames per second.
        learned: its learned metric.
        count: people of each group.
        progress: called with (people done, people in all).

    Raises:
        ValueError: fewer people than needed for some even and some weak ones.
    """
    cases = [(group, hardness) for group in GROUPS for hardness in HARDNESS]
    scores, done = [], 0
    for group, hardness in cases:
        region = 2 if group == "mouth" else 0  # of (total, upper, lower)
        weak, index = [], []
        for person, is_weak in _people(rig, dynamics, group, hardness, count):
            every = [person.forces[person.valid], *(f[person.valid] for f in _forces(dynamics, learned, person))]
            index.append([asymmetry_index(forces, dynamics.muscles)[region] or 0.0 for forces in every])
            weak.append(is_weak)
            done += 1
            if progress is not None:
                progress(done, count * len(cases))
        found = np.array(index).T
        scores += [_score(group, hardness, m, np.array(weak), found[0], f) for m, f in zip(METHODS, found, strict=True)]
    return scores


def _people(
    rig: FaceRig, dynamics: FaceDynamics, group: str, hardness: float, count: int
) -> Iterator[tuple[SimulatedPerson, bool]]:
    """People, and whether they have a weak side."""
    if group == "package":
        config = SimulationConfig(subjects=count, hardness=hardness, seed=_SEED)
        strengths = [min(p["left_strength"], p["right_strength"]) for p in people(config, rig.names)]
        for person, strength in zip(simulated_people(rig, dynamics, config), strengths, strict=True):
            yield person, strength < 1
        return
    muscles = dynamics.muscles
    only = [muscle.name for muscle in muscles if not in_upper_face(muscle)] if group == "mouth" else None
    for recording in simulate_second(rig, muscles, count, hardness=hardness, weak=0.5, seed=_SEED, weak_muscles=only):
        yield second_person(recording, dynamics), bool(recording.strength.min() < 1)


def _forces(dynamics: FaceDynamics, learned: ForceMetric, person: SimulatedPerson) -> Iterator[Tensor]:
    """Forces (S, T, M) by each method."""
    c, _, valid, neutral = together([person])
    yield own_channels(dynamics, c)
    yield inverse_dynamics(dynamics, c, None, InverseOptions(tolerance=_TOLERANCE), None, valid).forces
    options = InverseOptions(metric="learned", tolerance=_TOLERANCE)
    yield inverse_dynamics(dynamics, c, None, options, None, valid, learned, neutral=neutral).forces


def _score(group: str, hardness: float, method: str, weak: Any, truth: Floats, found: Floats) -> AsymmetryScore:
    size, even = np.abs(found[weak]), np.abs(found[~weak])
    if not len(size) or not len(even):
        raise ValueError(f"{len(found)} people of group {group} are too few: {len(size)} have a weak side")
    above = size[:, None] - even
    auc = float(((above > 0) + 0.5 * (above == 0)).mean())
    specificity = float((even < np.quantile(size, 1 - _SENSITIVITY)).mean())
    r, error = float(np.corrcoef(truth, found)[0, 1]), float(np.abs(truth - found).mean())
    return AsymmetryScore(group, hardness, method, len(even), len(size), r, error, auc, specificity)
