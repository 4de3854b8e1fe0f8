"""The Chebyshev convolution as its own op: against the twin, by finite differences, in memory and in what it refuses.

Against the definition by eigenvalues: tests/models/test_chebyshev.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops.cases import assert_close
from ops.test_against_reference import DTYPES, compare
from ops.test_gradcheck import check
from ops.test_layout_and_threads import assert_same_bits, outputs_and_gradients, strided, threads as threads
from torch import Tensor

from biomechau import _core, ops
from biomechau.models import scaled_laplacian
from biomechau.ops import SparseMatrix, _backend, reference


def mesh_laplacian(num_vertices: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> SparseMatrix:
    """-D^-1/2 A D^-1/2 of a strip of triangles, its vertices shuffled, the last one without edges."""
    joined = torch.arange(num_vertices - 1)
    width = max(2, round(num_vertices**0.5))
    pairs = [torch.stack([joined[:-step], joined[step:]], 1) for step in (1, width, width + 1)]
    edges = torch.cat([pair for pair in pairs if pair.numel()]) if num_vertices > 2 else joined.new_zeros(0, 2)
    edges = torch.randperm(num_vertices, generator=torch.Generator().manual_seed(seed))[edges]
    return scaled_laplacian(edges, num_vertices).to(dtype)


def mesh_problem(
    *,
    batch: tuple[int, ...] = (2, 3),
    num_vertices: int = 40,
    channels: tuple[int, int] = (2, 3),
    num_terms: int = 4,
    every: int | None = None,
    bias: bool = True,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> dict[str, Any]:
    """Arguments of ``chebyshev_conv``; with ``every``, results at each so-many-th vertex."""
    gen = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype)

    return {
        "x": randn(*batch, num_vertices, channels[0]),
        "laplacian": mesh_laplacian(num_vertices, dtype),
        "weight": randn(num_terms, *channels),
        "bias": randn(channels[1]) if bias else None,
        "vertices": None if every is None else torch.arange(every // 2, num_vertices, every),
    }


def split_convolution(problem: dict[str, Any], function: Callable[..., Tensor]) -> tuple[Callable[..., Tensor], dict]:
    """The op as a function of its differentiable tensors, and those."""
    inputs = {name: problem[name] for name in ("x", "weight", "bias")}
    return lambda **tensors: function(**{**problem, **tensors}), inputs


# Channels that take each way: the terms of x or of the output's gradient, Clenshaw's sums, whole vectors and parts.
CHANNELS = [(3, 16), (16, 16), (16, 3), (5, 7), (40, 2), (2, 40)]


def compare_with_twin(**problem: Any) -> None:
    arguments = mesh_problem(**problem)
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


@pytest.mark.parametrize("num_terms", [1, 2, 3, 9])
@pytest.mark.parametrize("num_vertices", [1, 2, 31, 32, 33, 700])
@pytest.mark.parametrize("channels", [(2, 9), (9, 2)])
def test_numbers_of_terms_and_vertices(num_terms: int, num_vertices: int, channels: tuple[int, int]) -> None:
    compare_with_twin(num_terms=num_terms, num_vertices=num_vertices, channels=channels, bias=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_vertices", "batch"), [(9_409, (4,)), (26_719, ())])
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
    arguments = mesh_problem(num_vertices=200, channels=(3, 5))
    dense = torch.randn(200, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) / 30
    arguments["laplacian"] = SparseMatrix.from_dense(dense + dense.T)
    function, inputs = split_convolution(arguments, ops.chebyshev_conv)
    twin, _ = split_convolution(arguments, reference.chebyshev_conv)
    compare(function, twin, inputs)


def test_no_vertices_at_all() -> None:
    problem = mesh_problem(every=4)
    problem["vertices"] = problem["vertices"][:0]
    function, inputs = split_convolution(problem, ops.chebyshev_conv)
    out, grad_x, grad_weight, grad_bias = outputs_and_gradients(function, inputs)
    assert out.shape == (2, 3, 0, 3)
    for grad in (grad_x, grad_weight, grad_bias):
        assert torch.equal(grad, torch.zeros_like(grad))


@pytest.mark.parametrize("dtype", DTYPES)
def test_some_vertices_are_rows_of_all(dtype: torch.dtype) -> None:
    problem = mesh_problem(every=3, dtype=dtype)
    some = ops.chebyshev_conv(**problem)
    assert_close(some, ops.chebyshev_conv(**{**problem, "vertices": None})[..., problem["vertices"], :])


@pytest.mark.parametrize("wanted", ["x", "weight", "bias"])
@pytest.mark.parametrize("channels", [(2, 3), (3, 2), (1, 9), (9, 1)])
@pytest.mark.parametrize("every", [None, 3])
def test_gradcheck(wanted: str, channels: tuple[int, int], every: int | None) -> None:
    function, inputs = split_convolution(
        mesh_problem(num_vertices=11, channels=channels, every=every), ops.chebyshev_conv
    )
    check(function, inputs, wanted)


def test_the_operator_outside_of_unit_eigenvalues() -> None:
    problem = mesh_problem()
    big = problem["laplacian"].with_values(3 * problem["laplacian"].val)
    for name in ("x", "weight"):
        check(*split_convolution({**problem, "laplacian": big}, ops.chebyshev_conv), name)


@pytest.mark.parametrize("wanted", ["x", "weight", "bias"])
def test_a_gradient_nobody_asked_for_is_not_computed(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, bool] = {}
    original = _core.chebyshev_conv_bwd

    def spy(*args: Any) -> None:
        asked.update({name: buffer[1] > 0 for name, buffer in zip(("x", "weight", "bias"), args[-5:-2], strict=True)})
        original(*args)

    monkeypatch.setattr(_core, "chebyshev_conv_bwd", spy)
    problem = mesh_problem()
    problem[wanted].requires_grad_()
    ops.chebyshev_conv(**problem).sum().backward()
    assert asked == {name: name == wanted for name in asked}


@pytest.mark.parametrize("argument", ["x", "weight", "bias", "vertices", "grad_out"])
def test_non_contiguous_tensors(argument: str) -> None:
    problem = mesh_problem(every=3)
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
    problem = mesh_problem(
        num_vertices=num_vertices, batch=batch, every=every, channels=channels, num_terms=6, dtype=dtype
    )
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(outputs_and_gradients(*split_convolution(problem, ops.chebyshev_conv)))
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


def test_not_a_number_stays_among_its_neighbours() -> None:
    problem = mesh_problem(num_vertices=400, batch=(5,), num_terms=3)
    problem["x"][2, 17] = torch.nan
    bad = ops.chebyshev_conv(**problem).isnan()
    assert torch.equal(bad, reference.chebyshev_conv(**problem).isnan())
    assert bad[2].any()
    assert not bad[[0, 1, 3, 4]].any()


def opcheck_arguments(every: int | None, bias: bool, order: bool) -> tuple[Any, ...]:
    p = mesh_problem(every=every, bias=bias, num_vertices=12)
    laplacian = p["laplacian"]
    x, weight, bias_ = (None if t is None else t.requires_grad_() for t in (p["x"], p["weight"], p["bias"]))
    order_ = laplacian.neighbourhood_order() if order else None
    return x, weight, bias_, laplacian.crow, laplacian.col, laplacian.val, order_, p["vertices"]


@pytest.mark.parametrize("every", [None, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("order", [False, True])
def test_opcheck(every: int | None, bias: bool, order: bool) -> None:
    torch.library.opcheck(torch.ops.biomechau.chebyshev_conv, opcheck_arguments(every, bias, order))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # raised inside the compiler
@pytest.mark.parametrize("backend", ["kernels", "reference"])
@pytest.mark.parametrize("ordered", [False, True])
def test_compile_fullgraph_equals_eager(backend: str, ordered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(_backend, "_backend", backend)
    problem = mesh_problem(every=3, num_vertices=90)
    function, inputs = split_convolution(problem, ops.chebyshev_conv)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    if ordered:
        problem["laplacian"].neighbourhood_order()
    actual = outputs_and_gradients(compiled, inputs)
    for a, b in zip(actual, outputs_and_gradients(function, inputs), strict=True):
        assert_close(a, b)


def test_one_graph_serves_every_batch_size() -> None:
    torch.compiler.reset()
    problem = mesh_problem()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(lambda x: ops.chebyshev_conv(**{**problem, "x": x}), fullgraph=True, backend=counter)
    for frames in (3, 5, 8):
        x = torch.randn(frames, 40, 2, dtype=torch.float64)
        expected = ops.chebyshev_conv(**{**problem, "x": x})
        torch._dynamo.mark_dynamic(x, 0)
        assert_close(compiled(x), expected)
    assert counter.frame_count == 1


def test_second_derivatives_are_refused() -> None:
    problem = mesh_problem()
    x = problem["x"].requires_grad_()
    (grad,) = torch.autograd.grad(ops.chebyshev_conv(**problem).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="chebyshev_conv_bwd has no derivative"):
        torch.autograd.grad(grad.sum(), x)


def test_the_twin_has_second_derivatives_and_runs_under_vmap() -> None:
    problem = mesh_problem(num_vertices=4, batch=(2,), channels=(1, 2), num_terms=3)
    x = problem["x"]
    assert torch.autograd.gradgradcheck(
        lambda x: reference.chebyshev_conv(**{**problem, "x": x}).square(), x.requires_grad_()
    )
    mapped = torch.func.vmap(lambda x: reference.chebyshev_conv(**{**problem, "x": x}))(x.detach())
    assert_close(mapped, reference.chebyshev_conv(**{**problem, "x": x.detach()}))


def test_autocast_changes_nothing() -> None:
    problem = mesh_problem(dtype=torch.float32)
    for module in (ops, reference):
        expected = module.chebyshev_conv(**problem)
        with torch.autocast("cpu", torch.bfloat16):
            actual = module.chebyshev_conv(**problem)
        assert actual.dtype == torch.float32
        assert torch.equal(actual, expected)


def lopsided(num_vertices: int = 40) -> SparseMatrix:
    dense = mesh_laplacian(num_vertices).dense()
    row, col = dense.nonzero()[0]
    dense[row, col] *= 2
    return SparseMatrix.from_dense(dense)


def learned() -> SparseMatrix:
    laplacian = mesh_laplacian(40)
    return laplacian.with_values(laplacian.val.requires_grad_())


@pytest.mark.parametrize("backend", ["kernels", "reference"])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": torch.zeros(39, 2)}, TypeError, "weight must be torch.float32 as x is, got torch.float64"),
        ({"x": torch.zeros(40, 2).half()}, TypeError, "x must be float32 or float64, got torch.float16"),
        ({"x": [1.0]}, TypeError, "x must be a torch.Tensor, got list"),
        ({"x": torch.zeros(39, 2).double()}, ValueError, r"x must have shape \(..., 40, 2\), got \(39, 2\)"),
        ({"x": torch.zeros(40, 3).double()}, ValueError, r"x must have shape \(..., 40, 2\), got \(40, 3\)"),
        ({"x": torch.zeros(2).double()}, ValueError, r"x must have shape \(..., 40, 2\), got \(2,\)"),
        ({"x": torch.zeros(40, 2, device="meta").double()}, ValueError, "weight must be on meta as x is, got cpu"),
        ({"weight": torch.zeros(2, 3).double()}, ValueError, r"weight must have shape \(K, C, C'\)"),
        ({"weight": torch.zeros(0, 2, 3).double()}, ValueError, "with at least one term and channel"),
        ({"bias": torch.zeros(4).double()}, ValueError, r"bias must have shape \(3,\), got \(4,\)"),
        ({"laplacian": torch.eye(40).double()}, TypeError, "laplacian must be a SparseMatrix, got Tensor"),
        ({"laplacian": mesh_laplacian(40, torch.float32)}, TypeError, "laplacian.val must be torch.float64 as x is"),
        ({"laplacian": lopsided()}, ValueError, "laplacian must be symmetric"),
        ({"laplacian": SparseMatrix.from_dense(torch.eye(40, 41).double())}, ValueError, "laplacian must be symmetric"),
        ({"laplacian": learned()}, ValueError, "laplacian must be constant, but its values require grad"),
        ({"vertices": [1, 2]}, TypeError, "vertices must be a torch.Tensor, got list"),
        ({"vertices": torch.tensor([1.0])}, TypeError, "vertices must be int64, got torch.float32"),
        ({"vertices": torch.tensor([[1]])}, ValueError, r"vertices must have shape \(P,\), got \(1, 1\)"),
        ({"vertices": torch.tensor([1], device="meta")}, ValueError, "vertices must be on cpu as x is, got meta"),
        ({"vertices": torch.tensor([3, 3])}, ValueError, r"vertices must ascend within \[0, 40\), each once"),
        ({"vertices": torch.tensor([3, 40])}, ValueError, r"vertices must ascend within \[0, 40\), each once"),
        ({"vertices": torch.tensor([-1, 3])}, ValueError, r"vertices must ascend within \[0, 40\), each once"),
    ],
)
def test_refused(
    changes: dict[str, Any], error: type[Exception], message: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backend, "_backend", backend)
    with pytest.raises(error, match=message):
        ops.chebyshev_conv(**{**mesh_problem(), **changes})


class TestOrder:
    def test_neighbours_come_soon(self) -> None:
        laplacian = mesh_laplacian(900)
        order = laplacian.neighbourhood_order()
        assert order is not None
        assert torch.equal(order.sort().values, torch.arange(900))
        rank = torch.empty_like(order)
        rank[order] = torch.arange(900)
        distance = (rank[laplacian.row] - rank[laplacian.col]).abs().max()
        assert distance < 5 * 30 + 32  # the strip is 30 vertices wide, shuffled before
        assert (laplacian.row - laplacian.col).abs().max() > 700

    def test_it_is_made_once_and_moves_along(self) -> None:
        laplacian = mesh_laplacian(50)
        assert laplacian.neighbourhood_order(compute=False) is None
        order = laplacian.neighbourhood_order()
        assert laplacian.neighbourhood_order() is order
        assert laplacian.with_values(2 * laplacian.val).neighbourhood_order(compute=False) is order
        assert torch.equal(laplacian.to(torch.float32).neighbourhood_order(compute=False), order)

    def test_components_and_lone_vertices(self) -> None:
        two = torch.block_diag(mesh_laplacian(20).dense(), torch.zeros(3, 3), mesh_laplacian(30).dense())
        order = SparseMatrix.from_dense(two).neighbourhood_order()
        assert order is not None
        assert torch.equal(order.sort().values, torch.arange(53))

    def test_results_do_not_depend_on_it(self) -> None:
        p = mesh_problem(num_vertices=300)
        index = p["laplacian"].crow, p["laplacian"].col, p["laplacian"].val
        tensors = p["x"], p["weight"], p["bias"], *index
        results = [
            torch.ops.biomechau.chebyshev_conv(*tensors, order, None)
            for order in (None, torch.randperm(300), p["laplacian"].neighbourhood_order())
        ]
        assert_close(results[0], results[2])
        assert_close(results[1], results[2])

    def test_new_values_are_looked_at_anew(self) -> None:
        laplacian = mesh_laplacian(40)
        assert laplacian.is_symmetric
        val = laplacian.val.clone()
        val[0] *= 2
        assert not laplacian.with_values(val).is_symmetric


class TestBinding:
    """What reaches the kernels only by the direct use of the module is refused before memory is touched."""

    def run(self, **changes: Any) -> None:
        p = mesh_problem(num_vertices=4, batch=(), every=2)
        index = {"crow": p["laplacian"].crow, "col": p["laplacian"].col, "val": p["laplacian"].val}
        tensors: dict[str, Tensor | None] = {**p, **index, "order": torch.arange(4), **changes}
        out = torch.zeros(len(p["vertices"]), 3, dtype=torch.float64)
        buffers = {name: _backend.buffer(value) for name, value in tensors.items() if name != "laplacian"}
        operator = _core.SymmetricOperator(4, *(buffers[name] for name in ("crow", "col", "val", "order")))
        names = ("x", "weight", "bias", "vertices")
        _core.chebyshev_conv_fwd(
            operator, 1, 4, 2, 3, *(buffers[name] for name in names), _backend.buffer(out), None, 1
        )

    def test_the_good_call_passes(self) -> None:
        self.run()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"crow": torch.tensor([0, 9, 1, 1, 1])}, "crow must rise from 0"),
            ({"crow": torch.tensor([0, 1])}, "crow must have 5 elements, got 2"),
            ({"val": torch.zeros(1)}, "val has the wrong dtype"),
            ({"val": torch.zeros(1).double()}, r"val must have \d elements, got 1"),
            ({"order": torch.tensor([0, 1, 2, 4])}, "order holds an index out of range"),
            ({"order": torch.tensor([0, 1, 2, 2])}, "order must hold every vertex once"),
            ({"order": torch.tensor([0, 1])}, "order must have 4 elements, got 2"),
            ({"vertices": torch.tensor([0, 4])}, "vertices holds an index out of range"),
            ({"vertices": torch.tensor([2, 2])}, "vertices must rise"),
            ({"vertices": torch.tensor([2])}, "out must have 3 elements, got 6"),
        ],
    )
    def test_a_bad_call(self, changes: dict[str, Tensor], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.run(**changes)

    def test_a_wild_column(self) -> None:
        col = mesh_laplacian(4).col
        with pytest.raises(ValueError, match="col holds an index out of range"):
            self.run(col=col + 4)

    def test_sizes_of_the_call(self) -> None:
        one = torch.ones(1)
        operator = _core.SymmetricOperator(
            1, _backend.buffer(torch.tensor([0, 1])), _backend.buffer(torch.tensor([0])), _backend.buffer(one), None
        )
        b = _backend.buffer(one)
        with pytest.raises(ValueError, match="num_terms, num_inputs and num_outputs must be at least 1"):
            _core.chebyshev_conv_fwd(operator, 1, 0, 1, 1, b, b, None, None, b, None, 1)
        with pytest.raises(ValueError, match="num_threads must be at least 1"):
            _core.chebyshev_conv_fwd(operator, 1, 1, 1, 1, b, b, None, None, b, None, 0)
