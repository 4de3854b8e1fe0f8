"""The Chebyshev convolution as its own op: against the twin, by finite differences, and in memory.

Against the definition by eigenvalues: tests/models/test_chebyshev.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from ops.cases import assert_close
from ops.convolutions import convolution_problem, split_convolution
from ops.test_against_reference import DTYPES, compare
from ops.test_gradcheck import check
from ops.test_layout_and_threads import assert_same_bits, outputs_and_gradients, strided, threads as threads

from biomechau import _core, ops
from biomechau.ops import SparseMatrix, _backend, reference

# Channels that take each way: the terms of x or of the output's gradient, Clenshaw's sums, whole vectors and parts.
CHANNELS = [(3, 16), (16, 16), (16, 3), (5, 7), (40, 2), (2, 40)]


def compare_with_twin(**problem: Any) -> None:
    arguments = convolution_problem(**problem)
    function, inputs = split_convolution(arguments, ops.chebyshev_conv)
    twin, _ = split_convolution(arguments, reference.chebyshev_conv)
    compare(function, twin, inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("every", [None, 4])
def test_against_twin(channels: tuple[int, int], every: int | None, dtype: torch.dtype, isa: str) -> None:
    compare_with_twin(channels=channels, every=every, num_vertices=300, num_terms=6, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (1,), (20,), (2, 1, 3), (0,), (2, 0)])
@pytest.mark.parametrize("every", [None, 4])
def test_batches(batch: tuple[int, ...], every: int | None, dtype: torch.dtype, isa: str) -> None:
    compare_with_twin(batch=batch, every=every, channels=(3, 16), dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("narrow", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("num_frames", [3, 4, 8, 9, 17, 40])
def test_frames_side_by_side(num_frames: int, narrow: int, dtype: torch.dtype, isa: str) -> None:
    for channels, num_terms, every in (((narrow, 17), 4, 3), ((17, narrow), 5, None)):
        compare_with_twin(
            batch=(num_frames,), num_vertices=70, channels=channels, num_terms=num_terms, every=every, dtype=dtype
        )


@pytest.mark.parametrize("num_terms", [1, 2, 3, 9])
@pytest.mark.parametrize("num_vertices", [1, 2, 31, 32, 33, 700])
@pytest.mark.parametrize("channels", [(2, 9), (9, 2)])
def test_numbers_of_terms_and_vertices(num_terms: int, num_vertices: int, channels: tuple[int, int]) -> None:
    compare_with_twin(num_terms=num_terms, num_vertices=num_vertices, channels=channels, bias=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_vertices", "batch"), [(9_409, (4,)), pytest.param(26_719, (), marks=pytest.mark.slow)])
@pytest.mark.parametrize("channels", [(3, 16), (16, 16)])
def test_at_face_size(num_vertices: int, batch: tuple, channels: tuple[int, int], dtype: torch.dtype) -> None:
    for every in (None, 4):
        compare_with_twin(
            num_vertices=num_vertices, batch=batch, channels=channels, every=every, num_terms=6, dtype=dtype
        )


def test_results_past_the_caches(isa: str) -> None:
    """Above a certain size results are streamed to memory."""
    compare_with_twin(num_vertices=1_200, batch=(64,), channels=(3, 16), num_terms=6, dtype=torch.float32)


def test_far_neighbours() -> None:
    """An operator whose rows reach everywhere: no order brings all neighbours close."""
    arguments = convolution_problem(num_vertices=200, channels=(3, 5))
    dense = torch.randn(200, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) / 30
    arguments["laplacian"] = SparseMatrix.from_dense(dense + dense.T)
    function, inputs = split_convolution(arguments, ops.chebyshev_conv)
    twin, _ = split_convolution(arguments, reference.chebyshev_conv)
    compare(function, twin, inputs)


def test_no_vertices_at_all() -> None:
    problem = convolution_problem(every=4)
    problem["vertices"] = problem["vertices"][:0]
    function, inputs = split_convolution(problem, ops.chebyshev_conv)
    out, grad_x, grad_weight, grad_bias = outputs_and_gradients(function, inputs)
    assert out.shape == (2, 3, 0, 3)
    for grad in (grad_x, grad_weight, grad_bias):
        assert torch.equal(grad, torch.zeros_like(grad))


@pytest.mark.parametrize("dtype", DTYPES)
def test_some_vertices_are_rows_of_all(dtype: torch.dtype) -> None:
    problem = convolution_problem(every=3, dtype=dtype)
    some = ops.chebyshev_conv(**problem)
    assert_close(some, ops.chebyshev_conv(**{**problem, "vertices": None})[..., problem["vertices"], :])


@pytest.mark.parametrize("wanted", ["x", "weight", "bias"])
@pytest.mark.parametrize("channels", [(2, 3), (3, 2), (1, 9), (9, 1)])
@pytest.mark.parametrize("every", [None, 3])
def test_gradcheck(wanted: str, channels: tuple[int, int], every: int | None) -> None:
    function, inputs = split_convolution(
        convolution_problem(num_vertices=11, channels=channels, every=every), ops.chebyshev_conv
    )
    check(function, inputs, wanted)


@pytest.mark.parametrize("channels", [(3, 9), (9, 1)])
def test_gradcheck_of_many_frames(channels: tuple[int, int]) -> None:
    function, inputs = split_convolution(
        convolution_problem(batch=(9,), num_vertices=5, channels=channels), ops.chebyshev_conv
    )
    check(function, inputs, "x")


def test_the_operator_outside_of_unit_eigenvalues() -> None:
    problem = convolution_problem()
    big = problem["laplacian"].with_values(3 * problem["laplacian"].val)
    for name in ("x", "weight"):
        check(*split_convolution({**problem, "laplacian": big}, ops.chebyshev_conv), name)


@pytest.mark.parametrize("wanted", ["x", "weight", "bias"])
def test_a_gradient_nobody_asked_for_is_not_computed(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, bool] = {}
    original = _core.chebyshev_conv_bwd

    def spy(*args: Any) -> None:
        asked.update(
            {name: buffer is not None for name, buffer in zip(("x", "weight", "bias"), args[-5:-2], strict=True)}
        )
        original(*args)

    monkeypatch.setattr(_core, "chebyshev_conv_bwd", spy)
    problem = convolution_problem()
    problem[wanted].requires_grad_()
    ops.chebyshev_conv(**problem).sum().backward()
    assert asked == {name: name == wanted for name in asked}


@pytest.mark.parametrize("argument", ["x", "weight", "bias", "vertices", "grad_out"])
def test_non_contiguous_tensors(argument: str) -> None:
    problem = convolution_problem(every=3)
    function, inputs = split_convolution(problem, ops.chebyshev_conv)
    expected = outputs_and_gradients(function, inputs)
    if argument == "grad_out":
        leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
        out = function(**leaves)
        weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
        actual = [out, *torch.autograd.grad(out, list(leaves.values()), strided(weight))]
    else:
        changed, inputs = split_convolution({**problem, argument: strided(problem[argument])}, ops.chebyshev_conv)
        actual = outputs_and_gradients(changed, inputs)
    assert_same_bits(actual, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [(3, 16), (16, 16), (16, 3)])
@pytest.mark.parametrize(("num_vertices", "batch", "every"), [(300, (70,), None), (6_000, (), None), (6_000, (9,), 4)])
def test_the_same_bits_for_any_thread_count(
    num_vertices: int,
    batch: tuple[int, ...],
    every: int | None,
    channels: tuple[int, int],
    dtype: torch.dtype,
    threads: Callable[[int], None],
) -> None:
    problem = convolution_problem(
        num_vertices=num_vertices, batch=batch, every=every, channels=channels, num_terms=6, dtype=dtype
    )
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(outputs_and_gradients(*split_convolution(problem, ops.chebyshev_conv)))
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


def test_not_a_number_stays_among_its_neighbours() -> None:
    problem = convolution_problem(num_vertices=400, batch=(5,), num_terms=3)
    problem["x"][2, 17] = torch.nan
    bad = ops.chebyshev_conv(**problem).isnan()
    assert torch.equal(bad, reference.chebyshev_conv(**problem).isnan())
    assert bad[2].any()
    assert not bad[[0, 1, 3, 4]].any()


def opcheck_arguments(every: int | None, bias: bool, order: bool) -> tuple[Any, ...]:
    p = convolution_problem(every=every, bias=bias, num_vertices=12)
    laplacian = p["laplacian"]
    x, weight, bias_ = (None if t is None else t.requires_grad_() for t in (p["x"], p["weight"], p["bias"]))
    order_ = laplacian.neighbourhood_order() if order else None
    return x, weight, bias_, laplacian.val, p["vertices"], laplacian.crow, laplacian.col, order_


@pytest.mark.parametrize("every", [None, 3])
@pytest.mark.parametrize("bias", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("order", [False, True])
def test_opcheck(every: int | None, bias: bool, order: bool) -> None:
    torch.library.opcheck(torch.ops.biomechau.chebyshev_conv, opcheck_arguments(every, bias, order))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # raised inside the compiler
@pytest.mark.parametrize("backend", ["kernels", "reference"])
@pytest.mark.parametrize("ordered", [False, True])
def test_compile_fullgraph_equals_eager(backend: str, ordered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(_backend, "_backend", backend)
    problem = convolution_problem(every=3, num_vertices=90)
    function, inputs = split_convolution(problem, ops.chebyshev_conv)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    if ordered:
        problem["laplacian"].neighbourhood_order()
    actual = outputs_and_gradients(compiled, inputs)
    for a, b in zip(actual, outputs_and_gradients(function, inputs), strict=True):
        assert_close(a, b)


def test_one_graph_serves_every_batch_size() -> None:
    torch.compiler.reset()
    problem = convolution_problem()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(lambda x: ops.chebyshev_conv(**{**problem, "x": x}), fullgraph=True, backend=counter)
    for frames in (3, 5, 8):
        x = torch.randn(frames, 40, 2, dtype=torch.float64)
        expected = ops.chebyshev_conv(**{**problem, "x": x})
        torch._dynamo.mark_dynamic(x, 0)
        assert_close(compiled(x), expected)
    assert counter.frame_count == 1


def test_second_derivatives_are_refused() -> None:
    problem = convolution_problem()
    x = problem["x"].requires_grad_()
    (grad,) = torch.autograd.grad(ops.chebyshev_conv(**problem).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="chebyshev_conv_bwd has no derivative"):
        torch.autograd.grad(grad.sum(), x)


def test_the_twin_has_second_derivatives_and_runs_under_vmap() -> None:
    problem = convolution_problem(num_vertices=4, batch=(2,), channels=(1, 2), num_terms=3)
    x = problem["x"]
    assert torch.autograd.gradgradcheck(
        lambda x: reference.chebyshev_conv(**{**problem, "x": x}).square(), x.requires_grad_()
    )
    mapped = torch.func.vmap(lambda x: reference.chebyshev_conv(**{**problem, "x": x}))(x.detach())
    assert_close(mapped, reference.chebyshev_conv(**{**problem, "x": x.detach()}))


def test_autocast_changes_nothing() -> None:
    problem = convolution_problem(dtype=torch.float32)
    for module in (ops, reference):
        expected = module.chebyshev_conv(**problem)
        with torch.autocast("cpu", torch.bfloat16):
            actual = module.chebyshev_conv(**problem)
        assert actual.dtype == torch.float32
        assert torch.equal(actual, expected)
