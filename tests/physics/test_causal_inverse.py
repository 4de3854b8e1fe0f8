"""The causal inverse: the forces of the whole recording once it has seen enough, and an answer for every frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from physics.test_inverse import correlation, motion_of, performance
from torch import Tensor

from biomechau.corpus import read_blendshape_table
from biomechau.corpus.driving import drive
from biomechau.physics import (
    CausalInverse,
    FaceDynamics,
    ForceMetric,
    InverseOptions,
    PhysicsConfig,
    inverse_dynamics,
)
from biomechau.physics.physics_config import LIVE, Force, Scheme
from biomechau.rig.distribution import Distribution
from biomechau.rig.face_rig import FaceRig

SHARP = InverseOptions(tolerance=1e-9, max_iterations=3000)


def run(inverse: CausalInverse, motion: Tensor) -> Tensor:
    """Forces of every frame, whether its delay is over or not."""
    return torch.cat([*(inverse.push(frame) for frame in motion), inverse.finish()])


@pytest.fixture(scope="module")
def dynamics(tiny_rig: FaceRig, tiny_distribution: Distribution) -> FaceDynamics:
    return FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig(fps=60.0), dtype=torch.float64)


@pytest.fixture(scope="module")
def motion(dynamics: FaceDynamics) -> Tensor:
    """Four seconds, noisy."""
    return motion_of(dynamics, performance(dynamics, 240), noise=0.01)


@pytest.mark.parametrize("force", get_args(Force))
@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_a_window_that_holds_all_gives_the_forces_of_the_recording(
    tiny_rig: FaceRig, tiny_distribution: Distribution, force: Force, scheme: Scheme
) -> None:
    config = PhysicsConfig(force=force, scheme=scheme, fps=60.0)
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, config, dtype=torch.float64)
    motion = 0.05 * torch.arange(12.0, dtype=torch.float64)[:, None] * torch.linspace(-0.2, 0.9, 8, dtype=torch.float64)
    inverse = CausalInverse(dynamics, SHARP, 0.2)
    assert inverse.delay_frames == 12
    whole = inverse_dynamics(dynamics, motion, options=SHARP).forces
    torch.testing.assert_close(run(inverse, motion), whole, rtol=0, atol=1e-6)


def test_longer_delays_are_nearer_to_the_whole_recording(dynamics: FaceDynamics, motion: Tensor) -> None:
    whole = inverse_dynamics(dynamics, motion, options=SHARP).forces
    medians, errors = [], []
    for delay in (0.0, 0.08, 0.12, 0.2):
        forces = run(CausalInverse(dynamics, delay=delay), motion)
        assert forces.shape == whole.shape
        assert bool((forces >= 0).all())
        medians.append(float(correlation(forces, whole).median()))
        errors.append(float((forces - whole).abs().max()))
    assert medians == sorted(medians)
    assert errors == sorted(errors, reverse=True)
    assert medians[2] >= 0.99
    assert errors[3] < 0.02


def test_a_real_capture_at_120_ms(tiny_rig: FaceRig, capture_csv: Path) -> None:
    rig = FaceRig.builtin(1000)
    dynamics = FaceDynamics(rig, Distribution.from_rig(rig), PhysicsConfig(fps=60.0))
    _, _, coefficients = drive(read_blendshape_table(capture_csv), rig, 60.0)
    motion = coefficients[:, dynamics.shape_indices]
    whole = inverse_dynamics(dynamics, motion).forces
    forces = run(CausalInverse(dynamics), motion)
    assert forces.dtype == torch.float32
    active = whole.max(0).values > 0.02
    assert active.sum() > 25
    assert correlation(forces[:, active], whole[:, active]).median() >= 0.99


def test_the_learned_metric_and_a_neutral_face(dynamics: FaceDynamics, motion: Tensor) -> None:
    names = dynamics.shape_names, dynamics.muscles.names
    eye = [torch.eye(len(each), dtype=torch.float64) for each in names]
    response = torch.linalg.solve(dynamics.stiffness, dynamics.projection)
    metric = ForceMetric(
        *names, response, 0.01 * eye[0], 0.2 * eye[1], torch.full((len(names[1]),), 0.3, dtype=torch.float64)
    )
    options = replace(SHARP, metric="learned")
    neutral = torch.linspace(0, 0.2, dynamics.num_shapes, dtype=torch.float64)
    whole = inverse_dynamics(dynamics, motion[:12], options=options, learned=metric, neutral=neutral).forces
    inverse = CausalInverse(dynamics, options, 0.2, learned=metric)
    inverse.neutral = neutral
    torch.testing.assert_close(run(inverse, motion[:12]), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 100])
@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_every_frame_gets_its_forces_once(dynamics: FaceDynamics, motion: Tensor, delay: float, count: int) -> None:
    inverse = CausalInverse(dynamics, delay=delay)
    first = run(inverse, motion[:count])
    assert first.shape == (count, dynamics.num_muscles)
    assert bool(first.isfinite().all())
    assert torch.equal(run(inverse, motion[:count]), first)  # it has forgotten the first


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 7, 200])
def test_several_frames_at_once(dynamics: FaceDynamics, motion: Tensor, count: int) -> None:
    """More of what follows is known than one after the other, so that they are nearer to the whole recording."""
    at_once = CausalInverse(dynamics, SHARP)
    parts = [at_once.push(frames) for frames in motion.split(count)] + [at_once.finish()]
    assert len(parts[0]) == max(0, count - at_once.delay_frames)
    single = run(CausalInverse(dynamics, SHARP), motion)
    whole = inverse_dynamics(dynamics, motion, options=SHARP).forces
    nearer, error = ((forces - whole).square().mean() for forces in (torch.cat(parts), single))
    assert nearer < error < 1e-3
    assert CausalInverse(dynamics).push(motion[:0]).shape == (0, dynamics.num_muscles)


def test_a_face_held_still_from_the_first_frame_on_has_its_static_forces(dynamics: FaceDynamics) -> None:
    held = torch.full((3, dynamics.num_shapes), 0.4, dtype=torch.float64)
    forces = run(CausalInverse(dynamics, InverseOptions(tolerance=1e-9, smoothness=0.0, sparsity=0.0), 0.0), held)
    torch.testing.assert_close(forces[0], forces[2], rtol=0, atol=1e-6)
    assert forces.max() > 0.3


@pytest.mark.slow
def test_time_and_memory_of_a_frame_are_bounded(dynamics: FaceDynamics, motion: Tensor) -> None:
    inverse = CausalInverse(dynamics, replace(LIVE, smoothness=10.0))
    assert inverse.window_frames == inverse.delay_frames + 120
    for frame in motion.repeat(2, 1):
        inverse.push(frame)
    assert len(inverse._window) == inverse.window_frames


@pytest.mark.parametrize("delay", [-0.01, 0.21, float("nan")])
def test_a_delay_out_of_range(dynamics: FaceDynamics, delay: float) -> None:
    with pytest.raises(ValueError, match=r"delay must lie in \[0, 0.2\] s"):
        CausalInverse(dynamics, delay=delay)


def test_what_it_refuses(dynamics: FaceDynamics, motion: Tensor) -> None:
    with pytest.raises(ValueError, match="a percentile needs the whole recording"):
        CausalInverse(dynamics, InverseOptions(neutral=5.0))
    inverse = CausalInverse(dynamics)
    with pytest.raises(TypeError, match="c must be torch.float64"):
        inverse.push(motion[0].float())
    with pytest.raises(ValueError, match=r"c must have shape"):
        inverse.push(motion[0, :3])
    with pytest.raises(ValueError, match=r"c must have shape \(8,\) or \(n, 8\), got \(1, 240, 8\)"):
        inverse.push(motion[None])
    with pytest.raises(ValueError, match="c must be finite"):
        inverse.push(motion[0] * float("nan"))
    assert len(inverse.finish()) == 0
