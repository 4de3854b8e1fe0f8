"""What the Chebyshev convolution refuses, in Python and in the binding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ops.convolutions import convolution_problem, mesh_laplacian
from ops.test_layout_and_threads import threads as threads
from torch import Tensor

from biomechau import _core, ops
from biomechau.ops import SparseMatrix, _backend


def lopsided(num_vertices: int = 40) -> SparseMatrix:
    dense = mesh_laplacian(num_vertices).dense()
    row, col = dense.nonzero()[0]
    dense[row, col] *= 2
    return SparseMatrix.from_dense(dense)


def learned() -> SparseMatrix:
    laplacian = mesh_laplacian(40)
    return laplacian.with_values(laplacian.val.requires_grad_())


def test_a_laplacian_that_changes_is_checked_again() -> None:
    laplacian = mesh_laplacian(40, torch.float64)
    laplacian = laplacian.with_values(laplacian.val.clone())
    x, weight = torch.zeros(40, 2).double(), torch.zeros(4, 2, 3).double()
    ops.chebyshev_conv(x, laplacian, weight)
    laplacian.val[(laplacian.row != laplacian.col).nonzero()[0, 0]] += 1
    with pytest.raises(ValueError, match="laplacian must be symmetric"):
        ops.chebyshev_conv(x, laplacian, weight)


def test_a_laplacian_is_not_mapped_over() -> None:
    laplacian = mesh_laplacian(40, torch.float64)
    x, weight = torch.zeros(40, 2).double(), torch.zeros(4, 2, 3).double()
    with pytest.raises(ValueError, match="laplacian must be constant, but vmap maps over its values"):
        torch.func.vmap(lambda val: ops.chebyshev_conv(x, laplacian.with_values(val), weight))(laplacian.val[None])


def test_the_twin_asks_for_a_symmetric_laplacian_too() -> None:
    with pytest.raises(ValueError, match="laplacian must be symmetric"):
        ops.reference.chebyshev_conv(torch.zeros(40, 2).double(), lopsided(), torch.zeros(4, 2, 3).double())


@pytest.mark.parametrize("backend", ["kernels", "reference"])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": torch.zeros(39, 2)}, TypeError, "x must be torch.float64 as weight is, got torch.float32"),
        ({"x": torch.zeros(40, 2).half()}, TypeError, "x must be float32 or float64, got torch.float16"),
        ({"x": [1.0]}, TypeError, "x must be a torch.Tensor, got list"),
        ({"x": torch.zeros(39, 2).double()}, ValueError, r"x must have shape \(..., 40, 2\), got \(39, 2\)"),
        ({"x": torch.zeros(40, 3).double()}, ValueError, r"x must have shape \(..., 40, 2\), got \(40, 3\)"),
        ({"x": torch.zeros(2).double()}, ValueError, r"x must have shape \(..., 40, 2\), got \(2,\)"),
        ({"x": torch.zeros(40, 2, device="meta").double()}, ValueError, "x must be on cpu as weight is, got meta"),
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
        ops.chebyshev_conv(**{**convolution_problem(), **changes})


@pytest.mark.parametrize("backend", ["kernels", "reference"])
def test_vertices_are_looked_at_once_and_when_they_change(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backend, "_backend", backend)
    problem = {**convolution_problem(), "vertices": torch.tensor([3, 5, 9])}
    looks = []
    monkeypatch.setattr(Tensor, "diff", lambda tensor, diff=Tensor.diff: looks.append(tensor) or diff(tensor))
    for _ in range(3):
        ops.chebyshev_conv(**problem)
    assert sum(tensor is problem["vertices"] for tensor in looks) == 1
    problem["vertices"][2] = 5
    with pytest.raises(ValueError, match=r"vertices must ascend within \[0, 40\), each once"):
        ops.chebyshev_conv(**problem)
    problem["vertices"][2] = 39
    ops.chebyshev_conv(**problem)
    with pytest.raises(ValueError, match=r"vertices must ascend within \[0, 30\), each once"):
        ops.chebyshev_conv(**{**convolution_problem(num_vertices=30), "vertices": problem["vertices"]})


def test_vertices_made_in_inference_mode_are_refused_too() -> None:
    with torch.inference_mode():
        problem = {**convolution_problem(), "vertices": torch.tensor([3, 3, 9])}
        with pytest.raises(ValueError, match=r"vertices must ascend within \[0, 40\), each once"):
            ops.chebyshev_conv(**problem)


class TestBinding:
    """What reaches the kernels only by the direct use of the module is refused before memory is touched."""

    def run(self, **changes: Any) -> None:
        p = convolution_problem(num_vertices=4, batch=(), every=2)
        index = {"crow": p["laplacian"].crow, "col": p["laplacian"].col, "val": p["laplacian"].val}
        tensors: dict[str, Tensor | None] = {**p, **index, "order": torch.arange(4), **changes}
        out = torch.zeros(len(p["vertices"]), 3, dtype=torch.float64)
        graph = _core.Graph(4, tensors["crow"], tensors["col"], tensors["order"])
        x, weight, bias, vertices = (tensors[name] for name in ("x", "weight", "bias", "vertices"))
        _core.chebyshev_conv_fwd(graph, tensors["val"], 1, 4, 2, 3, x, weight, bias, vertices, out, None, 1)

    def test_the_good_call_passes(self) -> None:
        self.run()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"crow": torch.tensor([0, 9, 1, 1, 1])}, "crow must rise from 0"),
            ({"crow": torch.tensor([0, 1])}, "crow must have 5 elements, got 2"),
            ({"val": torch.zeros(1)}, "val must be float64, got float32"),
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
        operator = _core.Graph(1, torch.tensor([0, 1]), torch.tensor([0]), None), one
        with pytest.raises(ValueError, match="num_terms must be at least 1, got 0"):
            _core.chebyshev_conv_fwd(*operator, 1, 0, 1, 1, one, one, None, None, one, None, 1)
        with pytest.raises(ValueError, match="num_threads must lie between 1 and 4096, got 0"):
            _core.chebyshev_conv_fwd(*operator, 1, 1, 1, 1, one, one, None, None, one, None, 0)
