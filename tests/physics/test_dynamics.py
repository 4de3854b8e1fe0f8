"""FaceDynamics: its operators, its unit of force, its rollout."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from ops.cuda import missing_gpu
from torch import Tensor

from biomechau import ops
from biomechau.physics import FaceDynamics, PhysicsConfig
from biomechau.rig.distribution import Distribution
from biomechau.rig.face_rig import FaceRig

CONFIGS = {
    "elastic fibre": PhysicsConfig(),
    "elastic vector": PhysicsConfig(force="vector"),
    "newton fibre": PhysicsConfig(law="newton", scheme="explicit"),
    "newton vector": PhysicsConfig(law="newton", force="vector", scheme="explicit"),
    "paper": PhysicsConfig.paper(),
}


def own_shapes(dynamics: FaceDynamics) -> Tensor:
    """(K', M), 1 where the shape is the muscle's own."""
    return torch.tensor(
        [[float(name in muscle.shapes) for muscle in dynamics.muscles] for name in dynamics.shape_names]
    ).double()


def mass_norm(dynamics: FaceDynamics, columns: Tensor) -> Tensor:
    return (columns * (dynamics.mass @ columns)).sum(0).sqrt()


def everywhere(distribution: Distribution) -> Distribution:
    """P = 1 at every vertex: no force is cut off."""
    sparse = ops.SparseMatrix.from_dense(torch.ones(distribution.shape, dtype=torch.float64))
    return Distribution(sparse.crow, sparse.col, sparse.val, sparse.shape, distribution.muscles)


def random_force(dynamics: FaceDynamics, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(*shape, *dynamics.projection.shape[1:], generator=generator, dtype=dynamics.mass.dtype)


@pytest.mark.parametrize("area", ["face", "muscle"])
def test_a_unit_static_fibre_force_holds_its_own_shape(
    tiny_rig: FaceRig, tiny_distribution: Distribution, area: str
) -> None:
    """K^-1 A = 1 on a muscle's own shapes and 0 elsewhere, where the area of the muscle cuts nothing off."""
    config = PhysicsConfig(fibre_area=area)  # pyright: ignore[reportArgumentType]
    distribution = tiny_distribution if area == "face" else everywhere(tiny_distribution)
    dynamics = FaceDynamics(tiny_rig, distribution, config, dtype=torch.float64)
    held = torch.linalg.solve(dynamics.stiffness, dynamics.projection)
    torch.testing.assert_close(held, own_shapes(dynamics), rtol=0, atol=1e-10)
    # So does the integrator, once the motion has died out.
    zero = torch.zeros(dynamics.num_shapes, dtype=torch.float64)
    c, _ = dynamics.rollout(torch.eye(dynamics.num_muscles, dtype=torch.float64)[2].expand(100, -1), zero, zero)
    torch.testing.assert_close(c[-1], own_shapes(dynamics)[:, 2], rtol=0, atol=1e-7)


@pytest.mark.parametrize("rig_name", ["tiny_rig", "ict_rig"])
def test_a_cut_off_fibre_force_still_holds_it_at_unit_amplitude(request: pytest.FixtureRequest, rig_name: str) -> None:
    rig: FaceRig = request.getfixturevalue(rig_name)
    distribution: Distribution = request.getfixturevalue(rig_name.replace("rig", "distribution"))
    dynamics = FaceDynamics(rig, distribution, PhysicsConfig(fibre_area="muscle"), dtype=torch.float64)
    held, own = torch.linalg.solve(dynamics.stiffness, dynamics.projection), own_shapes(dynamics)
    torch.testing.assert_close(mass_norm(dynamics, held), mass_norm(dynamics, own), rtol=1e-10, atol=0)
    cosine = (held * (dynamics.mass @ own)).sum(0) / mass_norm(dynamics, held) / mass_norm(dynamics, own)
    assert cosine.min() > 0.97


def test_a_unit_fibre_force_accelerates_its_own_shape_under_newtons_law(
    tiny_rig: FaceRig, tiny_distribution: Distribution
) -> None:
    config = CONFIGS["newton fibre"]
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, config, dtype=torch.float64)
    acceleration = torch.linalg.solve(dynamics.mass, dynamics.projection) / config.fps**2
    torch.testing.assert_close(acceleration, 0.05 * own_shapes(dynamics), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["elastic vector", "newton vector"])
