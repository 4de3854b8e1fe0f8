"""The learned metric: what it learns, what it minimises, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from torch import Tensor

from biomechau.physics import FaceDynamics, ForceMetric, InverseOptions, PhysicsConfig, inverse_dynamics
from biomechau.physics._posterior import posterior_deviation
from biomechau.physics.force_metric import noise_share
from biomechau.physics.smoothing import white_noise
from biomechau.rig.distribution import Distribution
from biomechau.rig.face_rig import FaceRig
from biomechau.rig.names import mirror_order

LEARNED = InverseOptions(metric="learned", smoothness=0.0, tolerance=1e-10)


def frames(count: int, num_shapes: int, num_muscles: int) -> tuple[Tensor, Tensor]:
    """Errors (n, K') that all have covariance 0.01 with the next, and exponential forces (n, M) of mean 0.3."""
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(count, num_shapes, generator=generator, dtype=torch.float64)
    forces = -0.3 * torch.rand(count, num_muscles, generator=generator, dtype=torch.float64).log()
    return 0.1 * (white + white.roll(1, 1)), forces


@pytest.fixture(scope="module")
def dynamics(tiny_rig: FaceRig, tiny_distribution: Distribution) -> FaceDynamics:
    return FaceDynamics(tiny_rig, tiny_distribution, dtype=torch.float64)


def response_of(dynamics: FaceDynamics) -> Tensor:
    return torch.linalg.solve(dynamics.stiffness, dynamics.projection)


@pytest.fixture(scope="module")
def metric(dynamics: FaceDynamics) -> ForceMetric:
    response = response_of(dynamics)
    errors, forces = frames(20_000, *response.shape)
    names = dynamics.shape_names, dynamics.muscles.names
    return ForceMetric.estimate(*names, forces @ response.mT + errors, forces, response)


def test_it_learns_errors_and_forces_alike_on_both_sides(dynamics: FaceDynamics, metric: ForceMetric) -> None:
    torch.testing.assert_close(metric.mean, torch.full_like(metric.mean, 0.3), rtol=0.05, atol=0)
    torch.testing.assert_close(
        metric.second_moment.diagonal(), torch.full_like(metric.mean, 2 * 0.3**2), rtol=0.1, atol=0
    )
    assert metric.error.diagonal().mean() == pytest.approx(0.02 * 1.02 + 1e-5, rel=0.05)
    left, right = (dynamics.shape_names.index(name) for name in ("mouthSmile_L", "mouthSmile_R"))
    assert metric.error[left, left] == pytest.approx(float(metric.error[right, right]), rel=1e-12)


def test_it_minimises_what_it_says(dynamics: FaceDynamics, metric: ForceMetric) -> None:
    """A face held still: each frame is a problem of its own, here solved by scipy."""
    held = torch.linspace(-0.2, 0.8, dynamics.num_shapes, dtype=torch.float64)
    options = dataclasses.replace(LEARNED, neutral=0.0)
    motion = torch.zeros(60, dynamics.num_shapes, dtype=torch.float64)
    motion[20:] = held
    found = inverse_dynamics(dynamics, motion, options=options, learned=metric)
    y = (found.coefficients[-1] - found.neutral * 0).numpy()
    own = metric.error.diagonal().diag()  # nothing trembles: the share of noise is 0.4
    error, moment = (np.linalg.inv(x.numpy()) for x in (own + 0.4 * (metric.error - own), metric.second_moment))
    response, rate = metric.response.numpy(), 0.35 / metric.mean.numpy()

    def objective(force: np.ndarray) -> float:
        missed = y - response @ force
        prior = 0.5 * 0.7**2 * force @ moment @ force + rate @ force
        return float(0.5 * missed @ error @ missed + 0.4**2 * prior)

    bounds = [(0, None)] * dynamics.num_muscles
    best = scipy.optimize.minimize(objective, np.full(dynamics.num_muscles, 0.1), bounds=bounds, tol=1e-14)
    assert objective(found.forces[-1].numpy()) <= best.fun + 1e-6
    np.testing.assert_allclose(found.forces[-1].numpy(), best.x, atol=2e-3)


def test_the_response_departs_from_the_physics_where_muscles_are_seen_to(dynamics: FaceDynamics) -> None:
    physics = response_of(dynamics)
    errors, forces = frames(20_000, *physics.shape)
    rare = {0, mirror_order(dynamics.muscles.names)[0]}
    forces[:, list(rare)] *= 0.01  # hardly used: nothing is learned of them
    shown = physics + 0.3
    metric = ForceMetric.estimate(
        dynamics.shape_names, dynamics.muscles.names, forces @ shown.mT + errors, forces, physics
    )
    for muscle in range(dynamics.num_muscles):
        moved = (metric.response - physics)[:, muscle].mean() / 0.3
        assert (moved < 0.6) == (muscle in rare), muscle
    assert float(metric.error.diagonal().max()) < 0.2


def test_the_share_of_noise_is_that_of_the_tracker() -> None:
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(3000, dtype=torch.float64)[:, None] / 25
    face = 0.5 + 0.5 * torch.sin(2 * torch.pi * 0.2 * time + torch.arange(10))
    white = torch.randn(*face.shape, generator=generator, dtype=torch.float64)
    still = torch.zeros(3000, 2, dtype=torch.float64)  # channels that never move do not count
    for deviation in (0.004, 0.006):
        seen = torch.cat([face + deviation * white, still], -1)
        assert white_noise(seen, 25.0) == pytest.approx(deviation, rel=0.1)
        assert noise_share(seen, 25.0) == pytest.approx(deviation / 0.008, rel=0.1)
        assert white_noise(seen, 100.0) == pytest.approx(deviation / 2, rel=0.1)  # of which a low-pass leaves half
        gaps = torch.rand(3000, generator=generator) > 0.2
        assert white_noise(torch.where(gaps[:, None], seen, 9.0), 25.0, gaps) == pytest.approx(deviation, rel=0.1)
    assert noise_share(face, 25.0) == noise_share(still, 25.0) == 0.4
    assert noise_share(face + white, 25.0) == 1.0
    unknown = torch.arange(3000) % 2 == 0  # never three frames in a row
    assert noise_share(face, 25.0, unknown) == noise_share(face[:2], 25.0) == 1.0


def test_the_less_noise_the_less_is_guessed(metric: ForceMetric) -> None:
    noisy, quiet = metric.problem(), metric.problem(0.4)
    torch.testing.assert_close(quiet.rate, 0.16 * noisy.rate)
    count = len(metric.muscles)
    torch.testing.assert_close(quiet.matrix[-count:], 0.4 * noisy.matrix[-count:])
    covariance = torch.linalg.inv(quiet.whitening.mT @ quiet.whitening)
    torch.testing.assert_close(covariance.diagonal(), metric.error.diagonal())
    torch.testing.assert_close(covariance[0, 1:], 0.4 * metric.error[0, 1:])


def test_the_person_s_low_percentile_is_taken_off(dynamics: FaceDynamics, metric: ForceMetric) -> None:
    motion = 0.5 * torch.rand(40, dynamics.num_shapes, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plain = inverse_dynamics(dynamics, motion, options=LEARNED, learned=metric)
    shifted = inverse_dynamics(dynamics, motion + 0.2, options=LEARNED, learned=metric)
    torch.testing.assert_close(plain.forces, shifted.forces, rtol=0, atol=1e-6)
    assert shifted.neutral.min() >= 0.2


def test_what_it_does_not_fit_is_refused(
    tiny_rig: FaceRig, tiny_distribution: Distribution, dynamics: FaceDynamics, metric: ForceMetric
) -> None:
    motion = torch.zeros(5, dynamics.num_shapes, dtype=torch.float64)
    with pytest.raises(ValueError, match='the metric "learned" is needed'):
        inverse_dynamics(dynamics, motion, options=LEARNED)
    for change in ({"law": "newton"}, {"force": "vector"}):
        other = FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig(**change), dtype=torch.float64)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match='needs the law "elastic" and fibre forces'):
            inverse_dynamics(other, motion, options=LEARNED, learned=metric)
    with pytest.raises(ValueError, match="is of 8 other muscles than the 8 of the model"):
        inverse_dynamics(
            dynamics, motion, options=LEARNED, learned=dataclasses.replace(metric, muscles=metric.muscles[::-1])
        )
    for option in ({"cutoff": 5.0}, {"sparsity": 0.5}, {"slack": False}):
        with pytest.raises(ValueError, match=f"the learned metric has its own {next(iter(option))}"):
            InverseOptions(metric="learned", **option)  # pyright: ignore[reportArgumentType]
    response = response_of(dynamics)
    errors, forces = frames(50, *response.shape)
    forces[:, [0, 1]] = 0
    with pytest.raises(ValueError, match="knows nothing of frontalis_medialis_left, frontalis_medialis_right, which"):
        ForceMetric.estimate(dynamics.shape_names, dynamics.muscles.names, errors, forces, response)


