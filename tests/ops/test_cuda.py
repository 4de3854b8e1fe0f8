"""The CUDA kernels equal the plain-torch twins on the CPU, forward and backward, emulated and on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops.cases import (
    DTYPES,
    FORCE_OPS,
    ROLLOUTS,
    assert_close,
    force_functions,
    force_inputs,
    force_problem,
    results_of,
    rollout_problem,
)
from ops.cuda import Emulation, Gpu
from torch import Tensor

from biomechau import ops
from biomechau.ops import reference

Function = Callable[..., Any]


def compare(gpu: Gpu, op: Function, twin: Function, inputs: dict[str, Tensor | None]) -> None:
    """The op on the GPU, all its gradients and each alone, against the twin on the CPU."""
    actual, expected = results_of(op, gpu.to(inputs)), results_of(twin, inputs)
    for one, other in zip(actual, expected, strict=True):
        assert_close(one.cpu(), other)


def compare_forces(gpu: Gpu, name: str, problem: Any) -> None:
    there = gpu.to(problem)
    compare(
        gpu, force_functions(name, there, ops), force_functions(name, problem, reference), force_inputs(name, problem)
    )


def masses(function: Function) -> Function:
    return lambda **tensors: function(tensors["blendshapes"], tensors["mass"], 0.5)


def mass_inputs(
    batch: tuple[int, ...], num_vertices: int, num_shapes: int, dtype: torch.dtype
) -> dict[str, Tensor | None]:
    mass = torch.rand(*batch, num_vertices, dtype=dtype, generator=torch.Generator().manual_seed(1))
    blendshapes = force_problem(num_vertices=num_vertices, num_shapes=num_shapes, dtype=dtype).blendshapes
    return {"blendshapes": blendshapes, "mass": mass}


def rollout(function: Function, scheme: str, dt: float = 0.1) -> Function:
    return lambda **tensors: function(**tensors, dt=dt, scheme=scheme)


def rollout_inputs(**sizes: Any) -> dict[str, Tensor | None]:
    problem = rollout_problem(**sizes)
    del problem["dt"]
    return problem


def compare_rollouts(gpu: Gpu, scheme: str, inputs: dict[str, Tensor | None]) -> None:
    compare(gpu, rollout(ops.euler_rollout, scheme), rollout(reference.euler_rollout, scheme), inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize("name", FORCE_OPS)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (70,), (2, 0)])
def test_force_ops(gpu: Gpu, name: str, fibre: bool, dtype: torch.dtype, batch: tuple[int, ...]) -> None:
    compare_forces(gpu, name, force_problem(batch=batch, fibre=fibre, dtype=dtype))


@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize("name", FORCE_OPS)
@pytest.mark.parametrize(
    "sizes",
    [
        {"density": 0.0},
        {"num_muscles": 1},
        {"num_shapes": 0},
        {"num_shapes": 1},
        {"num_vertices": 1},
        {"num_vertices": 150, "num_shapes": 37, "num_muscles": 12, "batch": (130,)},
    ],
)
def test_force_ops_at_the_edges(gpu: Gpu, name: str, fibre: bool, sizes: dict[str, Any]) -> None:
    compare_forces(gpu, name, force_problem(fibre=fibre, **sizes))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (9,), (0,)])
@pytest.mark.parametrize(("num_vertices", "num_shapes"), [(1, 7), (33, 7), (300, 7), (50, 40), (50, 0), (20, 70)])
def test_generalized_mass(
    gpu: Gpu, batch: tuple[int, ...], num_vertices: int, num_shapes: int, dtype: torch.dtype
) -> None:
    inputs = mass_inputs(batch, num_vertices, num_shapes, dtype)
    compare(gpu, masses(ops.generalized_mass), masses(reference.generalized_mass), inputs)


@pytest.mark.parametrize("num_sequences", [17, 40, 70])
def test_generalized_mass_of_many_sequences(gpu: Gpu, num_sequences: int) -> None:
    inputs = mass_inputs((num_sequences,), 70, 6, torch.float64)
    compare(gpu, masses(ops.generalized_mass), masses(reference.generalized_mass), inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("scheme", "mass_axes", "elastic_axes"), ROLLOUTS)
@pytest.mark.parametrize(("batch", "num_frames"), [((), 4), ((2, 2), 3), ((2,), 0), ((0,), 3)])
def test_euler_rollout(
    gpu: Gpu,
    scheme: str,
    mass_axes: str,
    elastic_axes: str | None,
    batch: tuple[int, ...],
    num_frames: int,
    dtype: torch.dtype,
) -> None:
    inputs = rollout_inputs(
        batch=batch, num_frames=num_frames, mass_axes=mass_axes, elastic_axes=elastic_axes, dtype=dtype
    )
    compare_rollouts(gpu, scheme, inputs)


@pytest.mark.parametrize(("num_shapes", "dtype"), [(53, torch.float32), (70, torch.float64)])
@pytest.mark.parametrize(
    ("scheme", "mass_axes", "elastic_axes"),
    [("explicit", "frame", None), ("semi_implicit", "shared", "shared"), ("implicit", "sequence", "sequence")],
)
def test_euler_rollout_at_the_size_of_a_rig(
    gpu: Gpu, scheme: str, mass_axes: str, elastic_axes: str | None, num_shapes: int, dtype: torch.dtype
) -> None:
    inputs = rollout_inputs(
        batch=(2,), num_frames=4, num_shapes=num_shapes, mass_axes=mass_axes, elastic_axes=elastic_axes, dtype=dtype
    )
    compare_rollouts(gpu, scheme, inputs)


@pytest.mark.parametrize(("num_shapes", "scheme"), [(130, "semi_implicit"), (530, "implicit")])
def test_euler_rollout_of_large_systems(gpu: Gpu, scheme: str, num_shapes: int) -> None:
    """More rows than a block has groups of threads; more than it has threads."""
    compare_rollouts(gpu, scheme, rollout_inputs(batch=(1,), num_frames=2, num_shapes=num_shapes))


@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("missing", ["damping", "stiffness"])
def test_only_one_of_stiffness_and_damping(gpu: Gpu, scheme: str, missing: str) -> None:
    compare_rollouts(gpu, scheme, {**rollout_inputs(num_shapes=4), missing: None})


@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("mass_axes", ["shared", "sequence"])
def test_long_rollouts(gpu: Gpu, scheme: str, mass_axes: str) -> None:
    """Sums over frames that are cut into pieces."""
    inputs = rollout_inputs(batch=(3,), num_frames=150, num_shapes=5, mass_axes=mass_axes, elastic_axes="sequence")
    compare_rollouts(gpu, scheme, inputs)


@pytest.mark.parametrize("size", [1024, 4 * 1024, 8 * 1024, 12 * 1024])
def test_matrices_that_do_not_fit_in_shared_memory(emulation: Emulation, size: int) -> None:
    emulation.set_most_shared(size)
    for scheme in ops.SCHEMES:
        compare_rollouts(emulation, scheme, rollout_inputs(num_shapes=13, elastic_axes="sequence"))


def test_shapes_that_do_not_fit_in_shared_memory(emulation: Emulation) -> None:
    emulation.set_most_shared(20 * 1024)
    inputs = mass_inputs((3,), 70, 40, torch.float64)
    compare(emulation, masses(ops.generalized_mass), masses(reference.generalized_mass), inputs)


# -- each gradient alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize("name", FORCE_OPS)
def test_one_gradient_of_force_ops(gpu: Gpu, name: str, fibre: bool) -> None:
    problem = force_problem(fibre=fibre)
    inputs = force_inputs(name, problem)
    for wanted in (key for key, value in inputs.items() if value is not None):
        actual = results_of(force_functions(name, gpu.to(problem), ops), gpu.to(inputs), [wanted])
        expected = results_of(force_functions(name, problem, reference), inputs, [wanted])
        for one, other in zip(actual, expected, strict=True):
            assert_close(one.cpu(), other)


@pytest.mark.parametrize("wanted", ["blendshapes", "mass"])
def test_one_gradient_of_the_mass(gpu: Gpu, wanted: str) -> None:
    inputs = mass_inputs((2,), 40, 5, torch.float64)
    actual = results_of(masses(ops.generalized_mass), gpu.to(inputs), [wanted])
    expected = results_of(masses(reference.generalized_mass), inputs, [wanted])
    for one, other in zip(actual, expected, strict=True):
        assert_close(one.cpu(), other)


@pytest.mark.parametrize("wanted", ["mass", "force", "c0", "v0", "damping", "stiffness"])
def test_one_gradient_of_the_rollout(gpu: Gpu, wanted: str) -> None:
    inputs = rollout_inputs()
    actual = results_of(rollout(ops.euler_rollout, "implicit"), gpu.to(inputs), [wanted])
    expected = results_of(rollout(reference.euler_rollout, "implicit"), inputs, [wanted])
    for one, other in zip(actual, expected, strict=True):
        assert_close(one.cpu(), other)


def test_gradcheck(gpu: Gpu) -> None:
    problem = gpu.to(force_problem(num_vertices=8))
    inputs = force_inputs("force_projection", problem)
    leaf = inputs["val"].clone().requires_grad_()
    function = force_functions("force_projection", problem, ops)
    assert torch.autograd.gradcheck(lambda val: function(**{**inputs, "val": val}), (leaf,))
    system = gpu.to(rollout_inputs(num_frames=3, num_shapes=2))
    leaf = system["stiffness"].clone().requires_grad_()
    step = rollout(ops.euler_rollout, "implicit")
    assert torch.autograd.gradcheck(lambda stiffness: step(**{**system, "stiffness": stiffness}), (leaf,))


# -- real sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fibre", [False, True])
def test_forces_at_face_size(gpu: Gpu, fibre: bool) -> None:
    sizes = {"num_vertices": 26_719, "num_shapes": 10, "num_muscles": 31, "density": 0.07}
    problem = force_problem(**sizes, batch=(3,), fibre=fibre, dtype=torch.float32)
    for name in FORCE_OPS:
        compare_forces(gpu, name, problem)


def test_mass_at_face_size(emulation: Emulation) -> None:
    inputs = mass_inputs((), 26_719, 9, torch.float32)
    compare(emulation, masses(ops.generalized_mass), masses(reference.generalized_mass), inputs)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_vertices", "batch"), [(9_409, (64,)), (26_719, ()), (26_719, (8,))])
def test_mass_at_face_size_on_a_gpu(
    real_gpu: Gpu, num_vertices: int, batch: tuple[int, ...], dtype: torch.dtype
) -> None:
    inputs = mass_inputs(batch, num_vertices, 53, dtype)
    compare(real_gpu, masses(ops.generalized_mass), masses(reference.generalized_mass), inputs)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize(("batch", "num_frames"), [((8,), 32), ((1,), 256), ((300,), 32)])
def test_rollout_at_face_size_on_a_gpu(
    real_gpu: Gpu, scheme: str, batch: tuple[int, ...], num_frames: int, dtype: torch.dtype
) -> None:
    inputs = rollout_inputs(batch=batch, num_frames=num_frames, num_shapes=53, mass_axes="sequence", dtype=dtype)
    compare_rollouts(real_gpu, scheme, inputs)