def test_the_unit_of_a_vector_force_is_its_largest_response(
    tiny_rig: FaceRig, tiny_distribution: Distribution, name: str
) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, CONFIGS[name], dtype=torch.float64)
    elastic = dynamics.config.law == "elastic"
    unit = 1.0 if elastic else 0.05 * dynamics.config.fps**2
    balance = dynamics.stiffness if elastic else dynamics.mass
    size = mass_norm(dynamics, own_shapes(dynamics))
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(3, 4000, generator=generator, dtype=torch.float64), dim=0)
    for m in range(dynamics.num_muscles):
        reach = mass_norm(dynamics, torch.linalg.solve(balance, dynamics.projection[:, m] @ directions)).max()
        assert float(reach / size[m]) == pytest.approx(unit, rel=5e-3)


def test_the_force_scale_converts_to_physical_units(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    heavy = dataclasses.replace(PhysicsConfig.paper(), total_mass=2.0)
    one = FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig.paper(), dtype=torch.float64)
    two = FaceDynamics(tiny_rig, tiny_distribution, heavy, dtype=torch.float64)
    torch.testing.assert_close(two.force_scale, 2 * one.force_scale)
    shapes, p = tiny_rig.blendshapes.double(), tiny_distribution.to(torch.float64)
    torch.testing.assert_close(one.projection, ops.reduced_projection(shapes, p) * one.force_scale[:, None])
    # Mean mass of a vertex x cm / frame^2, in masses of the face and seconds.
    unit = PhysicsConfig.paper().fps ** 2 / tiny_rig.num_vertices
    torch.testing.assert_close(one.force_scale, torch.full_like(one.force_scale, unit))


def test_the_papers_half_changes_the_unit_of_force_only(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    for law in ("elastic", "newton"):
        full = FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig(law=law), dtype=torch.float64)
        half = FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig(law=law, mass_scale=0.5), dtype=torch.float64)
        torch.testing.assert_close(half.mass, full.mass / 2)
        zero = torch.zeros(full.num_shapes, dtype=torch.float64)
        force = random_force(full, 9)
        torch.testing.assert_close(half.rollout(force, zero, zero), full.rollout(force, zero, zero))