def test_standard_deviations_cover_the_forces_of_the_model(dynamics: FaceDynamics, metric: ForceMetric) -> None:
    """Frames whose errors are as the metric has them: the intervals of 90 % hold about 90 % of the true forces."""
    response = response_of(dynamics)
    errors, forces = frames(3000, *response.shape)
    found = inverse_dynamics(
        dynamics,
        forces @ response.mT + errors,
        options=dataclasses.replace(LEARNED, tolerance=1e-5, neutral=0.0),
        learned=metric,
        deviation=True,
    )
    assert found.deviation is not None
    assert found.deviation.shape == found.forces.shape
    assert bool((found.deviation > 0).all())
    assert inverse_dynamics(dynamics, errors, options=LEARNED, learned=metric).deviation is None
    with pytest.raises(ValueError, match='need the metric "learned"'):
        inverse_dynamics(dynamics, errors, deviation=True)


def test_the_posterior_above_zero_is_that_of_a_truncated_normal() -> None:
    """One muscle, frames apart: the moments that scipy has."""
    target = torch.tensor([[2.0], [0.0], [-3.0], [-30.0]], dtype=torch.float64).repeat(1, 500).reshape(4, 500, 1)
    matrix, rate = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    observed = torch.ones(4, 500, dtype=torch.bool)
    found = posterior_deviation(matrix, target, rate, 0.0, target.clamp_min(0), observed)
    expected = [scipy.stats.truncnorm(-float(mean), np.inf, loc=float(mean)).std() for mean in target[:, 0, 0]]
    np.testing.assert_allclose(found.mean((1, 2)).numpy(), expected, rtol=0.03)
    again = posterior_deviation(matrix, target, rate, 0.0, target.clamp_min(0), observed)
    assert torch.equal(found, again)


