"""Every op equals its plain-torch twin, forward and backward, in both precisions and with every instruction set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops.cases import (
    DTYPES,
    FORCE_OPS,
    FORCES,
    ROLLOUTS,
    acting,
    assert_close,
    compare,
    force_functions,
    force_inputs,
    force_problem,
    modal_problem,
    rollout_problem,
    spd,
)
from torch import Tensor

from biomechau import ops
from biomechau.ops import reference


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize("name", FORCE_OPS)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (2, 1, 3), (0,), (2, 0)])
def test_force_ops(name: str, fibre: bool, dtype: torch.dtype, batch: tuple[int, ...], isa: str) -> None:
    problem = force_problem(batch=batch, fibre=fibre, dtype=dtype)
    compare(force_functions(name, problem, ops), force_functions(name, problem, reference), force_inputs(name, problem))


@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize("name", FORCE_OPS)
@pytest.mark.parametrize("sizes", [{"density": 0.0}, {"num_muscles": 1}, {"num_shapes": 1}, {"num_vertices": 1}])
def test_force_ops_at_the_edges(name: str, fibre: bool, sizes: dict[str, Any]) -> None:
    problem = force_problem(fibre=fibre, **sizes)
    compare(force_functions(name, problem, ops), force_functions(name, problem, reference), force_inputs(name, problem))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [
        {"num_vertices": 301, "num_muscles": 30, "density": 0.5},  # many muscles at every vertex
        {"num_vertices": 700, "num_muscles": 2, "density": 0.005},  # none at most of them
        {"num_vertices": 5_003, "num_muscles": 5, "density": 0.02},  # blocks of more than one part
        {"num_vertices": 33_001, "num_muscles": 3, "density": 0.003},  # more blocks than pieces
    ],
)
def test_reduced_projection_at_sizes_that_fill_no_block(
    sizes: dict[str, Any], fibre: bool, dtype: torch.dtype, isa: str
) -> None:
    problem, name = force_problem(num_shapes=13, fibre=fibre, dtype=dtype, **sizes), "reduced_projection"
    compare(force_functions(name, problem, ops), force_functions(name, problem, reference), force_inputs(name, problem))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize("num_vertices", [9_409, pytest.param(26_719, marks=pytest.mark.slow)])
def test_force_projection_at_face_size(num_vertices: int, fibre: bool, dtype: torch.dtype) -> None:
    problem = force_problem(
        num_vertices=num_vertices, num_shapes=53, num_muscles=31, density=0.07, batch=(2, 8), fibre=fibre, dtype=dtype
    )
    for name in FORCE_OPS:
        compare(
            force_functions(name, problem, ops), force_functions(name, problem, reference), force_inputs(name, problem)
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("num_vertices", [1, 31, 32, 33, 600])
def test_generalized_mass(batch: tuple[int, ...], num_vertices: int, dtype: torch.dtype, isa: str) -> None:
    blendshapes = force_problem(num_vertices=num_vertices, num_shapes=7, dtype=dtype).blendshapes
    mass = torch.rand(*batch, num_vertices, dtype=dtype, generator=torch.Generator().manual_seed(1))

    def at_scale(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda **tensors: function(tensors["blendshapes"], tensors["mass"], 0.5)

    inputs: dict[str, Tensor | None] = {"blendshapes": blendshapes, "mass": mass}
    compare(at_scale(ops.generalized_mass), at_scale(reference.generalized_mass), inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_vertices", "batch"), [(9_409, ()), pytest.param(26_719, (4,), marks=pytest.mark.slow)])
def test_generalized_mass_at_face_size(num_vertices: int, batch: tuple[int, ...], dtype: torch.dtype) -> None:
    blendshapes = force_problem(num_vertices=num_vertices, num_shapes=53, dtype=dtype).blendshapes
    mass = torch.rand(*batch, num_vertices, dtype=dtype, generator=torch.Generator().manual_seed(1))
    compare(ops.generalized_mass, reference.generalized_mass, {"blendshapes": blendshapes, "mass": mass})


def rollout_with(function: Callable[..., Any], scheme: str, dt: float) -> Callable[..., Any]:
    return lambda **tensors: function(**tensors, dt=dt, scheme=scheme)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("scheme", "mass_axes", "elastic_axes"), ROLLOUTS)
@pytest.mark.parametrize(("batch", "num_frames"), [((), 4), ((3,), 1), ((2, 3), 5), ((2,), 0), ((0,), 3)])
def test_euler_rollout(
    scheme: str,
    mass_axes: str,
    elastic_axes: str | None,
    batch: tuple[int, ...],
    num_frames: int,
    dtype: torch.dtype,
) -> None:
    problem = rollout_problem(
        batch=batch, num_frames=num_frames, mass_axes=mass_axes, elastic_axes=elastic_axes, dtype=dtype
    )
    dt = problem.pop("dt")
    compare(rollout_with(ops.euler_rollout, scheme, dt), rollout_with(reference.euler_rollout, scheme, dt), problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("mass_axes", ["shared", "sequence"])
def test_euler_rollout_at_face_size(scheme: str, mass_axes: str, dtype: torch.dtype, isa: str) -> None:
    problem = rollout_problem(batch=(8,), num_frames=32, num_shapes=53, mass_axes=mass_axes, dtype=dtype)
    dt = problem.pop("dt")
    compare(rollout_with(ops.euler_rollout, scheme, dt), rollout_with(reference.euler_rollout, scheme, dt), problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("batch", "num_frames", "num_shapes"), [((1,), 40, 53), ((3,), 5, 70), ((13,), 17, 20), ((150,), 3, 5)]
)
@pytest.mark.parametrize(
    ("scheme", "mass_axes", "elastic_axes"),
    [
        ("explicit", "shared", None),
        ("semi_implicit", "sequence", None),
        ("implicit", "shared", "shared"),
        ("implicit", "shared", "sequence"),
        ("explicit", "frame", "shared"),
    ],
)
def test_euler_rollout_at_sizes_that_fill_no_block(
    scheme: str,
    mass_axes: str,
    elastic_axes: str | None,
    batch: tuple[int, ...],
    num_frames: int,
    num_shapes: int,
    dtype: torch.dtype,
) -> None:
    problem = rollout_problem(
        batch=batch,
        num_frames=num_frames,
        num_shapes=num_shapes,
        mass_axes=mass_axes,
        elastic_axes=elastic_axes,
        dtype=dtype,
    )
    dt = problem.pop("dt") / 4
    compare(rollout_with(ops.euler_rollout, scheme, dt), rollout_with(reference.euler_rollout, scheme, dt), problem)


def modal_with(function: Callable[..., Any], system: ops.ModalSystem) -> Callable[..., Any]:
    return lambda **tensors: function(system, **tensors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("elastic", [True, False])
@pytest.mark.parametrize("forces", FORCES)
@pytest.mark.parametrize(("batch", "num_frames"), [((), 4), ((3,), 1), ((2, 3), 5), ((2,), 0), ((0,), 3), ((9,), 0)])
def test_modal_rollout(
    scheme: str,
    elastic: bool,
    forces: tuple[str, ...],
    batch: tuple[int, ...],
    num_frames: int,
    dtype: torch.dtype,
) -> None:
    system, inputs = modal_problem(
        batch=batch, num_frames=num_frames, scheme=scheme, elastic=elastic, vector=num_frames == 5, dtype=dtype
    )
    compare(modal_with(ops.modal_rollout, system), modal_with(reference.modal_rollout, system), acting(inputs, forces))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("elastic", "scheme"), [(True, "implicit"), (True, "explicit"), (False, "explicit")])
@pytest.mark.parametrize(
    ("batch", "num_frames", "num_shapes"), [((8,), 32, 53), ((1,), 100, 53), ((33,), 40, 20), ((3,), 9, 70)]
)
def test_modal_rollout_at_face_size(
    elastic: bool,
    scheme: str,
    batch: tuple[int, ...],
    num_frames: int,
    num_shapes: int,
    dtype: torch.dtype,
    isa: str,
) -> None:
    system, inputs = modal_problem(
        batch=batch,
        num_frames=num_frames,
        num_shapes=num_shapes,
        num_muscles=31,
        scheme=scheme,
        elastic=elastic,
        dt=0.02,
        dtype=dtype,
    )
    for forces in FORCES:
        compare(
            modal_with(ops.modal_rollout, system), modal_with(reference.modal_rollout, system), acting(inputs, forces)
        )


@pytest.mark.parametrize("output", [0, 1])
def test_an_output_without_gradient_counts_as_zero(output: int) -> None:
    for elastic_axes in (None, "shared"):
        problem = rollout_problem(elastic_axes=elastic_axes)
        dt = problem.pop("dt")
        compare(
            lambda dt=dt, **kw: ops.euler_rollout(**kw, dt=dt)[output],
            lambda dt=dt, **kw: reference.euler_rollout(**kw, dt=dt)[output],
            problem,
        )
    for elastic in (True, False):
        system, inputs = modal_problem(elastic=elastic)
        compare(
            lambda system=system, **kw: ops.modal_rollout(system, **kw)[output],
            lambda system=system, **kw: reference.modal_rollout(system, **kw)[output],
            inputs,
        )


def test_a_stiffness_or_a_damping_alone_has_modes_too() -> None:
    mass, stiffness = spd(4), spd(4, seed=2)
    _, inputs = modal_problem(num_shapes=4)
    inputs = acting(inputs, ("force",))
    for matrices in ({"stiffness": stiffness}, {"damping": stiffness}):
        for scheme in ops.SCHEMES:
            system = ops.ModalSystem(mass, 0.1, **matrices, scheme=scheme)
            compare(modal_with(ops.modal_rollout, system), modal_with(reference.modal_rollout, system), inputs)


@pytest.mark.parametrize("scheme", ops.SCHEMES)
def test_only_one_of_stiffness_and_damping(scheme: str) -> None:
    for missing in ("damping", "stiffness"):
        problem = rollout_problem(num_shapes=4)
        dt = problem.pop("dt")
        problem[missing] = None
        compare(rollout_with(ops.euler_rollout, scheme, dt), rollout_with(reference.euler_rollout, scheme, dt), problem)


@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("dt", [1 / 25, 1 / 240, 1e-3])
def test_short_steps_lose_no_digits(scheme: str, dt: float) -> None:
    """float32 against the float64 twin: the gradient of the mass needs accelerations, not differences of rates."""
    single = rollout_problem(batch=(4,), num_frames=32, num_shapes=20, dtype=torch.float32)
    single.pop("dt")
    results = []
    for function, dtype in ((ops.euler_rollout, torch.float32), (reference.euler_rollout, torch.float64)):
        leaves = {name: value.to(dtype).requires_grad_() for name, value in single.items()}
        c, v = function(**leaves, dt=dt, scheme=scheme)
        weight = torch.linspace(-1, 1, c.numel(), dtype=dtype).reshape(c.shape)
        results.append((c, v, *torch.autograd.grad((c, v), list(leaves.values()), (weight, weight))))
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected.float())


@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("dt", [1 / 25, 1 / 240, 1e-3])
def test_short_steps_lose_no_digits_in_modes(scheme: str, dt: float) -> None:
    system, inputs = modal_problem(
        batch=(4,), num_frames=32, num_shapes=20, num_muscles=9, scheme=scheme, dt=dt, dtype=torch.float32
    )
    # Rounded to float32, the damping is not exactly diagonal in the modes: step by step nobody asks.
    mass, damping, stiffness, projection = (
        getattr(system, name).double() for name in ("mass", "damping", "stiffness", "projection")
    )

    def precise(force: Tensor, c0: Tensor, v0: Tensor, muscle_force: Tensor) -> tuple[Tensor, Tensor]:
        total = force + muscle_force @ projection.mT
        return reference.euler_rollout(mass, total, c0, v0, dt, damping, stiffness, scheme)

    results = []
    for function, dtype in ((functools.partial(ops.modal_rollout, system), torch.float32), (precise, torch.float64)):
        leaves = {name: value.to(dtype).requires_grad_() for name, value in inputs.items()}
        c, v = function(**leaves)
        weight = torch.linspace(-1, 1, c.numel(), dtype=dtype).reshape(c.shape)
        results.append((c, v, *torch.autograd.grad((c, v), list(leaves.values()), (weight, weight))))
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected.float())


@pytest.mark.parametrize("mass_axes", ["shared", "sequence"])
def test_implicit_solves_its_equation(mass_axes: str) -> None:
    """(M + h D + h^2 K) v+ = M v + h (Q - K c), as implicit Euler is usually written."""
    p = rollout_problem(mass_axes=mass_axes)
    c, v = ops.euler_rollout(**p, scheme="implicit")
    before_c = torch.cat([p["c0"][:, None], c[:, :-1]], 1)
    before_v = torch.cat([p["v0"][:, None], v[:, :-1]], 1)
    mass, damping, stiffness, h = p["mass"], p["damping"], p["stiffness"], p["dt"]
    left = v @ (mass + h * damping + h * h * stiffness)
    right = before_v @ mass + h * (p["force"] - before_c @ stiffness)
    torch.testing.assert_close(left, right, rtol=0, atol=1e-12)
    torch.testing.assert_close(c, before_c + h * v, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FORCE_OPS)
def test_no_shapes(name: str) -> None:
    problem = force_problem(num_shapes=0)
    compare(force_functions(name, problem, ops), force_functions(name, problem, reference), force_inputs(name, problem))


def test_autocast_changes_nothing() -> None:
    p = force_problem(dtype=torch.float32)
    r = rollout_problem(dtype=torch.float32)
    for module in (ops, reference):
        expected = module.force_projection(p.blendshapes, p.distribution, p.force), *module.euler_rollout(**r)
        with torch.autocast("cpu", torch.bfloat16):
            actual = module.force_projection(p.blendshapes, p.distribution, p.force), *module.euler_rollout(**r)
        for a, b in zip(actual, expected, strict=True):
            assert a.dtype == torch.float32
            assert torch.equal(a, b)
