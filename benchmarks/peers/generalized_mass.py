"""Formulations of M = sum_i m_i B(i)^T B(i)."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import torch
from problems import Problem
from torch import Tensor

from biomechau import ops
from biomechau.ops import _costs, reference
from peers.adapters import Build, Formulation, Peer, jax_peer, torch_peer

# A table of pair products takes K (K + 1) / 2 numbers a vertex; more than this is not sensible [bytes].
_LARGEST_TABLE = 2**30


def _op(module: ModuleType) -> Build:
    return lambda problem: Formulation(lambda blendshapes, mass: module.generalized_mass(blendshapes, mass))


def _packed(problem: Problem) -> Formulation:
    """B is constant, so its layout is made beforehand, as the other peers' tables are."""
    packed = ops.PackedBlendshapes(problem.tensors["blendshapes"])
    return Formulation(lambda blendshapes, mass: ops.generalized_mass(packed, mass))


def _kernel(problem: Problem) -> Formulation:
    """Our kernel where products of torch are preferred to it."""

    def run(blendshapes: Tensor, mass: Tensor) -> Tensor:
        preferences, _costs.PREFERENCES = _costs.PREFERENCES, ()
        try:
            return ops.generalized_mass(blendshapes, mass)
        finally:
            _costs.PREFERENCES = preferences

    return Formulation(run)


def _products_preferred(problem: Problem) -> str | None:
    mass = problem.tensors["mass"]
    return None if _costs.prefers_products("generalized_mass", mass, len(mass)) else "it is what ours runs"


def _loop(problem: Problem) -> Formulation:
    """(B m) B^T, sequence by sequence."""

    def run(blendshapes: Tensor, mass: Tensor) -> Tensor:
        flat = blendshapes.flatten(1)
        return torch.stack([(flat * m.repeat_interleave(3)) @ flat.T for m in mass])

    return Formulation(run)


def _batched(problem: Problem) -> Formulation:
    """(B m) B^T of all sequences at once."""

    def run(blendshapes: Tensor, mass: Tensor) -> Tensor:
        weighted = blendshapes * mass[:, None, :, None]
        return (weighted.flatten(0, 1).flatten(1) @ blendshapes.flatten(1).T).unflatten(0, (len(mass), -1))

    return Formulation(run)


def _pair_table(problem: Problem) -> tuple[Tensor, Tensor]:
    """B_k(i) . B_l(i) for k <= l, (N, pairs), and where each entry of (K, K) finds its pair; made once a problem."""
    if "pair table" not in problem.constants:
        blendshapes = problem.tensors["blendshapes"]
        size = len(blendshapes)
        first, second = torch.triu_indices(size, size, device=blendshapes.device)
        by_vertex = blendshapes.transpose(0, 1).contiguous()
        table = sum(by_vertex[:, first, axis] * by_vertex[:, second, axis] for axis in range(3))
        place = first.new_empty(size, size)
        place[first, second] = place[second, first] = torch.arange(len(first), device=blendshapes.device)
        problem.constants["pair table"] = table, place.flatten()
    return problem.constants["pair table"]


def _dense_table(problem: Problem) -> Formulation:
    table, place = _pair_table(problem)
    size = len(problem.tensors["blendshapes"])

    def run(blendshapes: Tensor, mass: Tensor) -> Tensor:
        return (mass @ table)[:, place].unflatten(1, (size, size))

    return Formulation(run)


class _TableProduct(torch.autograd.Function):
    """The table in CSR form times the masses, by pair and by vertex."""

    @staticmethod
    def forward(ctx: Any, by_pair: Tensor, by_vertex: Tensor, mass: Tensor) -> Tensor:
        ctx.by_vertex = by_vertex
        return (by_pair @ mass.T).T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, (ctx.by_vertex @ grads[0].T).T


def _sparse_table(problem: Problem) -> Formulation:
    """The table without its zeros, stored twice so that both directions gather."""
    table, place = _pair_table(problem)
    size = len(problem.tensors["blendshapes"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR", UserWarning)
        by_pair, by_vertex = table.T.to_sparse_csr(), table.to_sparse_csr()

    def run(blendshapes: Tensor, mass: Tensor) -> Tensor:
        return _TableProduct.apply(by_pair, by_vertex, mass)[:, place].unflatten(1, (size, size))

    return Formulation(run)


def _jax_products(problem: Problem) -> Formulation:
    def run(_: Any, blendshapes: Any, mass: Any) -> Any:
        import jax.numpy as jnp

        return jnp.einsum("kna,sn,lna->skl", blendshapes, mass, blendshapes)

    return Formulation(run)


def _jax_table(problem: Problem) -> Formulation:
    size = len(problem.tensors["blendshapes"])

    def run(constants: Any, blendshapes: Any, mass: Any) -> Any:
        table, place = constants
        return (mass @ table)[:, place].reshape(-1, size, size)

    return Formulation(run, constants=_pair_table(problem))


def _warp(problem: Problem) -> Any:
    from peers.warp_generalized_mass import prepare

    return prepare(problem, *_pair_table(problem))


def _small_table(problem: Problem) -> str | None:
    size, num_vertices, _ = problem.tensors["blendshapes"].shape
    return None if 4 * num_vertices * size * (size + 1) / 2 <= _LARGEST_TABLE else "its table would be too large"


reference_peer = torch_peer(_loop)

PEERS = (
    Peer("ours", torch_peer(_packed)),
    Peer("ours, B as a tensor", torch_peer(_op(ops))),
    Peer("ours, the kernel", torch_peer(_kernel), applies=_products_preferred),
    Peer("twin", torch_peer(_op(reference))),
    Peer("twin, compiled", torch_peer(_op(reference), compiled=True)),
    Peer("torch: loop of products", torch_peer(_loop)),
    Peer("torch: one product", torch_peer(_batched)),
    Peer("torch: dense pair table", torch_peer(_dense_table), applies=_small_table),
    Peer("torch: sparse pair table", torch_peer(_sparse_table), applies=_small_table),
    Peer("JAX: einsum", jax_peer(_jax_products), "jax"),
    Peer("JAX: dense pair table", jax_peer(_jax_table), "jax", _small_table),
    Peer("Warp: sparse pair table", _warp, "warp", _small_table),
)
