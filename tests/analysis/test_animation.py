"""Forces back to motion: the round trip, sides, gains, what ARKit cannot hold, and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from biomechau import animate
from biomechau.analysis import Animation, CaptureForces, analyse
from biomechau.analysis.animation import mirrored, with_gains
from biomechau.corpus import FaceSequence, read_sequence
from biomechau.physics import FaceDynamics, PhysicsConfig
from biomechau.rig import Distribution, FaceRig, Muscles


@pytest.fixture(scope="module")
def muscles() -> Muscles:
    """Those that the tiny rig has shapes for."""
    return Muscles(
        muscle
        for muscle in Muscles.facs()
        if muscle.shapes and {*muscle.shapes} <= {"mouthSmile_L", "mouthSmile_R", "jawOpen", "mouthPucker"}
    )


@pytest.fixture(scope="module")
def dynamics(tiny_rig: FaceRig, muscles: Muscles) -> FaceDynamics:
    return FaceDynamics(tiny_rig, Distribution.from_rig(tiny_rig, muscles), dtype=torch.float64)


def sequence_of(found: CaptureForces, motion: torch.Tensor) -> FaceSequence:
    """A recording of a motion."""
    count, fps = len(motion), found.sequence.fps
    return FaceSequence(
        name="again",
        coefficients=motion.float(),
        channels=found.dynamics.shape_names,
        timestamp=torch.arange(count, dtype=torch.float64) / fps,
        valid=torch.ones(count, dtype=torch.bool),
        fps=fps,
    )


def round_trip(found: CaptureForces) -> list[float]:
    """Correlation of each muscle's forces with those of the motion that they make; muscles that never pull left out."""
    motion = animate(found.dynamics, found.forces)
    again = analyse(sequence_of(found, motion), found.rig, found.dynamics.config)
    valid = found.sequence.valid.numpy()
    before, after = found.strength[valid], again.strength[valid]
    pulling = before.max(0) > 0.01 * before.max()
    assert pulling.any()
    return [float(np.corrcoef(before[:, m], after[:, m])[0, 1]) for m in np.flatnonzero(pulling)]


def test_forces_come_back(report: CaptureForces) -> None:
    assert min(round_trip(report)) > 0.98
    motion = animate(report.dynamics, report.forces)
    smile = report.dynamics.shape_names.index("mouthSmile_L")
    assert np.corrcoef(motion[:, smile], report.coefficients[:, smile])[0, 1] > 0.99


@pytest.mark.parametrize("fps", [25.0, 60.0])
def test_forces_of_a_real_recording_come_back(capture_csv: Path, fps: float) -> None:
    rig = FaceRig.builtin(1500)
    found = analyse(read_sequence(capture_csv, rig), rig, PhysicsConfig(fps=fps))
    r = round_trip(found)
    assert len(r) > 20
    assert np.median(r) > 0.98
    assert min(r) > 0.95


