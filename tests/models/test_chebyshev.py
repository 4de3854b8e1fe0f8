"""ChebyshevConv against its definition."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from biomechau import ops
from biomechau.models import ChebyshevConv, scaled_laplacian
from biomechau.rig import FaceRig


@pytest.fixture
def double():
    """Modules of this test are made in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_operator_against_dense_algebra(tiny_rig: FaceRig) -> None:
    operator = scaled_laplacian(tiny_rig.edges, 99).dense()
    adjacency = torch.zeros(99, 99, dtype=torch.float64)
    for i, j in tiny_rig.edges.tolist():
        adjacency[i, j] = adjacency[j, i] = 1
    root = adjacency.sum(1).rsqrt().diag()
    torch.testing.assert_close(operator, -root @ adjacency @ root)
    values = torch.linalg.eigvalsh(operator)
    assert float(values[0]) >= -1 - 1e-12
    assert float(values[-1]) < 1
    # A graph that is connected has the eigenvalue -1 once.
    torch.testing.assert_close(values[0], torch.tensor(-1.0, dtype=torch.float64))
    assert float(values[1]) > -0.999


def test_vertex_without_edges_has_an_empty_row() -> None:
    operator = scaled_laplacian(torch.tensor([[0, 2]]), 3)
    torch.testing.assert_close(operator.dense(), -torch.eye(3, dtype=torch.float64)[[2, 1, 0]] * (1 - torch.eye(3)))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("num_terms", [1, 2, 6])
def test_equals_the_definition_by_eigenvalues(tiny_rig: FaceRig, num_terms: int) -> None:
    """T_k(S) = U diag(cos(k arccos w)) U^T."""
    operator = scaled_laplacian(tiny_rig.edges, 99)
    layer = ChebyshevConv(3, 5, num_terms, operator)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 4, 99, 3)
    values, vectors = torch.linalg.eigh(operator.dense())
    angle = values.clamp(-1, 1).arccos()
    expected = layer.bias + sum(
        vectors @ (k * angle).cos().diag() @ vectors.T @ x @ weight for k, weight in enumerate(layer.weight)
    )
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("double")
def test_gradients_equal_those_of_dense_algebra(tiny_rig: FaceRig) -> None:
    operator = scaled_laplacian(tiny_rig.edges, 99)
    layer = ChebyshevConv(2, 3, 6, operator)
    x = torch.randn(4, 99, 2, requires_grad=True)
    probe = torch.randn(4, 99, 3)
    inputs = (x, layer.weight, layer.bias)
    grads = torch.autograd.grad((layer(x) * probe).sum(), inputs)
    terms = [torch.eye(99), operator.dense()]
    while len(terms) < 6:
        terms.append(2 * terms[1] @ terms[-1] - terms[-2])
    dense = torch.einsum("kij,bjc,kcd->bid", torch.stack(terms), x, layer.weight) + layer.bias
    for got, expected in zip(grads, torch.autograd.grad((dense * probe).sum(), inputs), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("double")
def test_gradcheck() -> None:
    edges = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3], [1, 3]])
    layer = ChebyshevConv(2, 3, 4, scaled_laplacian(edges, 5))
    x = torch.randn(2, 5, 2, requires_grad=True)

    def call(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

    assert torch.autograd.gradcheck(call, (x, layer.weight, layer.bias))


def test_leading_axes_layout_and_dtype(tiny_rig: FaceRig) -> None:
    layer = ChebyshevConv(3, 4, 6, scaled_laplacian(tiny_rig.edges, 99))
    x = torch.randn(2, 3, 99, 3)
    expected = layer(x)
    assert expected.shape == (2, 3, 99, 4)
    torch.testing.assert_close(layer(x[1, 2]), expected[1, 2])
    turned = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert not turned.is_contiguous()
    torch.testing.assert_close(layer(turned), expected)
    torch.testing.assert_close(layer.double()(x.double()).float(), expected)
    assert layer(x[:0].double()).shape == (0, 3, 99, 4)
    some = torch.tensor([3, 50, 98])
    torch.testing.assert_close(layer(x.double(), some).float(), expected[..., some, :])


def test_the_operator_moves_with_the_layer(tiny_rig: FaceRig) -> None:
    layer = ChebyshevConv(3, 4, 6, scaled_laplacian(tiny_rig.edges, 99))
    assert layer.laplacian.val.dtype == torch.float32
    assert nn.Sequential(layer).double()[0].laplacian.val.dtype == torch.float64
    assert layer.to("meta").laplacian.crow.device.type == "meta"
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_a_copy_is_its_own(tiny_rig: FaceRig) -> None:
    layer = ChebyshevConv(3, 4, 6, scaled_laplacian(tiny_rig.edges, 99))
    other = copy.deepcopy(layer).double()
    x = torch.randn(2, 99, 3)
    torch.testing.assert_close(other(x.double()).float(), layer(x))


def test_compiles_without_breaks(tiny_rig: FaceRig) -> None:
    torch.compiler.reset()
    layer = ChebyshevConv(3, 4, 6, scaled_laplacian(tiny_rig.edges, 99))
    x = torch.randn(2, 99, 3)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))


def test_the_same_seed_gives_the_same_weights(tiny_rig: FaceRig) -> None:
    operator = scaled_laplacian(tiny_rig.edges, 99)
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(ChebyshevConv(3, 4, 6, operator).weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (torch.zeros(3, 3, dtype=torch.int64), r"shape \(E, 2\), got \(3, 3\)"),
        (torch.tensor([[0, 4]]), r"\[0, 4\), got 0 to 4"),
        (torch.tensor([[2, 2]]), "two different vertices"),
        (torch.tensor([[0, 1], [1, 0]]), "unique"),
    ],
)
def test_bad_edges(edges: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scaled_laplacian(edges, 4)


def test_bad_layers_and_inputs() -> None:
    operator = scaled_laplacian(torch.tensor([[0, 1], [1, 2]]), 3)
    with pytest.raises(ValueError, match="num_terms must be at least 1, got 0"):
        ChebyshevConv(3, 4, 0, operator)
    lopsided = ops.SparseMatrix.from_dense(torch.from_numpy(np.triu(np.ones((3, 3)))))
    with pytest.raises(ValueError, match="laplacian must be symmetric"):
        ChebyshevConv(3, 4, 6, lopsided)
    with pytest.raises(ValueError, match=r"\(..., 3, 2\), got \(4, 2\)"):
        ChebyshevConv(2, 4, 6, operator)(torch.zeros(4, 2))
