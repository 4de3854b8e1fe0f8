"""The index of asymmetry of a person, and the ratio of sums, on forces that were made and on simulated people."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch

from biomechau.analysis import AsymmetryIndex, asymmetry_index, ratio_of_sums
from biomechau.corpus.simulator import SimulatedSequence, SimulationConfig, simulate, simulation
from biomechau.physics import FaceDynamics, InverseOptions, inverse_dynamics
from biomechau.rig import Distribution, FaceRig, Muscles
from biomechau.rig.muscles import Muscle

UPPER = ("frontalis_medialis", "corrugator_supercilii")
LOWER = ("zygomaticus_major", "levator_labii_superioris", "depressor_anguli_oris")
MUSCLES = Muscles(m for m in Muscles.facs() if m.name in (*UPPER, *LOWER, "orbicularis_oris", "digastric"))


def forces(left: float = 1.0, right: float = 1.0, region: tuple[str, ...] = UPPER + LOWER, seed: int = 0) -> np.ndarray:
    """(1000, M) displays alike on both sides up to a scale, with noise of their own and a floor."""
    rng = np.random.default_rng(seed)
    shown = {muscle.name: rng.gamma(0.5, 1, 40).repeat(25) for muscle in MUSCLES}
    scale = {"left": left, "right": right, "both": 1.0}
    columns = [
        (scale[muscle.side] if muscle.name in region else 1.0) * shown[muscle.name] + 0.3 + 0.02 * rng.random(1000)
        for muscle in MUSCLES
    ]
    return np.stack(columns, 1)


def test_a_weak_side_is_found_in_spite_of_a_floor() -> None:
    """40 % weaker: (1 - .6) / (1 + .6) = .25; the ratio of sums is far below."""
    weak = forces(right=0.6)
    found = asymmetry_index(weak, MUSCLES)
    assert found == pytest.approx([0.25, 0.25, 0.25], abs=0.01)
    sums = ratio_of_sums(weak, MUSCLES.names)
    assert all(value is not None and 0.05 < value < 0.18 for value in sums.values())
    assert asymmetry_index(forces(), MUSCLES) == pytest.approx([0, 0, 0], abs=0.01)


def test_a_mirrored_person_has_the_opposite_index() -> None:
    weak = forces(left=0.5, region=LOWER, seed=1)
    other = {"left": "right", "right": "left", "both": "both"}
    column = {(muscle.name, muscle.side): index for index, muscle in enumerate(MUSCLES)}
    mirrored = weak[:, [column[muscle.name, other[muscle.side]] for muscle in MUSCLES]]
    found, opposite = asymmetry_index(weak, MUSCLES), asymmetry_index(mirrored, MUSCLES)
    assert found.lower == pytest.approx(-1 / 3, abs=0.01)
    for one, two in zip(found, opposite, strict=True):
        assert one is not None
        assert two == pytest.approx(-one, abs=1e-12)


def test_a_weak_mouth_leaves_the_upper_face_even() -> None:
    found = asymmetry_index(forces(right=0.6, region=LOWER), MUSCLES)
    assert found.upper == pytest.approx(0, abs=0.01)
    assert found.lower == pytest.approx(0.25, abs=0.01)
    assert found.upper is not None
    assert found.total is not None
    assert found.lower is not None
    assert found.upper < found.total < found.lower


def test_recordings_of_a_person_count_together() -> None:
    first, second = forces(right=0.6, seed=2), forces(right=0.6, seed=3)
    both = asymmetry_index([first, second], MUSCLES)
    assert both == asymmetry_index(np.concatenate([first, second]), MUSCLES)
    tensors = [torch.from_numpy(first), torch.from_numpy(second)]
    assert asymmetry_index(tensors, MUSCLES) == both


def test_frames_without_a_face_do_not_count() -> None:
    weak = forces(right=0.6)
    gaps = np.insert(weak, [10, 500, 500], np.nan, axis=0)
    assert asymmetry_index(gaps, MUSCLES) == asymmetry_index(weak, MUSCLES)


def test_what_is_constant_does_not_count() -> None:
    """An asymmetry at rest adds to the sums and not to the index."""
    rest = forces()
    rest[:, [index for index, muscle in enumerate(MUSCLES) if muscle.side == "left"]] += 2
    assert asymmetry_index(rest, MUSCLES)[1:] == pytest.approx(asymmetry_index(forces(), MUSCLES)[1:], abs=1e-9)


@pytest.mark.parametrize(("count", "value"), [(50, 0.0), (50, 0.1), (1, 1.0), (0, 0.0), (9, np.nan)])
def test_a_face_that_does_not_move_has_no_index(count: int, value: float) -> None:
    assert asymmetry_index(np.full((count, len(MUSCLES)), value), MUSCLES) == AsymmetryIndex(None, None, None)


def test_a_region_that_does_not_move_has_no_index() -> None:
    still = forces(right=0.6)
    still[:, [index for index, muscle in enumerate(MUSCLES) if muscle.name in LOWER]] = 0.0
    found = asymmetry_index(still, MUSCLES)
    assert found.lower is None
    assert found.total == found.upper == pytest.approx(0.25, abs=0.01)


def test_a_region_that_is_held_has_no_index() -> None:
    """What a solver lets through from the other region, in proportion, is no movement of its own."""
    held = forces(right=0.6)
    through = held[:, [index for index, muscle in enumerate(MUSCLES) if muscle.name == "zygomaticus_major"]]
    for left, name in enumerate(UPPER):
        held[:, [i for i, muscle in enumerate(MUSCLES) if muscle.name == name]] = 3.0 + left + 2e-3 * through
    found = asymmetry_index(held, MUSCLES)
    assert found.upper is None
    assert found.total == found.lower == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_side(seed: int) -> None:
    """The axis of independent noise points anywhere."""
    rng = np.random.default_rng(seed)
    quiet = forces(right=0.6)
    for index, muscle in enumerate(MUSCLES):
        if muscle.name in UPPER:
            quiet[:, index] = np.maximum(0.3 + 0.02 * rng.standard_normal(1000), 0)
    found = asymmetry_index(quiet, MUSCLES)
    assert found.upper is None
    assert found.total == found.lower == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(("left", "right", "index"), [(1, 0, 1), (0, 1, -1), (1, 0.2, 1), (0.2, 1, -1), (0.5, 0.5, 0)])
def test_sides_that_never_move_together(left: float, right: float, index: float) -> None:
    """Where the signs of the axis differ, the larger side counts alone."""
    pair = [muscle for muscle in MUSCLES if muscle.name == "zygomaticus_major"]
    values = np.array([[0, 0], [left, 0], [0, right], [0, 0]])
    assert asymmetry_index(values, pair) == AsymmetryIndex(index, None, index)


def test_other_muscles_and_shapes() -> None:
    alone = [Muscle("a", "left", "sheet", (12,), ()), Muscle("b", "both", "sheet", (), ())]
    assert asymmetry_index(np.random.default_rng(0).random((9, 2)), alone) == AsymmetryIndex(None, None, None)
    with pytest.raises(ValueError, match=r"forces must have shape \(T, 2\), got \(9, 3\)"):
        asymmetry_index(np.zeros((9, 3)), alone)


def test_ratio_of_sums_is_the_share_of_the_difference() -> None:
    names = ("a_left", "a_right", "b_left", "b_right", "c", "d_left", "d_right", "e_left")
    strength = np.array([[3.0, 1.0, 0.0, 2.0, 5.0, 0.04, 0.0, 1.0], [3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.01, 1.0]])
    # d is below 1 % of the strongest peak, c has no sides, e has no right.
    assert ratio_of_sums(strength, names) == {"a": 0.5, "b": -1.0, "d": None}


def test_ratio_of_sums_of_a_face_at_rest_is_null_throughout() -> None:
    assert ratio_of_sums(np.zeros((5, 2)), ("a_left", "a_right")) == {"a": None}


class Simulated(NamedTuple):
    """What is found of a simulated person, and what the simulator's own muscles did."""

    found: AsymmetryIndex
    sums: float
    truth: float


