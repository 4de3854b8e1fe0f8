"""Each loss against values worked out by hand, with masks, gradients and broken frames."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from biomechau.models import (
    LossWeights,
    action_unit_loss,
    clean_loss,
    force_loss,
    inverse_dynamics_loss,
    reconstruction_loss,
    slack_loss,
    smoothness_loss,
    total_loss,
)
from biomechau.physics import FaceDynamics, PhysicsConfig, required_force
from biomechau.rig import Distribution, FaceRig

C = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 4.0]])
FORCES = torch.tensor([[1.0, -2.0], [0.0, 1.0], [3.0, 1.0]])
LAST_BROKEN = torch.tensor([True, True, False])


def broken(tensor: Tensor) -> Tensor:
    """The last frame is not a number."""
    return torch.cat([tensor[:-1], torch.full_like(tensor[-1:], torch.nan)]).requires_grad_()


def check(loss: Tensor, expected: float) -> None:
    torch.testing.assert_close(loss, torch.tensor(expected))


def test_reconstruction() -> None:
    zero = torch.zeros(3, 2)
    check(reconstruction_loss(C, zero), (0 + 5 + 16) / 3)
    check(reconstruction_loss(C, zero, valid=LAST_BROKEN), 5 / 2)
    # Mean over the shapes of the squares over the scale's.
    check(reconstruction_loss(C, zero, torch.tensor([0.5, 2.0])), ((4 + 1) / 2 + (0 + 4) / 2) / 3)
    # Sequences count alike.
    check(reconstruction_loss(torch.stack([C, zero]), torch.zeros(2, 3, 2)), 21 / 6)


def test_action_units() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0]])  # p = 1/2, 3/4
    labels = torch.tensor([[1, 0], [1, -1]], dtype=torch.int8)
    half, quarter, most = math.log(2), math.log(4), math.log(4 / 3)
    check(action_unit_loss(logits, labels), (half + quarter + most) / 3)
    check(action_unit_loss(logits, labels, torch.tensor([False, True])), most)
    weighted = action_unit_loss(logits, labels, positive_weights=torch.tensor([2.0, 7.0]))
    check(weighted, (2 * half + quarter + 2 * most) / 3)
    weighted = action_unit_loss(logits, labels, class_weights=torch.tensor([3.0, 0.5]))
    check(weighted, (3 * half + 0.5 * quarter + 3 * most) / 3)
    # Right and sure is better than wrong and sure: the sign that Eq. 14 lacks.
    sure = torch.tensor([[5.0]])
    assert action_unit_loss(sure, torch.ones(1, 1)) < 0.01 < 4 < action_unit_loss(sure, torch.zeros(1, 1))


def test_clean() -> None:
    check(clean_loss(FORCES), (3 + 1 + 4) / 2 / 3)
    check(clean_loss(FORCES, LAST_BROKEN), (3 + 1) / 2 / 2)
    vectors = torch.tensor([[[1.0, -2.0, 0.0], [0.0, 0.0, 4.0]]])
    check(clean_loss(vectors, vector=True), (3 + 4) / 2)


def test_smoothness() -> None:
    check(smoothness_loss(FORCES), ((1 + 9) + (9 + 0)) / 3)
    check(smoothness_loss(FORCES, LAST_BROKEN), 10 / 2)
    check(smoothness_loss(FORCES, torch.tensor([True, False, True])), 0.0)
    check(smoothness_loss(FORCES[:1]), 0.0)
    vectors = FORCES[:, :, None] * torch.tensor([0.6, 0.0, 0.8])
    check(smoothness_loss(vectors, vector=True), 19 / 3)


def test_slack() -> None:
    check(slack_loss(C), (2.5 + 8) / 3)
    check(slack_loss(C, LAST_BROKEN), 2.5 / 2)


@pytest.mark.parametrize("law", ["elastic", "newton"])
def test_inverse_dynamics(tiny_rig: FaceRig, tiny_distribution: Distribution, law: str) -> None:
    config = PhysicsConfig() if law == "elastic" else PhysicsConfig.paper()
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, config, torch.float64)
    c = torch.rand(2, 6, 8, dtype=torch.float64)
    scale = 0.1 + torch.rand(8, dtype=torch.float64)
    force = required_force(dynamics, c).requires_grad_()
    assert inverse_dynamics_loss(dynamics, force, c, scale) < 1e-20
    # A force that is off by what holds d at rest (gives the unit acceleration d) costs mean (d / scale)^2.
    d = torch.rand(8, dtype=torch.float64)
    resistance = dynamics.stiffness if law == "elastic" else dynamics.mass * dynamics.unit_acceleration
    wrong = force + resistance @ d
    expected = (d / scale).square().mean()
    torch.testing.assert_close(inverse_dynamics_loss(dynamics, wrong, c, scale), expected)
    valid = torch.zeros(2, 6, dtype=torch.bool)
    assert inverse_dynamics_loss(dynamics, wrong, c, scale, valid) == 0
    valid[0, 3] = True
    some = torch.where(valid[..., None], wrong, 1000.0)
    loss = inverse_dynamics_loss(dynamics, some, c, scale, valid)
    torch.testing.assert_close(loss, expected)
    (grad,) = torch.autograd.grad(loss, force)
    assert (grad.abs().sum(-1) > 0).equal(valid)


@pytest.mark.parametrize("law", ["elastic", "newton"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
def test_inverse_dynamics_is_that_of_a_solver(
    law: str, dtype: torch.dtype, tolerance: float, tiny_rig: FaceRig, tiny_distribution: Distribution
) -> None:
    config = PhysicsConfig() if law == "elastic" else PhysicsConfig.paper()
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, config, dtype)
    c, scale = torch.rand(2, 6, 8, dtype=dtype), 0.1 + torch.rand(8, dtype=dtype)
    force = torch.zeros(2, 6, 8, dtype=dtype).requires_grad_()
    missing = required_force(dynamics, c) - force
    displacement = torch.linalg.solve(dynamics.resistance, missing[..., None])[..., 0]
    expected = (displacement / scale).square().mean()
    found = inverse_dynamics_loss(dynamics, force, c, scale)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=0)
    grads = (torch.autograd.grad(loss, force)[0] for loss in (found, expected))
    torch.testing.assert_close(*grads, rtol=tolerance, atol=tolerance * float(found.detach()))


def test_total() -> None:
    weights = LossWeights(reconstruction=2.0, action_unit=0.5, clean=0.1, smooth=0.0)
    terms = {"reconstruction": 1.0, "action_unit": 4.0, "clean": 10.0, "smooth": math.nan}
    check(total_loss({name: torch.tensor(value) for name, value in terms.items()}, weights), 2.0 + 2.0 + 1.0)
    check(total_loss({"smooth": torch.tensor(3.0)}, weights), 0.0)
    assert LossWeights.paper().slack == LossWeights.paper().inverse_dynamics == 0


def test_forces() -> None:
    truth = torch.tensor([[0.5, 1.0, 0.0], [0.0, 2.0, 0.0], [1.5, math.nan, 0.0]]).double()
    forces = torch.cat([FORCES.double(), torch.full((3, 1), 0.2).double()], 1)
    # Of the second two frames are known; the last has no true force.
    shares = [1.0, ((-2 - 1) ** 2 + (1 - 2) ** 2) / (1 + 4), 3 * 0.2**2 / (3 * 0.1**2)]
    assert float(force_loss(forces, truth)) == pytest.approx(sum(shares) / 3)
    truth[:, 2] = math.nan
    assert float(force_loss(forces, truth)) == pytest.approx(sum(shares[:2]) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masked_frames_send_nothing_back(dtype: torch.dtype) -> None:
    labels = torch.tensor([[1, 0], [0, 1], [1, 1]])
    for loss in (
        lambda x: reconstruction_loss(C.to(dtype), x, valid=LAST_BROKEN),
        lambda x: action_unit_loss(x, labels, LAST_BROKEN),
        lambda x: clean_loss(x, LAST_BROKEN),
        lambda x: smoothness_loss(x, LAST_BROKEN),
        lambda x: slack_loss(x, LAST_BROKEN),
        lambda x: force_loss(x, C.to(dtype), LAST_BROKEN),
    ):
        x = broken(FORCES.to(dtype))
        value = loss(x)
        value.backward()
        assert value.dtype == dtype
        assert value.isfinite()
        assert x.grad is not None
        assert (x.grad[:2] != 0).any()
        assert (x.grad[2] == 0).all()


def test_nothing_valid_is_zero_and_not_nan() -> None:
    none = torch.zeros(3, dtype=torch.bool)
    x = FORCES.clone().requires_grad_()
    unknown = torch.full((3, 2), -1)
    for loss in (
        reconstruction_loss(C, x, valid=none),
        action_unit_loss(x, torch.ones(3, 2), none),
        action_unit_loss(x, unknown),
        clean_loss(x, none),
        smoothness_loss(x, none),
        slack_loss(x, none),
        force_loss(x, C, none),
        force_loss(x, torch.full_like(C, math.nan)),
        clean_loss(x[:0]),
        smoothness_loss(x[:0]),
    ):
        assert loss == 0
        (grad,) = torch.autograd.grad(loss, x)
        assert (grad == 0).all()


def test_gradients() -> None:
    c, forces = C.double(), FORCES.double().requires_grad_()
    labels = torch.tensor([[1, 0], [0, -1], [1, 1]])
    weights = torch.tensor([0.5, 2.0]).double()
    for loss in (
        lambda x: reconstruction_loss(c, x, weights, LAST_BROKEN),
        lambda x: action_unit_loss(x, labels, LAST_BROKEN, weights, weights),
        lambda x: clean_loss(x + 0.1, LAST_BROKEN),
        lambda x: smoothness_loss(x, LAST_BROKEN),
        lambda x: slack_loss(x, LAST_BROKEN),
        lambda x: force_loss(x, c, LAST_BROKEN),
    ):
        assert torch.autograd.gradcheck(loss, (forces,))


def test_errors(tiny_dynamics: FaceDynamics) -> None:
    with pytest.raises(ValueError, match=r"reconstructed must have shape \(3, 2\), got \(3, 1\)"):
        reconstruction_loss(C, C[:, :1])
    with pytest.raises(ValueError, match=r"scale must have shape \(2,\), got \(3,\)"):
        reconstruction_loss(C, C, torch.ones(3))
    with pytest.raises(TypeError, match="valid must be bool, got torch.float32"):
        clean_loss(C, torch.ones(3))
    with pytest.raises(ValueError, match=r"valid must have shape \(3,\), got \(2,\)"):
        smoothness_loss(C, torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"labels must be 1, 0 or -1 \(unknown\), got 9 at \[1, 0\]"):
        action_unit_loss(C, torch.tensor([[0, 1], [9, 0], [0, 0]]))
    with pytest.raises(ValueError, match=r"labels must have shape \(3, 2\)"):
        action_unit_loss(C, torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"positive_weights must have shape \(2,\)"):
        action_unit_loss(C, torch.zeros(3, 2), positive_weights=torch.ones(3))
    with pytest.raises(ValueError, match=r"forces must have shape \(..., T, M, 3\), got \(3, 2\)"):
        clean_loss(C, vector=True)
    with pytest.raises(ValueError, match=r"truth must have shape \(3, 2\), got \(3, 1\)"):
        force_loss(C, C[:, :1])
    with pytest.raises(ValueError, match=r"force must have shape \(5, 8\)"):
        inverse_dynamics_loss(tiny_dynamics, torch.zeros(4, 8), torch.zeros(5, 8), torch.ones(8))
    with pytest.raises(ValueError, match="terms must be some of reconstruction.*, got \\['other'\\]"):
        total_loss({"other": torch.tensor(1.0)}, LossWeights())
    with pytest.raises(ValueError, match="terms must be some of"):
        total_loss({}, LossWeights())
    for value in (-1.0, math.nan, math.inf, "1", True):
        with pytest.raises(ValueError, match="clean must be a finite number"):
            LossWeights(clean=value)  # pyright: ignore[reportArgumentType]
