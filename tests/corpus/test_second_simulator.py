"""The second simulator, and the first with a tracker without errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from biomechau.corpus.simulator import SimulationConfig, simulate
from biomechau.corpus.simulator.second_simulator import SecondRecording, simulate_second
from biomechau.rig import FaceRig, Muscles


@pytest.fixture(scope="module")
def rig() -> FaceRig:
    return FaceRig.builtin(num_vertices=1000)


def recordings(rig: FaceRig, **options: float) -> list[SecondRecording]:
    muscles = Muscles.facs().match(rig.names).muscles
    return list(simulate_second(rig, muscles, people=3, frames=200, **options))  # pyright: ignore[reportArgumentType]


def correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) / (a.square().sum(0) * b.square().sum(0)).sqrt().clamp_min(1e-30)


def test_the_same_people_for_the_same_seed(rig: FaceRig) -> None:
    first, again, others = recordings(rig, seed=1), recordings(rig, seed=1), recordings(rig, seed=2)
    for a, b, c in zip(first, again, others, strict=True):
        assert torch.equal(a.coefficients, b.coefficients)
        assert torch.equal(a.forces, b.forces)
        assert not torch.equal(a.forces, c.forces)
        assert a.coefficients.shape == a.clean.shape == (200, rig.num_shapes)
        assert bool((a.forces >= 0).all())
        assert bool(((a.coefficients >= 0) & a.coefficients.isfinite()).all())


def test_forces_show_in_their_own_shapes_and_noise_hides_them(rig: FaceRig) -> None:
    muscles = Muscles.facs().match(rig.names).muscles
    found = recordings(rig, seed=3)
    forces = torch.cat([recording.forces for recording in found])
    own = torch.tensor([[float(name in muscle.shapes) for muscle in muscles] for name in rig.names]).double()
    clean, noisy = (
        correlation(torch.cat([getattr(recording, kind) for recording in found]) @ own, forces).median()
        for kind in ("clean", "coefficients")
    )
    assert noisy < clean
    assert clean > 0.8


def test_a_weak_side_pulls_less(rig: FaceRig) -> None:
    muscles = Muscles.facs().match(rig.names).muscles
    for weak, healthy in zip(recordings(rig, seed=4, weak=1.0), recordings(rig, seed=4), strict=True):
        assert healthy.strength.tolist() == [1, 1]
        assert sorted(weak.strength.tolist())[1] == 1
        assert min(weak.strength) < 0.6
        side = ("left", "right")[int(weak.strength.argmin())]
        columns = [muscle.side == side for muscle in muscles]
        torch.testing.assert_close(weak.forces[:, columns], min(weak.strength) * healthy.forces[:, columns])


def test_a_clean_tracker_sees_the_same_people_without_errors(rig: FaceRig) -> None:
    def seen(trackers: str) -> list[tuple[Tensor, Tensor]]:
        config = SimulationConfig(subjects=1, sequences=2, frames=40, trackers=trackers, coarse_vertices=400)  # pyright: ignore[reportArgumentType]
        return [(sequence.coefficients, sequence.muscle_forces) for sequence in simulate(rig, config)]

    for (clean, forces), (noisy, same) in zip(seen("clean"), seen("alike"), strict=True):
        assert torch.equal(forces, same)
        assert clean.diff(dim=0).square().mean() < 0.5 * noisy.diff(dim=0).square().mean()
        moved = clean.std(0).argmax()
        assert correlation(clean, noisy)[moved] > 0.8
