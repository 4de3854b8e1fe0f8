"""PhysicsRegressor and the masses it may choose."""

from __future__ import annotations

import pytest
import torch

from biomechau import ops
from biomechau.models import CholeskyMass, PhysicsRegressor, RegionMass, face_regions
from biomechau.physics import FaceDynamics, PhysicsConfig
from biomechau.rig import Distribution, FaceRig


def make(dynamics: FaceDynamics, rig: FaceRig | None = None, **options) -> PhysicsRegressor:
    torch.manual_seed(0)
    return PhysicsRegressor(6, dynamics, hidden=16, rig=rig, **options)


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("mass", ["fixed", "region", "spd"])
def test_shapes(tiny_dynamics: FaceDynamics, tiny_rig: FaceRig, lead: tuple[int, ...], mass: str) -> None:
    physics = make(tiny_dynamics, tiny_rig, mass=mass, slack=True)(torch.randn(*lead, 5, 6))
    assert physics.forces.shape == (*lead, 5, 8)
    assert physics.slack is not None
    assert physics.slack.shape == (*lead, 5, 8)
    if mass == "fixed":
        assert physics.mass is None
    else:
        assert physics.mass is not None
        assert physics.mass.shape == (*lead, 8, 8)


def test_fibres_pull_and_vectors_do_not_start_anywhere(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    features = 3 * torch.randn(4, 50, 6)
    fibre = make(FaceDynamics(tiny_rig, tiny_distribution))(features).forces
    assert fibre.min() > 0
    assert 0.02 < fibre.median() < 0.3
    vector = make(FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig.paper()))(features).forces
    assert vector.shape == (4, 50, 8, 3)
    assert vector.min() < 0 < vector.max()
    assert vector.abs().median() < 0.3


def test_context_reaches_k_frames_and_no_further(tiny_dynamics: FaceDynamics) -> None:
    x = torch.randn(20, 6, requires_grad=True)
    make(tiny_dynamics, context=3)(x).forces[10].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum(1).nonzero()[:, 0]
    assert seen.tolist() == list(range(7, 14))


@pytest.mark.parametrize("mass", ["region", "spd"])
def test_gradients_reach_every_parameter(tiny_dynamics: FaceDynamics, tiny_rig: FaceRig, mass: str) -> None:
    regressor = make(tiny_dynamics, tiny_rig, mass=mass, slack=True)
    physics = regressor(torch.randn(3, 5, 6))
    assert physics.mass is not None
    assert physics.slack is not None
    # Not a plain sum of M: its trace does not change.
    (physics.forces.sum() + physics.slack.sum() + (physics.mass * torch.randn(8, 8)).sum()).backward()
    for name, parameter in regressor.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", ["region", "spd"])
def test_masses_are_near_the_face_s_own(tiny_dynamics: FaceDynamics, tiny_rig: FaceRig, kind: str) -> None:
    mass = RegionMass(tiny_dynamics, tiny_rig, 4) if kind == "region" else CholeskyMass(tiny_dynamics)
    torch.testing.assert_close(mass(torch.zeros(mass.num_parameters)), tiny_dynamics.mass)
    drawn = mass(100 * torch.randn(20, mass.num_parameters))
    torch.testing.assert_close(drawn, drawn.mT)
    assert torch.linalg.eigvalsh(drawn).min() > 0
    trace = drawn.diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(trace, tiny_dynamics.mass.trace().expand(20))
    assert (drawn - tiny_dynamics.mass).abs().amax((1, 2)).max() > 1e-2 * tiny_dynamics.mass.max()
    # Bounded: no direction becomes more than a few times as heavy or light.
    factor = torch.linalg.cholesky(tiny_dynamics.mass.double())
    whitened = torch.linalg.solve_triangular(factor, drawn.double(), upper=False)
    ratio = torch.linalg.eigvalsh(torch.linalg.solve_triangular(factor, whitened.mT, upper=False))
    assert 1 / 15 < ratio.min() < ratio.max() < 15


def test_region_mass_is_the_generalized_mass_of_scaled_vertices(tiny_dynamics: FaceDynamics, tiny_rig: FaceRig) -> None:
    p = torch.tensor([0.4, -2.0, 0.1])
    weights = (0.5 * p.tanh()).exp()[face_regions(tiny_rig, 3)]
    expected = ops.generalized_mass(tiny_rig.blendshapes, weights * tiny_rig.vertex_masses)
    expected = expected * tiny_dynamics.mass.trace() / expected.trace()
    torch.testing.assert_close(RegionMass(tiny_dynamics, tiny_rig, 3)(p), expected)


def test_regions_are_near_their_centres(tiny_rig: FaceRig) -> None:
    regions = face_regions(tiny_rig, 5)
    assert torch.equal(regions, face_regions(tiny_rig, 5))
    assert sorted(set(regions.tolist())) == list(range(5))
    assert torch.bincount(regions).min() > 5
    assert not face_regions(tiny_rig, 1).any()


def test_dtype_follows_the_module(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, dtype=torch.float64)
    for mass in ("region", "spd"):
        physics = make(dynamics, tiny_rig, mass=mass, slack=True).double()(torch.randn(2, 5, 6).double())
        assert physics.mass is not None
        assert physics.forces.dtype == physics.mass.dtype == torch.float64


def test_errors(tiny_dynamics: FaceDynamics, tiny_rig: FaceRig) -> None:
    with pytest.raises(ValueError, match="mass must be one of .* spd, free, got 'other'"):
        make(tiny_dynamics, mass="other")
    with pytest.raises(ValueError, match="mass 'region' needs the rig"):
        make(tiny_dynamics, mass="region")
    with pytest.raises(ValueError, match=r"\(..., T, 6\) with T > 0, got \(4, 5\)"):
        make(tiny_dynamics)(torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"num_regions must lie in \[1, 99\], got 100"):
        face_regions(tiny_rig, 100)
    with pytest.raises(ValueError, match="rig has 1000 vertices, .* 99"):
        RegionMass(tiny_dynamics, FaceRig.builtin(1000))