@pytest.mark.parametrize("zeta", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("f0", [0.5, 3.0, 10.0])
def test_the_implicit_rollout_is_bounded(
    tiny_rig: FaceRig, tiny_distribution: Distribution, f0: float, zeta: float
) -> None:
    """At 25 fps and up to 10 Hz, where explicit steps blow up, no motion outgrows its start."""
    config = PhysicsConfig(f0=f0, zeta=zeta, fps=25)
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, config, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    c0 = torch.randn(16, dynamics.num_shapes, generator=generator, dtype=torch.float64)
    rest = torch.zeros(16, 1000, dynamics.num_muscles, dtype=torch.float64)
    c, v = dynamics.rollout(rest, c0, torch.zeros_like(c0))

    def energy(position: Tensor, rate: Tensor) -> Tensor:
        return ((position @ dynamics.stiffness) * position + (rate @ dynamics.mass) * rate).sum(-1)

    course = torch.cat([energy(c0, torch.zeros_like(c0))[:, None], energy(c, v)], 1)
    assert bool((course.diff(dim=1) <= 1e-12 * course[:, :1]).all())
    assert bool((course[:, -1] < 1e-6 * course[:, 0]).all())


def test_explicit_steps_on_stiff_skin_are_not_bounded(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    config = PhysicsConfig(f0=10.0, scheme="explicit")
    with pytest.warns(UserWarning, match="scheme 'explicit' is unstable at 25 fps .* grows .*-fold in every frame"):
        dynamics = FaceDynamics(tiny_rig, tiny_distribution, config, dtype=torch.float64)
    c0 = torch.ones(dynamics.num_shapes, dtype=torch.float64)
    c, _ = dynamics.rollout(torch.zeros(50, dynamics.num_muscles, dtype=torch.float64), c0, 0 * c0)
    assert c[-1].abs().max() > 1e6


def test_seconds_and_frames_tell_the_same_motion(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    """Eq. 6 as printed, one frame a step, is the explicit rollout in seconds."""
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig.paper(fps=30), dtype=torch.float64)
    force = random_force(dynamics, 12)
    start = torch.linspace(0, 1, dynamics.num_shapes, dtype=torch.float64)
    rate = 0.1 * start.flip(0)
    c, v = dynamics.rollout(force, start, 30 * rate)
    acceleration = torch.linalg.solve(dynamics.mass, dynamics.generalized_force(force).T).T / 30**2
    for t in range(12):
        start, rate = start + rate, rate + acceleration[t]
        torch.testing.assert_close((c[t], v[t] / 30), (start, rate), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_rollout_takes_batches_and_float32(tiny_rig: FaceRig, tiny_distribution: Distribution, name: str) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, CONFIGS[name])
    assert {buffer.dtype for buffer in dynamics.buffers()} == {torch.float32}
    force = random_force(dynamics, 2, 3, 5)
    zero = torch.zeros(2, 3, dynamics.num_shapes)
    c, v = dynamics.rollout(force, zero, zero)
    assert c.shape == v.shape == (2, 3, 5, dynamics.num_shapes)
    single, _ = dynamics.rollout(force[1, 2], zero[0, 0], zero[0, 0])
    torch.testing.assert_close(c[1, 2], single)
    assert dynamics.deform(c).shape == (2, 3, 5, tiny_rig.num_vertices, 3)
    double = FaceDynamics(tiny_rig, tiny_distribution, CONFIGS[name], dtype=torch.float64)
    precise, _ = double.rollout(force.double(), zero.double(), zero.double())
    torch.testing.assert_close(c.double(), precise, rtol=2e-4, atol=2e-5)


def test_the_rollout_is_differentiable_in_forces_start_and_mass(
    tiny_rig: FaceRig, tiny_distribution: Distribution
) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, dtype=torch.float64)
    force = random_force(dynamics, 4).requires_grad_()
    c0 = torch.zeros(dynamics.num_shapes, dtype=torch.float64, requires_grad=True)
    root = torch.linalg.cholesky(dynamics.mass).requires_grad_()

    def motion(force: Tensor, c0: Tensor, root: Tensor) -> Tensor:
        return dynamics.rollout(force, c0, torch.zeros_like(c0), mass=root @ root.mT)[0]

    assert torch.autograd.gradcheck(motion, (force, c0, root))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_rollout_is_that_of_the_matrices(tiny_rig: FaceRig, tiny_distribution: Distribution, name: str) -> None:
    """The one op, the general one with the same mass, and the generalized forces by themselves."""
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, CONFIGS[name], dtype=torch.float64)
    force, zero = random_force(dynamics, 2, 6), torch.zeros(2, dynamics.num_shapes, dtype=torch.float64)
    beside = torch.linspace(-1, 1, 12 * dynamics.num_shapes, dtype=torch.float64).reshape(2, 6, -1) @ dynamics.mass
    expected = dynamics.rollout(force, zero, zero, dynamics.mass, beside)
    total = dynamics.generalized_force(force) + beside
    for actual in (dynamics.rollout(force, zero, zero, None, beside), dynamics.integrate(total, zero, zero)):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(ops.backends()["runs"]["cpu"] == "reference", reason="the plain-torch twins branch on their data")
def test_the_forward_path_compiles_without_graph_breaks(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution)
    force = random_force(dynamics, 2, 6)
    zero = torch.zeros(2, dynamics.num_shapes)
    compiled = torch.compile(dynamics.rollout, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(force, zero, zero), dynamics.rollout(force, zero, zero))


@pytest.mark.cuda
@pytest.mark.parametrize("law", ["elastic", "newton"])
def test_the_model_moves_to_a_gpu(tiny_rig: FaceRig, tiny_distribution: Distribution, law: str) -> None:
    if reason := missing_gpu():
        pytest.skip(reason)
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig(law=law), dtype=torch.float64)
    force, start = random_force(dynamics, 2, 6), torch.zeros(2, dynamics.num_shapes, dtype=torch.float64)
    results = []
    for device in ("cpu", "cuda"):
        dynamics = dynamics.to(device)
        leaf = force.to(device).requires_grad_()
        c, v = dynamics.rollout(leaf, start.to(device), start.to(device))
        results.append([c, v, *torch.autograd.grad(c.square().sum(), leaf)])
    for there, here in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=1e-10, atol=1e-12)