def simulated_people(patch: pytest.MonkeyPatch, strengths: list[tuple[float, float]], seed: int) -> list[Simulated]:
    """People whose sides move apart, with given strengths (left, right): three recordings of 4 s each."""
    drawn = iter(strengths)
    patch.setattr(simulation, "weak_side", lambda rng: np.array(next(drawn)))
    rig = FaceRig.builtin(1000)
    dynamics = FaceDynamics(rig, Distribution.from_rig(rig))
    size = SimulationConfig(len(strengths), 3, 100, hardness=1.0, seed=seed, coarse_vertices=400)
    people: dict[str, list[SimulatedSequence]] = {}
    for sequence in simulate(rig, size):
        people.setdefault(sequence.subject, []).append(sequence)
    found = []
    for sequences in people.values():
        forces = []
        for sequence in sequences:
            coefficients = sequence.coefficients[:, dynamics.shape_indices]
            result = inverse_dynamics(dynamics, coefficients, None, InverseOptions(), None, sequence.valid)
            forces.append(result.forces[sequence.valid])
        true = torch.cat([sequence.muscle_forces for sequence in sequences])
        index = asymmetry_index(forces, dynamics.muscles)
        sums = share(torch.cat(forces), dynamics.muscles.names)
        found.append(Simulated(index, sums, share(true, sequences[0].muscle_names)))
    return found


def share(forces: torch.Tensor, names: tuple[str, ...]) -> float:
    """(L - R) / (L + R) of all paired muscles."""
    left, right = (float(forces[:, [name.endswith(side) for name in names]].sum()) for side in ("left", "right"))
    return (left - right) / (left + right)


@pytest.mark.slow
def test_a_weak_side_of_simulated_people_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same people with even sides and 40 % weaker on the left, by plain forces."""
    even = simulated_people(monkeypatch, [(1.0, 1.0)] * 6, 1)
    weak = simulated_people(monkeypatch, [(0.6, 1.0)] * 6, 1)
    index = np.array([[person.found.total, person.truth, person.sums] for person in (*even, *weak)], float)
    error, error_of_sums = (np.abs(index[:, column] - index[:, 1]).mean() for column in (0, 2))
    assert error < 0.08
    assert error < error_of_sums
    # (1 - .6) / (1 + .6) is .25; each person's sides differ by themselves too.
    shift = index[:6, 0] - index[6:, 0]
    assert shift.mean() == pytest.approx(0.25, abs=0.06)
    assert shift.min() > 0.12
    assert np.abs(index[:6, 0].mean()) < 0.1
