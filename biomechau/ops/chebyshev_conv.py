"""Chebyshev graph convolution over the vertices of a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from biomechau import _core
from biomechau.ops import _check, reference
from biomechau.ops._backend import place, runs_reference, workspace
from biomechau.ops._records import Constants, schema
from biomechau.ops._registration import Folded, empty_gradients, register
from biomechau.ops._sparse import GraphIndex, SparseMatrix
from biomechau.ops.autocast import float32_under_autocast
from biomechau.ops.tracing import (
    goes_to_dispatcher,
    is_batched,
    is_compiling,
    jit_trace,
    num_modes,
    only_ops_recorded,
    version,
)


@float32_under_autocast
def chebyshev_conv(
    x: Tensor,
    laplacian: SparseMatrix,
    weight: Tensor,
    bias: Tensor | None = None,
    vertices: Tensor | None = None,
) -> Tensor:
    """y = sum_k T_k(S) x W_k + b, with T_0 = 1, T_1 = S, T_k = 2 S T_{k-1} - T_{k-2} the Chebyshev polynomials.

    Equivalent to the recurrence on ``laplacian.dense()``, but a dense S is never in memory. On the CPU neither are all
    K terms: only those of a few hundred neighbouring vertices, whose memory depends on mesh and number of threads
    alone. A GPU holds the terms of the side with fewer channels while it computes, the backward pass those of x.
    Differentiable in x, weight and bias. (Defferrard, Bresson and Vandergheynst 2016, Eq. 4.)

    Args:
        x: features of each vertex, shape (..., N, C).
        laplacian: S, symmetric (N, N), scaled so that its eigenvalues lie in [-1, 1]; constant.
        weight: W, shape (K, C, C'), each of these at least 1.
        bias: b, shape (C',).
        vertices: the P vertices to compute y at, ascending int64, shape (P,); all if not given.
            Equivalent to ``y[..., vertices, :]``, with less work.

    Returns:
        y, shape (..., N, C'), or (..., P, C') with ``vertices``.

    Raises:
        TypeError: a tensor is not float32 or float64, or they differ; vertices is not int64.
        ValueError: a shape does not fit, the tensors are on different devices, laplacian is not symmetric or its values
            require grad, or vertices do not ascend within [0, N). This is checked once for each tensor, but not while
            a CUDA graph is captured.

    Example:
        >>> path = ops.SparseMatrix.from_dense(torch.tensor([[0.0, -1.0], [-1.0, 0.0]]))
        >>> ops.chebyshev_conv(torch.tensor([[1.0], [2.0]]), path, torch.tensor([[[1.0]], [[10.0]]]))
        tensor([[-19.],
                [ -8.]])
    """
    if jit_trace() is not None:
        return only_ops_recorded(chebyshev_conv, x, laplacian, weight, bias, vertices)
    _check_arguments(x, laplacian, weight, bias)
    if vertices is not None:
        _check_vertices(vertices, x)
    if runs_reference(x):
        if vertices is not None and not goes_to_dispatcher():
            _check_ascending(vertices, x.shape[-2])
        return reference.chebyshev_conv(x, laplacian, weight, bias, vertices)
    if x.is_cpu and not goes_to_dispatcher():  # GPUs do not use the order, a graph only if it has been computed before
        laplacian.neighbourhood_order()
    return _op(x, weight, bias, laplacian.val, vertices, laplacian.graph)


def _check_arguments(x: Tensor, laplacian: SparseMatrix, weight: Tensor, bias: Tensor | None) -> None:
    if not isinstance(laplacian, SparseMatrix):
        raise TypeError(f"laplacian must be a SparseMatrix, got {type(laplacian).__name__}")
    _check.same_kind(("x", "weight", "bias?", "laplacian.val"), x, weight, bias, laplacian.val)
    if laplacian.val.requires_grad:
        raise ValueError("laplacian must be constant, but its values require grad")
    if is_batched(laplacian.val):
        raise ValueError("laplacian must be constant, but vmap maps over its values")
    if not (is_compiling() or num_modes() or x.is_meta) and not laplacian.is_symmetric:
        raise ValueError("laplacian must be symmetric")
    num_vertices = laplacian.shape[0]
    if weight.ndim != 3 or not weight.numel():
        raise _check.wrong_shape("weight", weight, "(K, C, C') with at least one term and channel")
    if x.ndim < 2 or x.shape[-2] != num_vertices or x.shape[-1] != weight.shape[1]:
        raise _check.wrong_shape("x", x, f"(..., {num_vertices}, {weight.shape[1]})")
    if bias is not None and bias.shape != weight.shape[2:]:
        raise _check.wrong_shape("bias", bias, f"({weight.shape[2]},)")


def _check_vertices(vertices: Tensor, x: Tensor) -> None:
    _check.tensor("vertices", vertices)
    if vertices.dtype != torch.int64:
        raise TypeError(f"vertices must be int64, got {vertices.dtype}")
    if vertices.device != x.device:
        raise ValueError(f"vertices must be on {x.device} as x is, got {vertices.device}")
    if vertices.ndim != 1:
        raise _check.wrong_shape("vertices", vertices, "(P,)")


def _check_ascending(vertices: Tensor, num_vertices: int) -> None:
    """The vertices lie in the mesh, each once: two threads of a GPU would write the gradient of a repeated one.

    A tensor is checked once, and again after it was changed: a check waits for the device.
    """
    state = version(vertices), num_vertices
    if _seen.get(vertices) == state:
        return
    if vertices.is_cuda and torch.cuda.is_current_stream_capturing():
        return  # a captured call may not wait
    if len(vertices):
        first, last = int(vertices[0]), int(vertices[-1])
        if first < 0 or last >= num_vertices or bool((vertices.diff() <= 0).any()):
            raise ValueError(f"vertices must ascend within [0, {num_vertices}), each once")
    _seen[vertices] = state


# The version of each tensor of vertices that was checked, and the number of vertices of the mesh.
_seen: WeakIdKeyDictionary = WeakIdKeyDictionary()


def _core_graph(graph: Constants) -> _core.Graph:
    """The index of S as the kernels read it."""
    return graph.view(lambda crow, *rest: _core.Graph(crow.shape[0] - 1, crow, *rest))


def _sizes(x: Tensor, weight: Tensor, vertices: Tensor | None) -> tuple[int | None, ...]:
    """Numbers of vertices, frames, terms, channels in and out, and of vertices with an output; None if all have one."""
    num_kept = None if vertices is None else vertices.shape[0]
    return x.shape[-2], x.shape[:-2].numel(), *weight.shape, num_kept


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, val: Tensor, vertices: Tensor | None, graph: Constants
) -> Tensor:
    if vertices is not None:
        _check_ascending(vertices, x.shape[-2])
    out = _fake(x, weight, bias, val, vertices, graph)
    if not out.numel():
        return out
    num_terms, num_inputs, num_outputs = weight.shape
    scratch = workspace(x, _core.chebyshev_conv_fwd_workspace, *_sizes(x, weight, vertices))
    _core.chebyshev_conv_fwd(
        _core_graph(graph),
        val,
        x.shape[:-2].numel(),
        num_terms,
        num_inputs,
        num_outputs,
        x,
        weight,
        bias,
        vertices,
        out,
        scratch,
        place(x),
    )
    return out


def _fake(
    x: Tensor, weight: Tensor, bias: Tensor | None, val: Tensor, vertices: Tensor | None, graph: Constants
) -> Tensor:
    num_kept = x.shape[-2] if vertices is None else vertices.shape[0]
    return x.new_empty(*x.shape[:-2], num_kept, weight.shape[2])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.graph = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, needs: Sequence[bool], grad_out: Tensor) -> Sequence[Tensor | None]:
    return _bwd_op(*ctx.saved_tensors, grad_out, needs, ctx.graph)


def _bwd(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    val: Tensor,
    vertices: Tensor | None,
    grad_out: Tensor,
    needs: Sequence[bool],
    graph: Constants,
) -> list[Tensor | None]:
    grads = grad_x, grad_weight, grad_bias = empty_gradients(needs, x, weight, bias)
    if not grad_out.numel():
        return [None if grad is None else grad.zero_() for grad in grads]
    num_terms, num_inputs, num_outputs = weight.shape
    scratch = workspace(x, _core.chebyshev_conv_bwd_workspace, *_sizes(x, weight, vertices))
    _core.chebyshev_conv_bwd(
        _core_graph(graph),
        val,
        x.shape[:-2].numel(),
        num_terms,
        num_inputs,
        num_outputs,
        x,
        weight,
        vertices,
        grad_out,
        grad_x,
        grad_weight,
        grad_bias,
        scratch,
        place(x),
    )
    return grads


def _bwd_fake(*inputs: Any) -> list[Tensor | None]:
    return empty_gradients(inputs[6], *inputs[:3])


_INPUTS, _GRAPH = "Tensor x, Tensor weight, Tensor? bias, Tensor val, Tensor? vertices", schema(GraphIndex)
_bwd_op = register(
    "chebyshev_conv_bwd",
    f"({_INPUTS}, Tensor grad_out, bool[] needs, {_GRAPH}) -> Tensor[]",
    _bwd,
    _bwd_fake,
    records=(GraphIndex,),
)
_op = register(
    "chebyshev_conv",
    f"({_INPUTS}, {_GRAPH}) -> Tensor",
    _forward,
    _fake,
    _setup_context,
    _backward,
    differentiable=("x", "weight", "bias"),
    folded=Folded(("x",)),
    records=(GraphIndex,),
)