def test_widening_and_recovery_come_from_known_forces(metric: ForceMetric) -> None:
    generator = torch.Generator().manual_seed(2)
    truth = torch.rand(5000, 8, generator=generator, dtype=torch.float64)
    noise = torch.randn(5000, 8, generator=generator, dtype=torch.float64)
    size = torch.tensor([0.05, 0.05, 0.1, 0.1, 3.0, 3.0, 0.1, 0.1], dtype=torch.float64)
    forces = (truth + size * noise).clamp_min(0)
    people = list(zip(forces.split(1000), truth.split(1000), strict=True))
    found = metric.with_recovery(people).calibrated(forces, (size / 2).expand(5000, 8), truth)
    assert found.widening == pytest.approx(2 * 1.44 / 1.645, rel=0.1)
    assert found.undetermined == metric.muscles[4:6]
    assert metric.undetermined == ()
    # The median person counts, of those who use the muscle.
    idle = torch.zeros(1000, 8, dtype=torch.float64)
    assert metric.with_recovery([*people, *[(forces[:1000], idle)] * 9]).undetermined == found.undetermined
    missed = [(forces[1000:2000], truth[:1000])] * 6
    assert metric.with_recovery([*people, *missed]).undetermined == metric.muscles
    assert metric.with_recovery(missed[:4] + people).undetermined == found.undetermined
