"""The reduced law is an exact projection of the motion of every vertex (Eq. 2)."""

import pytest
import torch
from torch import Tensor

from biomechau import ops
from biomechau.physics import FaceDynamics, NewtonSimulation, PhysicsConfig
from biomechau.physics._elastic import edge_stiffness
from biomechau.rig.distribution import Distribution
from biomechau.rig.face_rig import FaceRig


def simulation(rig: FaceRig, scale: float = 1.0, **kwargs: object) -> NewtonSimulation:
    return NewtonSimulation(
        rig.neutral,
        rig.edges,
        scale * edge_stiffness(rig),
        rig.vertex_masses.double(),
        **kwargs,  # pyright: ignore[reportArgumentType]
    )


def some_displacement(rig: FaceRig, size: float) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return size * torch.randn(rig.num_vertices, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("scheme", ["explicit", "semi_implicit", "implicit"])
@pytest.mark.parametrize("rig_name", ["tiny_rig", "ict_rig"])
def test_eq_5_is_the_mass_projection_of_free_newton_motion(
    request: pytest.FixtureRequest, rig_name: str, scheme: str
) -> None:
    """The full motion leaves span(B); its mass projection c = M^-1 B^T m u moves by M c'' = Q alone."""
    rig: FaceRig = request.getfixturevalue(rig_name)
    distribution: Distribution = request.getfixturevalue(rig_name.replace("rig", "distribution"))
    config = PhysicsConfig(law="newton", force="vector", scheme=scheme)  # pyright: ignore[reportArgumentType]
    dynamics = FaceDynamics(rig, distribution, config, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    force = torch.randn(12, dynamics.num_muscles, 3, generator=generator, dtype=torch.float64)
    zero = torch.zeros(dynamics.num_shapes, dtype=torch.float64)
    reduced, _ = dynamics.rollout(force, zero, zero)

    pull = ops.distribute_forces(distribution.to(torch.float64), force * dynamics.force_scale[:, None])
    free = simulation(rig, scale=0.0)
    still = torch.zeros(rig.num_vertices, 3, dtype=torch.float64)
    u, _ = free.simulate(pull, still, still, config.dt, config.scheme)
    momentum = torch.einsum("kna,n,tna->tk", dynamics.blendshapes, rig.vertex_masses.double(), u)
    projected = torch.linalg.solve(dynamics.mass, momentum.T).T
    assert (u - dynamics.deform(projected)).norm() > 0.01 * u.norm()  # there was something to project
    assert (reduced - projected).norm() <= 1e-10 * projected.norm()


@pytest.mark.parametrize("rig_name", ["tiny_rig", "ict_rig"])
def test_the_reduced_operators_are_exact_projections(request: pytest.FixtureRequest, rig_name: str) -> None:
    """M, K and D of the elastic law are B^T (.) B of the full masses, springs, anchors and dampers."""
    rig: FaceRig = request.getfixturevalue(rig_name)
    distribution: Distribution = request.getfixturevalue(rig_name.replace("rig", "distribution"))
    config = PhysicsConfig()
    dynamics = FaceDynamics(rig, distribution, config, dtype=torch.float64)
    flat = dynamics.blendshapes.flatten(1)
    springs = torch.from_numpy(simulation(rig).tangent() @ flat.T.numpy())
    kel = flat @ springs
    mass = flat @ (rig.vertex_masses.double().repeat_interleave(3)[:, None] * flat.T)
    kappa = mass.trace() / kel.trace()
    stiffness = config.omega**2 * ((1 - config.edge_fraction) * mass + config.edge_fraction * kappa * kel)
    for actual, expected in (
        (dynamics.mass, mass),
        (dynamics.stiffness, stiffness),
        (dynamics.damping, 2 * config.zeta / config.omega * stiffness),
    ):
        assert (actual - expected).norm() <= 1e-10 * expected.norm()


def test_generalized_forces_are_exact_projections(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    """Q = B^T f for the forces that every vertex receives (Eq. 9)."""
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig.paper(), dtype=torch.float64)
    force = torch.randn(dynamics.num_muscles, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    pull = ops.distribute_forces(tiny_distribution.to(torch.float64), force * dynamics.force_scale[:, None])
    expected = torch.einsum("kna,na->k", dynamics.blendshapes, pull)
    torch.testing.assert_close(dynamics.generalized_force(force), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("springs", ["isotropic", "central", "hooke"])
def test_spring_forces_sum_to_zero_and_do_no_work_on_translations(tiny_rig: FaceRig, springs: str) -> None:
    model = simulation(tiny_rig, springs=springs)
    pull = model.elastic_force(some_displacement(tiny_rig, 0.3))
    assert pull.abs().sum() > 1
    torch.testing.assert_close(pull.sum(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    moved = model.elastic_force(torch.ones(tiny_rig.num_vertices, 3, dtype=torch.float64))
    torch.testing.assert_close(moved, torch.zeros_like(moved), rtol=0, atol=1e-12)


def test_spring_forces_do_work_on_blendshapes(tiny_rig: FaceRig) -> None:
    """The paper drops the elastic forces from Q; they vanish for translations only."""
    pull = simulation(tiny_rig).elastic_force(tiny_rig.blendshapes[0].double())
    assert torch.einsum("kna,na->k", tiny_rig.blendshapes.double(), pull).abs().max() > 0.1


@pytest.mark.parametrize("springs", ["isotropic", "central", "hooke"])
def test_the_tangent_is_the_derivative_of_the_force(tiny_rig: FaceRig, springs: str) -> None:
    model = simulation(tiny_rig, springs=springs)
    at, along = some_displacement(tiny_rig, 0.2), some_displacement(tiny_rig, 1.0).flip(0)
    step = 1e-6
    slope = (model.elastic_force(at + step * along) - model.elastic_force(at - step * along)) / (2 * step)
    product = torch.from_numpy(model.tangent(at) @ along.flatten().numpy()).reshape(-1, 3)
    assert (slope + product).norm() <= 1e-7 * product.norm()


def test_hooke_becomes_central_for_small_displacements(tiny_rig: FaceRig) -> None:
    small = some_displacement(tiny_rig, 1e-6)
    linear = simulation(tiny_rig, springs="central").elastic_force(small)
    exact = simulation(tiny_rig, springs="hooke").elastic_force(small)
    assert (linear - exact).norm() <= 1e-4 * linear.norm()
    large = some_displacement(tiny_rig, 1.0)
    linear = simulation(tiny_rig, springs="central").elastic_force(large)
    exact = simulation(tiny_rig, springs="hooke").elastic_force(large)
    assert (linear - exact).norm() > 0.05 * linear.norm()


@pytest.mark.parametrize("scheme", ["explicit", "semi_implicit", "implicit"])
def test_an_anchored_vertex_follows_the_reduced_rollout(tiny_rig: FaceRig, scheme: str) -> None:
    """Without springs each coordinate is an oscillator of its own: the same numbers as the op, frame by frame."""
    model = simulation(tiny_rig, scale=0.0, anchor=90.0, damping=4.0)
    generator = torch.Generator().manual_seed(3)
    force = torch.randn(20, tiny_rig.num_vertices, 3, generator=generator, dtype=torch.float64)
    u0, v0 = some_displacement(tiny_rig, 0.5), some_displacement(tiny_rig, 2.0)
    u, v = model.simulate(force, u0, v0, 0.01, scheme)  # pyright: ignore[reportArgumentType]
    mass = tiny_rig.vertex_masses.double()[7] * torch.eye(3, dtype=torch.float64)
    c, rate = ops.euler_rollout(mass, force[:, 7], u0[7], v0[7], 0.01, 4.0 * mass, 90.0 * mass, scheme)
    torch.testing.assert_close(u[:, 7], c, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(v[:, 7], rate, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("springs", ["isotropic", "central", "hooke"])
def test_implicit_steps_come_to_rest_where_springs_balance_the_force(tiny_rig: FaceRig, springs: str) -> None:
    model = simulation(tiny_rig, scale=0.01, springs=springs, anchor=30.0, damping=10.0)
    force = (0.02 * some_displacement(tiny_rig, 1.0)).expand(150, -1, -1)
    still = torch.zeros(tiny_rig.num_vertices, 3, dtype=torch.float64)
    u, v = model.simulate(force, still, still, 0.1)
    balance = force[-1] + model.elastic_force(u[-1]) - 30.0 * tiny_rig.vertex_masses.double()[:, None] * u[-1]
    assert v[-1].norm() <= 1e-8 * v[0].norm()
    assert balance.norm() <= 1e-7 * force[-1].norm()


def test_no_frames_give_no_frames(tiny_rig: FaceRig) -> None:
    still = torch.zeros(tiny_rig.num_vertices, 3, dtype=torch.float64)
    u, v = simulation(tiny_rig).simulate(still[None][:0], still, still, 0.04)
    assert u.shape == v.shape == (0, tiny_rig.num_vertices, 3)


def test_bad_input_is_refused(tiny_rig: FaceRig) -> None:
    k, masses, edges = edge_stiffness(tiny_rig), tiny_rig.vertex_masses.double(), tiny_rig.edges
    with pytest.raises(ValueError, match="springs must be one of"):
        simulation(tiny_rig, springs="rubber")
    with pytest.raises(ValueError, match=r"stiffness must have shape"):
        NewtonSimulation(tiny_rig.neutral, edges, k[1:], masses)
    with pytest.raises(ValueError, match="masses must be positive, vertex 0 is not"):
        NewtonSimulation(tiny_rig.neutral, edges, k, -masses)
    with pytest.raises(ValueError, match="spring 0 has no length"):
        NewtonSimulation(torch.zeros(tiny_rig.num_vertices, 3), edges, k, masses)
    still = torch.zeros(tiny_rig.num_vertices, 3)
    model = simulation(tiny_rig)
    with pytest.raises(ValueError, match="dt must be positive"):
        model.simulate(still[None], still, still, 0.0)
    with pytest.raises(ValueError, match="scheme must be one of"):
        model.simulate(still[None], still, still, 0.1, "euler")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="u0 must have shape"):
        model.simulate(still[None], still[1:], still, 0.1)
