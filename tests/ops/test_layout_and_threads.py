"""Memory layout and threads do not change a bit of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from ops.cases import (
    FORCE_OPS,
    ROLLOUTS,
    force_functions,
    force_inputs,
    force_problem,
    modal_problem,
    rollout_problem,
)
from torch import Tensor

from biomechau import ops


def strided(tensor: Tensor) -> Tensor:
    """The same values with gaps in memory."""
    wide = tensor.new_zeros((*tensor.shape, 2))
    wide[..., 0] = tensor
    out = wide[..., 0]
    assert out.numel() < 2 or not out.is_contiguous()
    return out


def outputs_and_gradients(function: Callable, inputs: dict[str, Tensor | None]) -> list[Tensor]:
    leaves = {name: None if value is None else value.detach().requires_grad_() for name, value in inputs.items()}
    outputs = function(**leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    wanted = [leaf for leaf in leaves.values() if leaf is not None]
    weights = [torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape) for out in outputs]
    return [*outputs, *torch.autograd.grad(outputs, wanted, weights)]


def assert_same_bits(first: list[Tensor], second: list[Tensor]) -> None:
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


CASES = [(name, fibre) for name in FORCE_OPS for fibre in (False, True)]


ARGUMENTS = [
    (name, fibre, argument)
    for name, fibre in CASES
    for argument, value in force_inputs(name, force_problem(fibre=fibre)).items()
    if value is not None
]


@pytest.mark.parametrize(("name", "fibre", "argument"), ARGUMENTS)
def test_non_contiguous_force_inputs(name: str, fibre: bool, argument: str) -> None:
    problem = force_problem(fibre=fibre)
    inputs = force_inputs(name, problem)
    function = force_functions(name, problem, ops)
    expected = outputs_and_gradients(function, inputs)
    assert_same_bits(outputs_and_gradients(function, {**inputs, argument: strided(inputs[argument])}), expected)


@pytest.mark.parametrize("argument", ["blendshapes", "mass"])
def test_non_contiguous_mass_inputs(argument: str) -> None:
    inputs = {"blendshapes": force_problem().blendshapes, "mass": torch.rand(3, 40, dtype=torch.float64)}
    expected = outputs_and_gradients(ops.generalized_mass, inputs)
    changed = {**inputs, argument: strided(inputs[argument])}
    assert_same_bits(outputs_and_gradients(ops.generalized_mass, changed), expected)


@pytest.mark.parametrize("argument", ["mass", "force", "c0", "v0", "damping", "stiffness"])
def test_non_contiguous_rollout_inputs(argument: str) -> None:
    problem = rollout_problem(mass_axes="sequence", elastic_axes="sequence")

    def function(**tensors: Tensor) -> tuple[Tensor, Tensor]:
        return ops.euler_rollout(**tensors, dt=problem["dt"], scheme="implicit")

    inputs = {name: value for name, value in problem.items() if name != "dt"}
    expected = outputs_and_gradients(function, inputs)
    assert_same_bits(outputs_and_gradients(function, {**inputs, argument: strided(inputs[argument])}), expected)


@pytest.mark.parametrize("argument", ["force", "muscle_force", "c0", "v0"])
def test_non_contiguous_modal_inputs(argument: str) -> None:
    system, inputs = modal_problem(batch=(5,))

    def function(**tensors: Tensor) -> tuple[Tensor, Tensor]:
        return ops.modal_rollout(system, **tensors)

    expected = outputs_and_gradients(function, {**inputs})
    assert_same_bits(outputs_and_gradients(function, {**inputs, argument: strided(inputs[argument])}), expected)


def test_non_contiguous_output_gradients_of_rollouts() -> None:
    system, inputs = modal_problem(batch=(5,))
    problem = rollout_problem(mass_axes="sequence")
    for function, arguments in (
        (lambda force: ops.modal_rollout(system, **{**inputs, "force": force}), inputs),
        (lambda force: ops.euler_rollout(**{**problem, "force": force}), problem),
    ):
        force = arguments["force"].clone().requires_grad_()
        outputs = function(force)
        weights = [torch.randn_like(out) for out in outputs]
        (expected,) = torch.autograd.grad(outputs, force, weights, retain_graph=True)
        (actual,) = torch.autograd.grad(outputs, force, [strided(weight) for weight in weights])
        assert torch.equal(actual, expected)


def test_non_contiguous_output_gradient() -> None:
    problem = force_problem()
    force = problem.force.clone().requires_grad_()
    out = ops.force_projection(problem.blendshapes, problem.distribution, force)
    grad = torch.randn_like(out)
    (expected,) = torch.autograd.grad(out, force, grad, retain_graph=True)
    (actual,) = torch.autograd.grad(out, force, strided(grad))
    assert torch.equal(actual, expected)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "fibre"), CASES)
def test_force_ops_give_the_same_bits_for_any_thread_count(
    name: str, fibre: bool, dtype: torch.dtype, threads: Callable[[int], None]
) -> None:
    # large enough that every loop runs on several threads
    batch = (18_000,) if name == "force_projection" else (20,)
    problem = force_problem(num_vertices=6_000, num_shapes=20, num_muscles=9, batch=batch, fibre=fibre, dtype=dtype)
    function, inputs = force_functions(name, problem, ops), force_inputs(name, problem)
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(outputs_and_gradients(function, inputs))
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_generalized_mass_gives_the_same_bits_for_any_thread_count(
    dtype: torch.dtype, threads: Callable[[int], None]
) -> None:
    blendshapes = force_problem(num_vertices=6_000, num_shapes=20, dtype=dtype).blendshapes
    inputs = {"blendshapes": blendshapes, "mass": torch.rand(2, 6_000, dtype=dtype)}
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(outputs_and_gradients(ops.generalized_mass, inputs))
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("scheme", "mass_axes", "elastic_axes"), ROLLOUTS)
@pytest.mark.parametrize(("batch", "num_frames"), [((9,), 220), pytest.param((1,), 2_000, marks=pytest.mark.slow)])
def test_rollout_gives_the_same_bits_for_any_thread_count(
    scheme: str,
    mass_axes: str,
    elastic_axes: str | None,
    batch: tuple[int, ...],
    num_frames: int,
    dtype: torch.dtype,
    threads: Callable[[int], None],
) -> None:
    problem = rollout_problem(
        batch=batch, num_frames=num_frames, num_shapes=41, mass_axes=mass_axes, elastic_axes=elastic_axes, dtype=dtype
    )
    dt = problem.pop("dt")
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(outputs_and_gradients(lambda **kw: ops.euler_rollout(**kw, dt=dt, scheme=scheme), problem))
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("elastic", [True, False])
@pytest.mark.parametrize("batch", [(1,), (3,), (9,), (40,)])
def test_modal_rollout_gives_the_same_bits_for_any_thread_count(
    batch: tuple[int, ...], elastic: bool, dtype: torch.dtype, threads: Callable[[int], None]
) -> None:
    system, inputs = modal_problem(
        batch=batch, num_frames=90, num_shapes=41, num_muscles=17, elastic=elastic, dt=0.02, dtype=dtype
    )
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(outputs_and_gradients(lambda **kw: ops.modal_rollout(system, **kw), inputs))
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


def test_lazy_negatives_are_read_with_their_sign() -> None:
    p = force_problem()
    negated = torch._neg_view(p.force)
    assert negated.is_neg()
    out = ops.force_projection(p.blendshapes, p.distribution, negated)
    assert torch.equal(out, -ops.force_projection(p.blendshapes, p.distribution, p.force))
    r = rollout_problem()
    force = torch._neg_view(r["force"])
    c, _ = ops.euler_rollout(**{**r, "force": force})
    expected, _ = ops.euler_rollout(**{**r, "force": -r["force"]})
    assert torch.equal(c, expected)


def test_expanded_and_offset_inputs() -> None:
    p = force_problem(batch=(4,))
    expanded = p.force[:1].expand(4, -1, -1)
    out = ops.force_projection(p.blendshapes, p.distribution, expanded)
    assert torch.equal(out, ops.force_projection(p.blendshapes, p.distribution, expanded.clone()))
    offset = torch.cat([p.force, p.force])[3:6]
    assert torch.equal(
        ops.force_projection(p.blendshapes, p.distribution, offset),
        ops.force_projection(p.blendshapes, p.distribution, offset.clone()),
    )


def test_an_index_whose_memory_moves() -> None:
    """The addresses of constant tensors are kept with them, but not longer than they are true."""
    p = force_problem(dtype=torch.float32)
    packed = ops.PackedBlendshapes(p.blendshapes)
    val = p.distribution.val.clone().requires_grad_()  # a constant projection would be kept
    expected = ops.force_projection(packed, p.distribution.with_values(val), p.force)
    constants = (p.distribution.crow, p.distribution.col, *p.distribution.transpose, packed.rows, packed.vertices)
    for tensor in constants:
        address = tensor.data_ptr()
        tensor.data = tensor.clone()
        assert tensor.data_ptr() != address
    reused = [torch.full_like(tensor, 99) for tensor in constants for _ in range(3)]  # writes to what is free now
    found = ops.force_projection(packed, p.distribution.with_values(val), p.force)
    assert len(reused) == 3 * len(constants)
    assert torch.equal(found, expected)
    p.distribution.crow.share_memory_()  # as workers of a DataLoader do it
    assert torch.equal(ops.force_projection(packed, p.distribution.with_values(val), p.force), expected)
