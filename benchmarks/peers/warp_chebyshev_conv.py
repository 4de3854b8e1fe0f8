"""Chebyshev convolution in Warp: one sparse product a term, then all terms' matrix products."""

from __future__ import annotations

import torch
import warp as wp
from problems import Problem
from torch import Tensor

from peers.adapters import Runnable
from peers.warp_adapter import array, device, taped, zeros


@wp.kernel
def advance(
    crow: wp.array(dtype=wp.int32),
    col: wp.array(dtype=wp.int32),
    val: wp.array(dtype=wp.float32),
    factor: wp.float32,
    x: wp.array(dtype=wp.float32, ndim=2),
    before: wp.array(dtype=wp.float32, ndim=2),
    subtract: wp.float32,
    out: wp.array(dtype=wp.float32, ndim=2),
):
    n, c = wp.tid()
    total = wp.float32(0.0)
    for entry in range(crow[n], crow[n + 1]):
        total += val[entry] * x[col[entry], c]
    out[n, c] = factor * total - subtract * before[n, c]


@wp.kernel
def combine(
    term: wp.array(dtype=wp.float32, ndim=2),
    weight: wp.array(dtype=wp.float32, ndim=2),
    before: wp.array(dtype=wp.float32, ndim=3),
    out: wp.array(dtype=wp.float32, ndim=3),
):
    n, frame, o = wp.tid()
    channels = weight.shape[0]
    total = wp.float32(before[n, frame, o])
    for c in range(channels):
        total += term[n, frame * channels + c] * weight[c, o]
    out[n, frame, o] = total


@wp.kernel
def start(bias: wp.array(dtype=wp.float32), out: wp.array(dtype=wp.float32, ndim=3)):
    n, frame, o = wp.tid()
    out[n, frame, o] = bias[o]


def prepare(problem: Problem) -> Runnable:
    """x is held vertex by vertex, (N, T C)."""
    laplacian, where = problem.constants["laplacian"], device(problem)
    x, weight, bias = (problem.tensors[name] for name in ("x", "weight", "bias"))
    num_frames, num_vertices, in_channels = x.shape
    num_terms, _, out_channels = weight.shape
    crow, col = (wp.from_torch(index.int(), dtype=wp.int32) for index in (laplacian.crow, laplacian.col))
    val = array(laplacian.val)
    terms = [array(x.movedim(1, 0).flatten(1), grad=True)]
    terms += [zeros(problem, num_vertices, num_frames * in_channels) for _ in range(num_terms - 1)]
    sums = [zeros(problem, num_vertices, num_frames, out_channels) for _ in range(num_terms + 1)]
    weights, offset = [array(w, grad=True) for w in weight], array(bias, grad=True)

    def launches() -> None:
        wp.launch(start, dim=sums[0].shape, inputs=[offset, sums[0]], device=where)
        for k in range(num_terms):
            if k > 0:
                before, factor, subtract = (terms[0], 1.0, 0.0) if k == 1 else (terms[k - 2], 2.0, 1.0)
                inputs = [crow, col, val, factor, terms[k - 1], before, subtract, terms[k]]
                wp.launch(advance, dim=terms[k].shape, inputs=inputs, device=where)
            wp.launch(combine, dim=sums[0].shape, inputs=[terms[k], weights[k], sums[k], sums[k + 1]], device=where)

    def tensors(outputs: list[Tensor], grads: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        grad_x, *grad_weights, grad_bias = grads
        grad_x = grad_x.view(num_vertices, num_frames, in_channels).movedim(0, 1)
        return [outputs[0].movedim(0, 1)], [grad_x, torch.stack(grad_weights), grad_bias]

    cotangents = (problem.cotangents[0].movedim(1, 0),)
    return taped(problem, launches, [sums[-1]], [terms[0], *weights, offset], tensors, cotangents)
