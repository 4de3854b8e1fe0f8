"""Formulations of the Chebyshev graph convolution y = sum_k T_k(S) x W_k + b."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from problems import Problem
from torch import Tensor

from biomechau import ops
from biomechau.ops import SparseMatrix, reference
from peers.adapters import Build, Formulation, Layout, Peer, jax_peer, torch_peer


def _op(module: ModuleType) -> Build:
    def build(problem: Problem) -> Formulation:
        laplacian = problem.constants["laplacian"]
        return Formulation(lambda x, weight, bias: module.chebyshev_conv(x, laplacian, weight, bias))

    return build


def _neighbours(laplacian: SparseMatrix) -> tuple[Tensor, Tensor]:
    """Each vertex's neighbours and their weights, (N, most neighbours), filled up with weights of 0."""
    degree = laplacian.crow.diff()
    slot = torch.arange(laplacian.nnz, device=degree.device) - laplacian.crow[:-1].repeat_interleave(degree)
    index = laplacian.col.new_zeros(laplacian.shape[0], int(degree.max()))
    weight = laplacian.val.new_zeros(index.shape)
    index[laplacian.row, slot] = laplacian.col
    weight[laplacian.row, slot] = laplacian.val
    return index, weight


def _vertex_major() -> Layout:
    return Layout(lambda x: x.movedim(-2, 0).contiguous(), lambda x: x.movedim(0, -2))


class _Gather(torch.autograd.Function):
    """S x over padded neighbours; S is symmetric, so its gradient is the same gather."""

    @staticmethod
    def forward(ctx: Any, index: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(index, weight)
        return _gathered(index, weight, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        index, weight = ctx.saved_tensors
        return None, None, _gathered(index, weight, grads[0])


def _gathered(index: Any, weight: Any, x: Any) -> Any:
    return sum(weight[:, j, None] * x[index[:, j]] for j in range(index.shape[1]))


def _gather(problem: Problem) -> Formulation:
    """Gathered neighbours, x held vertex by vertex, all terms in one matrix product."""
    index, neighbour_weight = _neighbours(problem.constants["laplacian"])

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        terms = [x.flatten(1)]
        for k in range(1, len(weight)):
            product = _Gather.apply(index, neighbour_weight, terms[-1])
            terms.append(product if k == 1 else 2 * product - terms[-2])
        stacked = torch.cat([term.view_as(x) for term in terms], -1)
        return (stacked.flatten(0, 1) @ weight.flatten(0, 1) + bias).view(*x.shape[:2], -1).movedim(0, -2)

    return Formulation(run, {"x": _vertex_major()})


def _geometric(problem: Problem) -> Formulation:
    """``torch_geometric.nn.ChebConv`` with lambda_max = 2, the same operator."""
    from torch_geometric.nn import ChebConv

    laplacian, weight = problem.constants["laplacian"], problem.tensors["weight"]
    num_terms, in_channels, out_channels = weight.shape
    edges = torch.stack([laplacian.row, laplacian.col])
    module = ChebConv(in_channels, out_channels, num_terms).to(weight)
    largest = weight.new_tensor(2.0)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        state = {f"lins.{k}.weight": weight[k] for k in range(num_terms)}
        return torch.func.functional_call(module, {**state, "bias": bias}, (x, edges, None, None, largest))

    to_lins = Layout(lambda w: w.mT.contiguous(), lambda w: w.mT)
    return Formulation(run, {"weight": to_lins})


def _jax_gather(problem: Problem) -> Formulation:
    index, neighbour_weight = _neighbours(problem.constants["laplacian"])

    def run(constants: Any, x: Any, weight: Any, bias: Any) -> Any:
        import jax
        import jax.numpy as jnp

        index, neighbour_weight = constants

        @jax.custom_vjp
        def product(x: Any) -> Any:
            return _gathered(index, neighbour_weight, x)

        product.defvjp(lambda x: (product(x), None), lambda _, grad: (product(grad),))
        terms = [x.reshape(len(x), -1)]
        for k in range(1, len(weight)):
            image = product(terms[-1])
            terms.append(image if k == 1 else 2 * image - terms[-2])
        stacked = jnp.concatenate([term.reshape(x.shape) for term in terms], -1)
        return (stacked @ weight.reshape(-1, weight.shape[-1]) + bias).swapaxes(0, 1)

    return Formulation(run, {"x": _vertex_major()}, (index, neighbour_weight))


def _warp(problem: Problem) -> Any:
    from peers.warp_chebyshev_conv import prepare

    return prepare(problem)


reference_peer = torch_peer(_gather)

PEERS = (
    Peer("ours", torch_peer(_op(ops))),
    Peer("twin", torch_peer(_op(reference))),
    Peer("torch: gather", torch_peer(_gather)),
    Peer("torch: gather, compiled", torch_peer(_gather, compiled=True)),
    Peer("PyG: ChebConv", torch_peer(_geometric), "torch_geometric"),
    Peer("JAX: gather", jax_peer(_jax_gather), "jax"),
    Peer("Warp: kernels", _warp, "warp"),
)