def test_deform_is_eq_3(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution)
    c = torch.linspace(-1, 1, dynamics.num_shapes)
    torch.testing.assert_close(dynamics.deform(c), torch.einsum("k,kna->na", c, tiny_rig.blendshapes))


def test_the_initial_rate_is_eq_6_or_a_line_fit(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig(fps=10), dtype=torch.float64)
    c = torch.randn(2, 7, dynamics.num_shapes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start, rate = dynamics.initial_state(c)
    torch.testing.assert_close((start, rate), (c[:, 0], (c[:, 1] - c[:, 0]) * 10))
    line = torch.arange(7, dtype=torch.float64)[:, None] * torch.ones(dynamics.num_shapes)
    torch.testing.assert_close(dynamics.initial_state(line, 5)[1], 10 * torch.ones_like(line[0]))
    for frames in (1, 8):
        with pytest.raises(ValueError, match="num_frames must lie in"):
            dynamics.initial_state(c, frames)


def test_still_shapes_are_dropped_and_named(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    shapes = torch.cat([torch.zeros(1, tiny_rig.num_vertices, 3), tiny_rig.blendshapes])
    rig = FaceRig(tiny_rig.neutral, tiny_rig.faces, shapes, ("tongueOut", *tiny_rig.names))
    dynamics = FaceDynamics(rig, tiny_distribution)
    assert dynamics.dropped_shapes == ("tongueOut",)
    assert dynamics.shape_names == tiny_rig.names
    assert dynamics.shape_indices == list(range(1, 9))


def test_dependent_shapes_are_refused_by_name(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    shapes = torch.cat([tiny_rig.blendshapes, tiny_rig.blendshapes[:2].sum(0, keepdim=True)])
    rig = FaceRig(tiny_rig.neutral, tiny_rig.faces, shapes, (*tiny_rig.names, "browInnerUp"))
    with pytest.raises(ValueError, match="singular: the shapes browInnerUp_L, browInnerUp_R, browInnerUp are linearly"):
        FaceDynamics(rig, tiny_distribution)


def test_bad_input_is_refused(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got torch.float16"):
        FaceDynamics(tiny_rig, tiny_distribution, dtype=torch.float16)
    sparse = ops.SparseMatrix.from_dense(torch.ones(5, tiny_distribution.shape[1]))
    p = Distribution(sparse.crow, sparse.col, sparse.val, sparse.shape, tiny_distribution.muscles)
    with pytest.raises(ValueError, match="the distribution has 5 vertices, the rig 99"):
        FaceDynamics(tiny_rig, p)
    no_area = tiny_distribution.with_values(torch.zeros_like(tiny_distribution.val))
    with pytest.raises(ValueError, match="muscle frontalis_medialis_left moves no shape"):
        FaceDynamics(tiny_rig, no_area, PhysicsConfig(fibre_area="muscle"))
    still = FaceRig(tiny_rig.neutral, tiny_rig.faces, 0 * tiny_rig.blendshapes, tiny_rig.names)
    with pytest.raises(ValueError, match="no shape of the rig moves"):
        FaceDynamics(still, tiny_distribution)
    dynamics = FaceDynamics(tiny_rig, tiny_distribution)
    zero = torch.zeros(dynamics.num_shapes)
    with pytest.raises(ValueError, match=r"force must have shape \(..., T, 8\), got \(4, 7\)"):
        dynamics.rollout(torch.zeros(4, 7), zero, zero)
    with pytest.raises(ValueError, match="c0 must have shape"):
        dynamics.rollout(torch.zeros(4, 8), zero[1:], zero)
    with pytest.raises(TypeError, match="float64"):
        dynamics.rollout(torch.zeros(4, 8), zero.double(), zero)
    for bad in (torch.zeros(4, 8).double(), torch.zeros(4, 8).half(), torch.zeros(4, 8, dtype=torch.int64)):
        with pytest.raises(TypeError, match=r"force must be torch.float32 like the model, got torch\."):
            dynamics.rollout(bad, zero, zero)
        with pytest.raises(TypeError, match=r"c must be torch.float32 like the model, got torch\."):
            dynamics.deform(bad)
    with pytest.raises(ValueError, match="force must be on cpu like the model, got meta"):
        dynamics.rollout(torch.zeros(4, 8, device="meta"), zero, zero)
    force, load = torch.zeros(5, 8), torch.zeros(5, dynamics.num_shapes)
    for mass in (None, dynamics.mass):
        with pytest.raises(ValueError, match=r"force must have shape \(..., T, 8\), got \(8,\)"):
            dynamics.rollout(force[0], zero, zero, mass)
        with pytest.raises(ValueError, match=r"generalized_force must have shape \(..., T, \d+\), got"):
            dynamics.rollout(force, zero, zero, mass, load[:, 1:])
        for wrong in (load[1:], load[:1]):
            with pytest.raises(ValueError, match=r"generalized_force must have shape \(5, \d+\) with this force, got"):
                dynamics.rollout(force, zero, zero, mass, wrong)
    for c in (torch.zeros(1, dynamics.num_shapes), zero):
        with pytest.raises(ValueError, match="c must have"):
            dynamics.initial_state(c)
    with pytest.raises(TypeError, match="config must be a PhysicsConfig, got dict"):
        FaceDynamics(tiny_rig, tiny_distribution, {"fps": 25})  # pyright: ignore[reportArgumentType]
    with pytest.raises(RuntimeError, match=r"cannot be built within torch.func.grad"):
        torch.func.grad(lambda x: FaceDynamics(tiny_rig, tiny_distribution).mass.sum() * x)(torch.ones(()))
    half = copy.deepcopy(dynamics).bfloat16()
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(TypeError, match="the model must be float32 or float64, it is torch.bfloat16"),
    ):
        half.rollout(force.bfloat16(), zero.bfloat16(), zero.bfloat16())
    wide = torch.zeros(4, dynamics.num_shapes + 1)
    for function in (dynamics.deform, dynamics.initial_state):
        with pytest.raises(ValueError, match=r"c must have shape \(...,( T,)? \d+\), got"):
            function(wide)
    with pytest.raises(TypeError, match="distribution must be a Distribution, got SparseMatrix"):
        FaceDynamics(tiny_rig, sparse)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"is not finite in torch.float32: f0, fps or the masses are too large"):
        FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig(f0=1e25))
    with pytest.raises(ValueError, match="total_mass must be a finite number in"):
        PhysicsConfig(total_mass=1e308)


def test_shapes_that_stretch_nothing_need_no_springs(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    rigid = torch.eye(3)[:, None, :].expand(3, tiny_rig.num_vertices, 3).contiguous()
    muscle = dataclasses.replace(tiny_distribution.muscles[0], shapes=("x",))
    rig = FaceRig(tiny_rig.neutral, tiny_rig.faces, rigid, ("x", "y", "z"))
    p = Distribution.from_rig(rig, type(tiny_distribution.muscles)([muscle]))
    with pytest.raises(ValueError, match="stretch no edge"):
        FaceDynamics(rig, p)
    assert FaceDynamics(rig, p, PhysicsConfig(edge_fraction=0)).num_shapes == 3


def test_under_autocast_after_a_linear_layer(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    """As people use it: forces out of a layer, gradients back into it."""
    dynamics = FaceDynamics(tiny_rig, tiny_distribution)
    layer = torch.nn.Linear(4, dynamics.num_muscles)
    start = torch.zeros(2, dynamics.num_shapes)

    def loss(features: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            forces = layer(features)
            assert forces.dtype == torch.bfloat16
            c, _ = dynamics.rollout(forces, start, start)
        return c.square().mean()

    features = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    loss(features).backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad.abs().max() > 0


def test_one_line_says_the_sizes(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution)
    assert repr(tiny_rig) == "FaceRig(99 vertices, 160 faces, 8 blendshapes, 2 identity modes)"
    nnz = tiny_distribution.nnz
    assert repr(tiny_distribution) == f"Distribution(99 x 8, {nnz} entries, float32, cpu)"
    assert "8 shapes, 8 muscles, 99 vertices, elastic, fibre, implicit, 25 fps" in repr(dynamics)
    assert repr(dynamics.system) == "ModalSystem(8 coordinates, 8 muscles, dt=0.04, implicit, modes)"
