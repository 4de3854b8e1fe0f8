"""The integrators converge to exact solutions at the order they should have, and conserve what they should."""

from __future__ import annotations

import math

import pytest
import torch
from ops.cases import spd
from torch import Tensor

from biomechau import ops

TIME = 1.0


def exact_damped(mass: Tensor, damping: float, omega2: float, c0: Tensor, v0: Tensor, time: float) -> Tensor:
    """M c'' + damping M c' + omega2 M c = 0: every coordinate is the same damped oscillator."""
    frequency = math.sqrt(omega2 - damping**2 / 4)
    decay = math.exp(-damping * time / 2)
    swing = c0 * math.cos(frequency * time) + (v0 + damping / 2 * c0) / frequency * math.sin(frequency * time)
    return decay * swing


def regressed_order(errors: list[float], steps: list[int]) -> float:
    """Slope of log error over log step size."""
    x = torch.tensor([math.log(TIME / count) for count in steps], dtype=torch.float64)
    y = torch.tensor([math.log(error) for error in errors], dtype=torch.float64)
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / (x * x).sum())


@pytest.mark.parametrize("scheme", ops.SCHEMES)
def test_order_on_a_damped_oscillator(scheme: str) -> None:
    mass = spd(4)
    damping, omega2 = 0.8, 9.0
    c0, v0 = torch.tensor([1.0, -0.5, 0.2, 2.0], dtype=torch.float64), torch.tensor([0.0, 3.0, 1.0, -1.0]).double()
    steps = [50, 100, 200, 400, 800]
    errors = []
    for count in steps:
        force = torch.zeros(count, 4, dtype=torch.float64)
        c, _ = ops.euler_rollout(
            mass, force, c0, v0, TIME / count, damping=damping * mass, stiffness=omega2 * mass, scheme=scheme
        )
        errors.append(float((c[-1] - exact_damped(mass, damping, omega2, c0, v0, TIME)).abs().max()))
    assert regressed_order(errors, steps) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("scheme", ops.SCHEMES)
def test_order_under_a_force_that_varies(scheme: str) -> None:
    mass = spd(3, seed=4)
    acceleration = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    c0, v0 = torch.zeros(3, dtype=torch.float64), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    steps = [50, 100, 200, 400, 800]
    errors = []
    for count in steps:  # c'' = a cos(3 t)
        times = torch.arange(count, dtype=torch.float64) * TIME / count
        force = torch.cos(3 * times)[:, None] * (mass @ acceleration)
        c, _ = ops.euler_rollout(mass, force, c0, v0, TIME / count, scheme=scheme)
        exact = c0 + v0 * TIME + acceleration * (1 - math.cos(3 * TIME)) / 9
        errors.append(float((c[-1] - exact).abs().max()))
    assert regressed_order(errors, steps) == pytest.approx(1.0, abs=0.1)


def test_explicit_without_springs_is_a_double_prefix_sum() -> None:
    mass, num_frames, dt = spd(5), 40, 0.04
    force = torch.randn(num_frames, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    c0, v0 = torch.ones(5, dtype=torch.float64), torch.full((5,), -2.0, dtype=torch.float64)
    c, v = ops.euler_rollout(mass, force, c0, v0, dt)
    velocity = v0 + dt * torch.linalg.solve(mass, force.mT).mT.cumsum(0)
    position = c0 + dt * torch.cat([v0[None], velocity[:-1]]).cumsum(0)
    torch.testing.assert_close(v, velocity, rtol=0, atol=1e-12)
    torch.testing.assert_close(c, position, rtol=0, atol=1e-12)


def test_semi_implicit_keeps_the_energy_of_an_oscillator_bounded() -> None:
    mass = spd(3, seed=5)
    force = torch.zeros(5_000, 3, dtype=torch.float64)
    c0, v0 = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    c, _ = ops.euler_rollout(mass, force, c0, v0, 0.1, stiffness=9 * mass, scheme="semi_implicit")
    assert c.abs().max() < 1.2


@pytest.mark.parametrize("f0", [0.5, 3.0, 10.0])
@pytest.mark.parametrize("zeta", [0.1, 1.0, 3.0])
def test_implicit_stays_bounded_at_video_rate(f0: float, zeta: float) -> None:
    mass, omega = spd(6, seed=6), 2 * math.pi * f0
    force = torch.zeros(1_000, 6, dtype=torch.float64)
    c0, v0 = torch.ones(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    c, v = ops.euler_rollout(
        mass, force, c0, v0, 1 / 25, damping=2 * zeta * omega * mass, stiffness=omega**2 * mass, scheme="implicit"
    )
    assert c.abs().max() <= 1.0
    assert c[-1].abs().max() < 1e-3
    assert v.isfinite().all()