@pytest.mark.parametrize("scheme", ["implicit", "semi_implicit", "explicit"])
def test_the_force_of_a_frame_acts_when_inverse_dynamics_says(tiny_rig: FaceRig, muscles: Muscles, scheme: str) -> None:
    """A motion from rest is reconstructed from its own forces."""
    config = PhysicsConfig.from_json({**PhysicsConfig(fps=200.0).to_json(), "scheme": scheme})
    dynamics = FaceDynamics(tiny_rig, Distribution.from_rig(tiny_rig, muscles), config, torch.float64)
    forces = torch.rand(30, dynamics.num_muscles, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    motion = animate(dynamics, forces)
    assert motion.shape == (30, dynamics.num_shapes)
    rest = motion.new_zeros(dynamics.num_shapes)
    if scheme == "implicit":
        # One step of (M + hD + h^2 K) v = h Q from rest.
        step = torch.linalg.solve(dynamics.mass + config.dt * dynamics.damping + config.dt**2 * dynamics.stiffness,
                                  config.dt**2 * dynamics.projection @ forces[0])  # fmt: skip
        torch.testing.assert_close(motion[0], step)
    else:
        torch.testing.assert_close(motion[0], rest)
        torch.testing.assert_close(motion[1:], dynamics.rollout(forces[:-1], rest, rest)[0])
        torch.testing.assert_close(animate(dynamics, forces[:1]), rest[None])


def test_forces_that_are_held_hold_the_expression(dynamics: FaceDynamics) -> None:
    forces = torch.zeros(100, dynamics.num_muscles, dtype=torch.float64)
    smile = dynamics.muscles.names.index("zygomaticus_major_left")
    forces[:, smile] = 0.7
    end = animate(dynamics, forces)[-1]
    expected = torch.zeros_like(end)
    expected[dynamics.shape_names.index("mouthSmile_L")] = 0.7
    torch.testing.assert_close(end, expected, atol=1e-4, rtol=0)


def test_batches_and_gradients(dynamics: FaceDynamics) -> None:
    forces = torch.rand(2, 3, 10, dynamics.num_muscles, dtype=torch.float64, requires_grad=True)
    motion = animate(dynamics, forces)
    torch.testing.assert_close(motion[1, 2], animate(dynamics, forces[1, 2]))
    motion.sum().backward()
    assert forces.grad is not None
    assert bool(forces.grad.isfinite().all())


def test_wrong_forces_are_named(dynamics: FaceDynamics) -> None:
    forces = torch.zeros(4, dynamics.num_muscles, dtype=torch.float64)
    with pytest.raises(TypeError, match="forces must be torch.float64"):
        animate(dynamics, forces.float())
    with pytest.raises(ValueError, match=r"forces must have shape \(\.\.\., T, \d+\) with T >= 1, got \(0, "):
        animate(dynamics, forces[:0])
    with pytest.raises(ValueError, match=r"forces must have shape \(\.\.\., T, "):
        animate(dynamics, forces[0])
    forces[2, 1] = -0.5
    name = dynamics.muscles.names[1]
    with pytest.raises(ValueError, match=f"forces must be finite and not negative, got -0.5 at frame 2, {name}"):
        animate(dynamics, forces)
    forces[2, 1] = torch.nan
    with pytest.raises(ValueError, match=f"got nan at frame 2, {name}"):
        animate(dynamics, forces)


def test_left_and_right_are_exchanged(muscles: Muscles) -> None:
    forces = torch.arange(float(len(muscles))).expand(3, -1)
    exchanged = mirrored(forces, muscles, torch.tensor([1.0, 0.0, 0.0]))
    left, right = (muscles.names.index(f"zygomaticus_major_{side}") for side in ("left", "right"))
    assert exchanged[0, left] == forces[0, right]
    assert exchanged[0, right] == forces[0, left]
    torch.testing.assert_close(mirrored(exchanged, muscles, torch.tensor([1.0, 0.0, 0.0])), forces)
    with pytest.raises(ValueError, match="'zygomaticus_major_left' has no mirror image"):
        mirrored(forces[:, [left]], Muscles([muscles[left]]), torch.tensor([1.0, 0.0, 0.0]))


def test_vectors_are_reflected(muscles: Muscles) -> None:
    forces = torch.zeros(1, len(muscles), 3)
    left, right = (muscles.names.index(f"zygomaticus_major_{side}") for side in ("left", "right"))
    forces[0, left] = torch.tensor([1.0, 2.0, 3.0])
    exchanged = mirrored(forces, muscles, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    assert exchanged[0, right].tolist() == [-1, 2, 3]
    assert not exchanged[0, left].any()


def test_gains_multiply_one_muscle(muscles: Muscles) -> None:
    index = muscles.names.index("zygomaticus_major_left")
    for forces in (torch.ones(2, len(muscles)), torch.ones(2, len(muscles), 3)):
        weaker = with_gains(forces, muscles, {"zygomaticus_major_left": 0.5})
        assert bool((weaker[:, index] == 0.5).all())
        assert float(weaker.sum()) == float(forces.sum()) - 0.5 * forces[:, index].numel()
    with pytest.raises(ValueError, match="gain of 'zygomaticus_major_lef': no muscle .* zygomaticus_major_left"):
        with_gains(forces, muscles, {"zygomaticus_major_lef": 0.5})
    for gain in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="gain of zygomaticus_major_left must be finite and not negative"):
            with_gains(forces, muscles, {"zygomaticus_major_left": gain})


def test_a_weaker_side_shows_in_the_next_analysis(report: CaptureForces) -> None:
    muscles = report.dynamics.muscles
    left, right = (muscles.names.index(f"zygomaticus_major_{side}") for side in ("left", "right"))
    even = report.forces.clone()
    even[:, right] = even[:, left]
    motion = animate(report.dynamics, with_gains(even, muscles, {"zygomaticus_major_left": 0.5}))
    summary = analyse(sequence_of(report, motion), report.rig).summary()
    # (0.5 - 1) / (0.5 + 1)
    assert summary["ratio_of_sums"]["zygomaticus_major"] == pytest.approx(-1 / 3, abs=0.02)
    assert summary["asymmetry_index"]["lower"] == pytest.approx(-1 / 3, abs=0.02)


def test_what_arkit_has_no_column_for_is_named(tiny_rig: FaceRig) -> None:
    coefficients = torch.zeros(3, tiny_rig.num_shapes)
    coefficients[1, tiny_rig.names.index("browInnerUp_L")] = 0.4
    coefficients[1, tiny_rig.names.index("jawOpen")] = 0.7
    values, notes = Animation(tiny_rig, coefficients, 25.0).arkit()
    assert values.shape == (3, 52)
    assert sorted(values[1][values[1] > 0]) == pytest.approx([0.2, 0.7])
    assert notes == (
        "browInnerUp has no sides in ARKit: the mean of left and right is written, which differ by up to 0.4",
    )
    other = FaceRig(tiny_rig.neutral, tiny_rig.faces, tiny_rig.blendshapes[-2:], ("earWiggle", "jawOpen"))
    assert Animation(other, torch.zeros(1, 2), 25.0).arkit()[1] == ()
    notes = Animation(other, torch.full((1, 2), 0.5), 25.0).arkit()[1]
    assert notes == ("shapes that ARKit lacks, left out: earWiggle",)


def test_an_animation_that_leaves_the_face_is_refused(tiny_rig: FaceRig, dynamics: FaceDynamics) -> None:
    motion = torch.zeros(4, dynamics.num_shapes, dtype=torch.float64)
    assert len(Animation.of(tiny_rig, dynamics, motion)) == 4
    motion[2, 0] = 30
    with pytest.raises(ValueError, match=f"move {dynamics.shape_names[0]} to 30 at frame 2, expected at most 10"):
        Animation.of(tiny_rig, dynamics, motion)
