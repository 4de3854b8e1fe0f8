"""The CUDA kernels equal the plain-torch twins on the CPU, forward and backward, emulated and on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops.cases import (
    DTYPES,
    FORCE_OPS,
    assert_close,
    force_functions,
    force_inputs,
    force_problem,
    results_of,
)
from ops.convolutions import convolution_problem
from ops.cuda import Emulation, Gpu, compare_on
from torch import Tensor

from biomechau import ops
from biomechau.ops import _costs, reference

Function = Callable[..., Any]


def compare_forces(gpu: Gpu, name: str, problem: Any) -> None:
    there = gpu.to(problem)
    functions = (force_functions(name, there, ops), force_functions(name, problem, reference))
    compare_on(gpu, *functions, force_inputs(name, problem))


def masses(function: Function) -> Function:
    return lambda **tensors: function(tensors["blendshapes"], tensors["mass"], 0.5)


def mass_inputs(
    batch: tuple[int, ...], num_vertices: int, num_shapes: int, dtype: torch.dtype
) -> dict[str, Tensor | None]:
    mass = torch.rand(*batch, num_vertices, dtype=dtype, generator=torch.Generator().manual_seed(1))
    blendshapes = force_problem(num_vertices=num_vertices, num_shapes=num_shapes, dtype=dtype).blendshapes
    return {"blendshapes": blendshapes, "mass": mass}


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
    compare_on(gpu, masses(ops.generalized_mass), masses(reference.generalized_mass), inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("num_sequences", "num_vertices", "num_shapes"),
    [(9, 70, 6), (17, 70, 6), (33, 300, 30), (70, 37, 41), (18, 20, 70)],
)
def test_generalized_mass_of_many_sequences(
    gpu: Gpu,
    num_sequences: int,
    num_vertices: int,
    num_shapes: int,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some shapes move few vertices or none, so that products are left out."""
    monkeypatch.setattr(_costs, "PREFERENCES", ())
    inputs = mass_inputs((num_sequences,), num_vertices, num_shapes, dtype)
    inputs["blendshapes"][2:, num_vertices // 2 :] = 0
    inputs["blendshapes"][: num_shapes // 2, : num_vertices // 3] = 0
    compare_on(gpu, masses(ops.generalized_mass), masses(reference.generalized_mass), inputs)


def test_shapes_that_do_not_fit_in_shared_memory(emulation: Emulation) -> None:
    emulation.set_most_shared(40 * 1024)
    inputs = mass_inputs((3,), 70, 40, torch.float64)
    compare_on(emulation, masses(ops.generalized_mass), masses(reference.generalized_mass), inputs)


def convolution(function: Function, problem: dict[str, Any]) -> Function:
    return lambda **tensors: function(**tensors, laplacian=problem["laplacian"], vertices=problem["vertices"])


def compare_convolutions(gpu: Gpu, **sizes: Any) -> None:
    problem = convolution_problem(**sizes)
    inputs = {name: problem[name] for name in ("x", "weight", "bias")}
    op = convolution(ops.chebyshev_conv, gpu.to(problem))
    compare_on(gpu, op, convolution(reference.chebyshev_conv, problem), inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_terms", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("every", [None, 6])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_chebyshev_conv(
    gpu: Gpu, batch: tuple[int, ...], every: int | None, num_terms: int, dtype: torch.dtype
) -> None:
    compare_convolutions(gpu, batch=batch, num_terms=num_terms, every=every, dtype=dtype)


@pytest.mark.parametrize(
    "sizes",
    [
        {"batch": (0,)},
        {"num_vertices": 1},
        {"channels": (2, 1)},
        {"channels": (16, 16), "num_vertices": 200, "every": 4},
        {"channels": (40, 3), "num_vertices": 100, "batch": (5,)},
        {"channels": (3, 40), "num_vertices": 150, "every": 2},
        {"channels": (20, 20), "num_vertices": 300, "batch": (9,)},
        {"channels": (40, 3), "num_vertices": 100, "batch": (5,), "every": 2, "num_terms": 1},
        {"channels": (40, 3), "num_vertices": 100, "batch": (5,), "every": 2, "num_terms": 3},
    ],
)
def test_chebyshev_conv_at_the_edges(gpu: Gpu, sizes: dict[str, Any]) -> None:
    compare_convolutions(gpu, **sizes)


def test_chebyshev_conv_without_bias(gpu: Gpu) -> None:
    problem = convolution_problem()
    inputs = {"x": problem["x"], "weight": problem["weight"]}
    there = gpu.to(problem)
    compare_on(gpu, convolution(ops.chebyshev_conv, there), convolution(reference.chebyshev_conv, problem), inputs)


@pytest.mark.parametrize("wanted", ["x", "weight", "bias"])
def test_one_gradient_of_the_convolution(gpu: Gpu, wanted: str) -> None:
    problem = convolution_problem(every=4)
    inputs = {name: problem[name] for name in ("x", "weight", "bias")}
    actual = results_of(convolution(ops.chebyshev_conv, gpu.to(problem)), gpu.to(inputs), [wanted])
    expected = results_of(convolution(reference.chebyshev_conv, problem), inputs, [wanted])
    for one, other in zip(actual, expected, strict=True):
        assert_close(one.cpu(), other)


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


def test_gradcheck(gpu: Gpu) -> None:
    problem = gpu.to(force_problem(num_vertices=8))
    inputs = force_inputs("force_projection", problem)
    leaf = inputs["val"].clone().requires_grad_()
    function = force_functions("force_projection", problem, ops)
    assert torch.autograd.gradcheck(lambda val: function(**{**inputs, "val": val}), (leaf,))


# -- real sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fibre", [False, True])
def test_forces_at_face_size(gpu: Gpu, fibre: bool) -> None:
    sizes = {"num_vertices": 26_719, "num_shapes": 10, "num_muscles": 31, "density": 0.07}
    problem = force_problem(**sizes, batch=(3,), fibre=fibre, dtype=torch.float32)
    for name in FORCE_OPS:
        compare_forces(gpu, name, problem)


def test_mass_at_face_size(emulation: Emulation) -> None:
    inputs = mass_inputs((), 26_719, 9, torch.float32)
    compare_on(emulation, masses(ops.generalized_mass), masses(reference.generalized_mass), inputs)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_vertices", "batch"), [(9_409, (64,)), (26_719, ()), (26_719, (8,))])
def test_mass_at_face_size_on_a_gpu(
    real_gpu: Gpu, num_vertices: int, batch: tuple[int, ...], dtype: torch.dtype
) -> None:
    inputs = mass_inputs(batch, num_vertices, 53, dtype)
    compare_on(real_gpu, masses(ops.generalized_mass), masses(reference.generalized_mass), inputs)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_inputs", "every"), [(3, None), (16, 4)])
def test_convolution_at_face_size_on_a_gpu(
    real_gpu: Gpu, num_inputs: int, every: int | None, dtype: torch.dtype
) -> None:
    sizes = {"num_vertices": 9_409, "num_terms": 6, "channels": (num_inputs, 16)}
    compare_convolutions(real_gpu, **sizes, batch=(8,), every=every, dtype=dtype)
