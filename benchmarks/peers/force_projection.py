"""Formulations of Q = sum_i B(i)^T sum_m P(i,m) F_m for vector forces."""

from __future__ import annotations

import copy
import warnings
from types import ModuleType
from typing import Any

import torch
from problems import Problem
from torch import Tensor

from biomechau import ops
from biomechau.ops import reference
from peers.adapters import Build, Formulation, Layout, Peer, jax_peer, torch_peer


def _op(module: ModuleType) -> Build:
    def build(problem: Problem) -> Formulation:
        distribution = problem.constants["distribution"]

        def run(blendshapes: Tensor, val: Tensor, force: Tensor) -> Tensor:
            return module.force_projection(blendshapes, distribution.with_values(val), force)

        return Formulation(run)

    return build


def _ours(problem: Problem) -> Formulation:
    """Constant blendshapes are packed beforehand; with nothing learned, A is made beforehand."""
    if "blendshapes" in problem.wrt:
        return _op(ops)(problem)
    if "val" in problem.wrt:
        distribution = problem.constants["distribution"]
        b = problem.tensors["blendshapes"]
        packed = ops.PackedBlendshapes(b)
        return Formulation(
            lambda blendshapes, val, force: ops.force_projection(packed, distribution.with_values(val), force)
        )
    dynamics = copy.deepcopy(problem.constants["dynamics"])
    dynamics.projection.copy_(ops.reduced_projection(problem.tensors["blendshapes"], problem.constants["distribution"]))
    return Formulation(lambda blendshapes, val, force: dynamics.generalized_force(force))


def _vertex_major(problem: Problem) -> Layout:
    """B as N rows of 3 K numbers."""
    num_shapes, num_vertices, _ = problem.tensors["blendshapes"].shape
    return Layout(
        lambda b: b.permute(1, 2, 0).reshape(num_vertices, 3 * num_shapes),
        lambda b: b.reshape(num_vertices, 3, num_shapes).permute(2, 0, 1),
    )


def _dense_muscles(problem: Problem) -> Layout:
    """P^T as a dense (M, N) matrix; of its gradient, the entries of the pattern."""
    distribution = problem.constants["distribution"]
    return Layout(
        lambda val: distribution.with_values(val).dense().T.contiguous(),
        lambda dense: dense[distribution.col, distribution.row],
    )


def _apply(force: Any, reduced: Any, num_muscles: int) -> Any:
    """F (..., M, 3) times A as (M, 3 K)."""
    return force.reshape(*force.shape[:-2], 3 * num_muscles) @ reduced.reshape(3 * num_muscles, -1)


def _two_step(problem: Problem) -> Formulation:
    """The README's expression, a dense P: forces at all vertices, then B."""

    def run(blendshapes: Tensor, val: Tensor, force: Tensor) -> Tensor:
        return torch.einsum("kna,...na->...k", blendshapes, val @ force)

    muscles = _dense_muscles(problem)
    by_vertex = Layout(lambda val: muscles.store(val).T.contiguous(), lambda dense: muscles.restore(dense.T))
    return Formulation(run, {"val": by_vertex})


def _dense_product(problem: Problem) -> Formulation:
    """A = P^T B as one dense product."""

    def run(blendshapes: Tensor, val: Tensor, force: Tensor) -> Tensor:
        return _apply(force, val @ blendshapes, len(val))

    return Formulation(run, {"blendshapes": _vertex_major(problem), "val": _dense_muscles(problem)})


def _by_muscle(problem: Problem) -> Layout:
    """The values of P muscle by muscle."""
    order = problem.constants["distribution"].transpose.order
    back = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
    return Layout(lambda val: val[order], lambda val: val[back])


def _embedding_bag(problem: Problem) -> Formulation:
    """A as weighted sums of rows of B, one bag a muscle."""
    crow, row, _ = problem.constants["distribution"].transpose
    num_muscles = len(crow) - 1

    def run(blendshapes: Tensor, val: Tensor, force: Tensor) -> Tensor:
        bags = torch.nn.functional.embedding_bag(row, blendshapes, crow[:-1], mode="sum", per_sample_weights=val)
        return _apply(force, bags, num_muscles)

    return Formulation(run, {"blendshapes": _vertex_major(problem), "val": _by_muscle(problem)})


class _SparseProduct(torch.autograd.Function):
    """A = P^T B with P^T in CSR form, its gradients as sparse products too."""

    @staticmethod
    def forward(ctx: Any, crow: Tensor, row: Tensor, val: Tensor, blendshapes: Tensor) -> Tensor:
        ctx.save_for_backward(crow, row, val, blendshapes)
        return _csr(crow, row, val, len(blendshapes)) @ blendshapes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        crow, row, val, blendshapes = ctx.saved_tensors
        grad_val = grad_blendshapes = None
        if ctx.needs_input_grad[2]:
            pattern = _csr(crow, row, torch.zeros_like(val), len(blendshapes))
            grad_val = torch.sparse.sampled_addmm(pattern, grads[0], blendshapes.T).values()
        if ctx.needs_input_grad[3]:
            grad_blendshapes = _csr(crow, row, val, len(blendshapes)).t() @ grads[0]
        return None, None, grad_val, grad_blendshapes


