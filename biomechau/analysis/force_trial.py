"""A trial of the inverse on simulated people: how well each muscle's force comes back, by which metric."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from biomechau.analysis._linear_filter import LinearFilter
from biomechau.analysis.ensemble import Ensemble
from biomechau.analysis.learned_metric import SimulatedPerson, simulated_people, together
from biomechau.corpus.simulator import SimulationConfig
from biomechau.corpus.simulator.second_simulator import SecondRecording, simulate_second
from biomechau.physics import FaceDynamics, ForceMetric, InverseOptions, inverse_dynamics
from biomechau.physics.force_metric import ACTIVE, NORMAL_90, person_correlations
from biomechau.rig import FaceRig

GROUPS = {
    "package": "the package's simulator: displays, random sets and single units",
    "second": "the second simulator: other tissue, tracker, muscles and behaviour",
    "random": "the package's simulator: random sets and single units alone",
    "weak": "the second simulator: each person has one weak side",
}
Method = Literal["own channel", "detector", "plain", "plain, at rest", "learned", "filter"]
METHODS: tuple[Method, ...] = get_args(Method)
HARDNESS = (1.0, 2.0)
_FIRST_SEED = 500  # of people that nothing was learned from or chosen on, but for the filter
_FILTER_SEED, _FILTER_PEOPLE = 900, 60  # the people of the filter: others of the same group, hardness and tracker
_TOLERANCE = 1e-4  # of the solver: far below what r shows


@dataclass(frozen=True)
class Score:
    """Result of one method on the people of one group and seed.

    Attributes:
        group: of ``GROUPS``.
        hardness: of the simulator.
        clean: whether the tracker was without noise.
        seed: of the people.
        method: of ``METHODS``.
        r: correlation of each muscle's force with the true one, over all frames of all people; None where a muscle
            never pulls.
        r_of_people: the same of each person who uses the muscle, both sides together; see
            :func:`biomechau.physics.force_metric.person_correlations`.
        asymmetry_r, asymmetry_error: of each person's (L - R) / (L + R) of all paired muscles, with the true one: r
            over people, and the mean absolute difference.
        coverage: share of the true forces within 1.645 standard deviations of the found ones, where one of the two is
            above 0.05; of the learned metric alone.
        coverage_all: the same of all forces, most of which are 0.
    """

    group: str
    hardness: float
    clean: bool
    seed: int
    method: Method
    r: dict[str, float | None]
    r_of_people: dict[str, list[float]]
    asymmetry_r: float
    asymmetry_error: float
    coverage: float | None = None
    coverage_all: float | None = None

    @property
    def median(self) -> float:
        """Median of r over the muscles."""
        return float(np.median([value for value in self.r.values() if value is not None]))

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {**self.__dict__, "median": self.median}


def run_force_trial(
    rig: FaceRig,
    dynamics: FaceDynamics,
    learned: ForceMetric,
    ensemble: Ensemble,
    people: int,
    seeds: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """All groups, at hardness 1 and 2, noisy and clean, by each method.

    Args:
        rig: the face.
        dynamics: its model, in float64 and at 25 frames per second.
        learned: its learned metric.
        ensemble: detectors whose forces take part, of the same shapes and muscles.
        people: of each group and seed.
        seeds: number of sets of people.
        progress: called with (sets of people done, sets in all).

    Raises:
        ValueError: detectors without physics, or of other shapes or muscles.
    """
    _check(ensemble, dynamics)
    conditions = list(itertools.product(GROUPS, HARDNESS, (False, True)))
    scores: list[Score] = []
    for done, (group, hardness, clean) in enumerate(conditions):
        linear = LinearFilter(list(_people(rig, dynamics, group, hardness, clean, _FILTER_SEED, _FILTER_PEOPLE)))
        for seed in range(seeds):
            seen = list(_people(rig, dynamics, group, hardness, clean, _FIRST_SEED + seed, people))
            for method in METHODS:
                counts = [len(person.valid) for person in seen]
                forces, spread = _forces(dynamics, learned, ensemble, linear, method, seen)
                spreads = [None] * len(seen) if spread is None else spread.split(counts)
                found = list(zip(forces.split(counts), spreads, strict=True))
                scores.append(_score(group, hardness, clean, _FIRST_SEED + seed, method, dynamics, seen, found))
            if progress is not None:
                progress(done * seeds + seed + 1, len(conditions) * seeds)
    return scores


def _people(
    rig: FaceRig, dynamics: FaceDynamics, group: str, hardness: float, clean: bool, seed: int, count: int
) -> Iterable[SimulatedPerson]:
    if group in ("second", "weak"):
        weak = float(group == "weak")
        for recording in simulate_second(rig, dynamics.muscles, count, hardness=hardness, weak=weak, seed=seed):
            yield second_person(recording, dynamics, clean)
        return
    config = SimulationConfig(
        subjects=count,
        hardness=hardness,
        seed=seed,
        displays="random" if group == "random" else "mixed",
        trackers="clean" if clean else "varied",
    )
    yield from simulated_people(rig, dynamics, config)


def second_person(recording: SecondRecording, dynamics: FaceDynamics, clean: bool = False) -> SimulatedPerson:
    """A person of the second simulator, by the shapes of a model."""
    c = (recording.clean if clean else recording.coefficients)[None, :, dynamics.shape_indices]
    valid = torch.ones(c.shape[:2], dtype=torch.bool)
    return SimulatedPerson(c, recording.forces[None], valid, dynamics.config.fps)


def own_channels(dynamics: FaceDynamics, c: Tensor) -> Tensor:
    """(..., M) mean of the coefficients (..., K') of each muscle's own shapes: forces without any physics."""
    own = [[float(shape in muscle.shapes) for muscle in dynamics.muscles] for shape in dynamics.shape_names]
    shapes = torch.tensor(own, dtype=torch.float64)
    return c @ (shapes / shapes.sum(0))


def _check(ensemble: Ensemble, dynamics: FaceDynamics) -> None:
    own = ensemble.dynamics
    config = ensemble.config
    if not config.uses_forces or config.uses_images or config.uses_mesh or own.config.force != dynamics.config.force:
        raise ValueError(f"{ensemble.path}: expected detectors with fibre forces from coefficients alone")
    if (own.shape_names, own.muscles.names) != (dynamics.shape_names, dynamics.muscles.names):
        raise ValueError(f"{ensemble.path}: its detectors have other shapes or muscles than the rig of the trial")


@torch.no_grad()
def _forces(
    dynamics: FaceDynamics,
    learned: ForceMetric,
    ensemble: Ensemble,
    linear: LinearFilter,
    method: Method,
    people: list[SimulatedPerson],
) -> tuple[Tensor, Tensor | None]:
    """Forces (S, T, M), and their standard deviations by the learned metric."""
    if method == "filter":
        return linear.forces(people), None
    c, _, valid, neutral = together(people)
    if method == "detector":
        inputs = {"coefficients": c.to(ensemble.dynamics.mass.dtype)}
        found = [detector(inputs).forces for detector in ensemble.detectors.values()]
        return torch.stack([forces for forces in found if forces is not None]).mean(0).double(), None
    if method == "own channel":
        return own_channels(dynamics, c), None
    options = InverseOptions(metric="learned" if method == "learned" else "coefficients", tolerance=_TOLERANCE)
    at_rest = None if method == "plain" else neutral
    metric = learned if method == "learned" else None
    result = inverse_dynamics(dynamics, c, None, options, None, valid, metric, metric is not None, at_rest)
    return result.forces, result.deviation


def _score(
    group: str,
    hardness: float,
    clean: bool,
    seed: int,
    method: Method,
    dynamics: FaceDynamics,
    people: list[SimulatedPerson],
    results: list[tuple[Tensor, Tensor | None]],
) -> Score:
    found = [forces for forces, _ in results]
    truth = torch.cat([person.forces[person.valid] for person in people]).numpy()
    guess = torch.cat([forces[person.valid] for person, forces in zip(people, found, strict=True)]).numpy()
    names = dynamics.muscles.names
    r = {
        name: float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else (None if a.std() == 0 else 0.0)
        for name, a, b in zip(names, truth.T, guess.T, strict=True)
    }
    sides = [[name.endswith(f"_{side}") for name in names] for side in ("left", "right")]
    index = np.array(
        [
            [_uneven(forces[person.valid], sides) for person, forces in zip(people, set_of, strict=True)]
            for set_of in ([person.forces for person in people], found)
        ]
    )
    asymmetry_r = float(np.corrcoef(index)[0, 1]) if index.std(1).min() > 0 else 0.0
    error = float(np.abs(index[0] - index[1]).mean())
    coverage: tuple[float | None, float | None] = None, None
    spread = [
        deviation[person.valid] for person, (_, deviation) in zip(people, results, strict=True) if deviation is not None
    ]
    if spread:
        inside = np.abs(guess - truth) <= NORMAL_90 * torch.cat(spread).numpy() + 1e-9
        active = (guess > ACTIVE) | (truth > ACTIVE)
        coverage = float(inside[active].mean()), float(inside.mean())
    each = torch.stack(
        [
            person_correlations(names, forces[person.valid], person.forces[person.valid])
            for person, forces in zip(people, found, strict=True)
        ]
    )
    of_people = {name: column[~column.isnan()].tolist() for name, column in zip(names, each.T, strict=True)}
    return Score(group, hardness, clean, seed, method, r, of_people, asymmetry_r, error, *coverage)


def _uneven(forces: Tensor, sides: list[list[bool]]) -> float:
    left, right = (float(forces[:, side].sum()) for side in sides)
    return (left - right) / (left + right) if left + right > 0 else 0.0