def _csr(crow: Tensor, col: Tensor, val: Tensor, num_cols: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR", UserWarning)
        return torch.sparse_csr_tensor(crow, col, val, (len(crow) - 1, num_cols), check_invariants=False)


def _sparse_product(problem: Problem) -> Formulation:
    crow, row, _ = problem.constants["distribution"].transpose

    def run(blendshapes: Tensor, val: Tensor, force: Tensor) -> Tensor:
        return _apply(force, _SparseProduct.apply(crow, row, val, blendshapes), len(crow) - 1)

    return Formulation(run, {"blendshapes": _vertex_major(problem), "val": _by_muscle(problem)})


def _constant_operator(problem: Problem) -> Formulation:
    """F A^T with A made beforehand."""
    reduced = ops.reduced_projection(problem.tensors["blendshapes"], problem.constants["distribution"]).flatten(1)

    def run(blendshapes: Tensor, val: Tensor, force: Tensor) -> Tensor:
        return force.flatten(-2) @ reduced.T

    return Formulation(run)


def _jax_dense(problem: Problem) -> Formulation:
    def run(_: Any, blendshapes: Any, val: Any, force: Any) -> Any:
        return _apply(force, val @ blendshapes, len(val))

    return Formulation(run, {"blendshapes": _vertex_major(problem), "val": _dense_muscles(problem)})


def _jax_segments(problem: Problem) -> Formulation:
    """A as sums over the entries of P, sorted by muscle."""
    distribution = problem.constants["distribution"]
    _, row, order = distribution.transpose
    num_muscles = distribution.shape[1]

    def run(constants: Any, blendshapes: Any, val: Any, force: Any) -> Any:
        import jax

        row, muscle = constants
        entries = val[:, None] * blendshapes[row]
        reduced = jax.ops.segment_sum(entries, muscle, num_muscles, indices_are_sorted=True)
        return _apply(force, reduced, num_muscles)

    layouts = {"blendshapes": _vertex_major(problem), "val": _by_muscle(problem)}
    return Formulation(run, layouts, (row, distribution.col[order]))


def _jax_constant(problem: Problem) -> Formulation:
    reduced = ops.reduced_projection(problem.tensors["blendshapes"], problem.constants["distribution"]).flatten(1)

    def run(reduced: Any, blendshapes: Any, val: Any, force: Any) -> Any:
        return force.reshape(*force.shape[:-2], -1) @ reduced.T

    return Formulation(run, constants=reduced)


def _warp(problem: Problem) -> Any:
    from peers.warp_force_projection import prepare

    return prepare(problem)


def _constant(problem: Problem) -> str | None:
    return None if problem.wrt == ("force",) else "needs constant operators"


def _constant_blendshapes(problem: Problem) -> str | None:
    return "the same as ours" if "blendshapes" in problem.wrt else None


def _learned(problem: Problem) -> str | None:
    return None if problem.wrt != ("force",) else "needs learned operators"


def _on_cpu(problem: Problem) -> str | None:
    return _learned(problem) if problem.tensors["val"].device.type == "cpu" else "needs a CPU"


reference_peer = torch_peer(_dense_product)

PEERS = (
    Peer("ours", torch_peer(_ours)),
    Peer("ours, B and P as tensors", torch_peer(_op(ops)), applies=_constant_blendshapes),
    Peer("twin", torch_peer(_op(reference))),
    Peer("twin, compiled", torch_peer(_op(reference), compiled=True)),
    Peer("torch: P F, then B", torch_peer(_two_step)),
    Peer("torch: F A^T", torch_peer(_constant_operator), applies=_constant),
    Peer("torch: dense product", torch_peer(_dense_product), applies=_learned),
    Peer("torch: dense product, compiled", torch_peer(_dense_product, compiled=True), applies=_learned),
    Peer("torch: embedding_bag", torch_peer(_embedding_bag), applies=_learned),
    Peer("torch: sparse CSR", torch_peer(_sparse_product), applies=_on_cpu),
    Peer("JAX: F A^T", jax_peer(_jax_constant), "jax", _constant),
    Peer("JAX: dense product", jax_peer(_jax_dense), "jax", _learned),
    Peer("JAX: segment sums", jax_peer(_jax_segments), "jax", _learned),
    Peer("Warp: kernels", _warp, "warp"),
)
