"""Generalized mass in Warp: a sparse table of pair products, gathered by pair; its gradient by vertex."""

from __future__ import annotations

import torch
import warp as wp
from problems import Problem
from torch import Tensor

from peers.adapters import Runnable
from peers.warp_adapter import array, device, zeros


@wp.kernel
def gather(
    crow: wp.array(dtype=wp.int32),
    col: wp.array(dtype=wp.int32),
    val: wp.array(dtype=wp.float32),
    x: wp.array(dtype=wp.float32, ndim=2),
    out: wp.array(dtype=wp.float32, ndim=2),
):
    row, s = wp.tid()
    total = wp.float32(0.0)
    for entry in range(crow[row], crow[row + 1]):
        total += val[entry] * x[col[entry], s]
    out[row, s] = total


@wp.kernel
def spread(
    pair: wp.array(dtype=wp.int32, ndim=2),
    values: wp.array(dtype=wp.float32, ndim=2),
    out: wp.array(dtype=wp.float32, ndim=3),
):
    s, row, col = wp.tid()
    out[s, row, col] = values[pair[row, col], s]


@wp.kernel
def fold(
    first: wp.array(dtype=wp.int32),
    second: wp.array(dtype=wp.int32),
    grad: wp.array(dtype=wp.float32, ndim=3),
    out: wp.array(dtype=wp.float32, ndim=2),
):
    p, s = wp.tid()
    row, col = first[p], second[p]
    out[p, s] = grad[s, row, col]
    if row != col:
        out[p, s] = grad[s, row, col] + grad[s, col, row]


def prepare(problem: Problem, table: Tensor, place: Tensor) -> Runnable:
    """With the table (N, pairs) and where each entry of (K, K) finds its pair; masses are held vertex by vertex."""
    size, num_sequences = len(problem.tensors["blendshapes"]), len(problem.tensors["mass"])
    where = device(problem)
    first, second = torch.triu_indices(size, size, device=place.device)
    indices = [wp.from_torch(index.int().contiguous(), dtype=wp.int32) for index in (first, second)]
    pair = wp.from_torch(place.view(size, size).int().contiguous(), dtype=wp.int32)
    by_pair, by_vertex = _arrays(table.T), _arrays(table)
    mass, grad_out = array(problem.tensors["mass"].T), array(problem.cotangents[0])
    values = zeros(problem, table.shape[1], num_sequences, grad=False)
    folded, grad = wp.zeros_like(values), wp.zeros_like(mass)
    out = zeros(problem, num_sequences, size, size, grad=False)

    def forward() -> list[wp.array]:
        wp.launch(gather, dim=values.shape, inputs=[*by_pair, mass, values], device=where)
        wp.launch(spread, dim=out.shape, inputs=[pair, values, out], device=where)
        return [out]

    def both() -> tuple[list[wp.array], list[wp.array]]:
        forward()
        wp.launch(fold, dim=values.shape, inputs=[*indices, grad_out, folded], device=where)
        wp.launch(gather, dim=mass.shape, inputs=[*by_vertex, folded, grad], device=where)
        return [out], [grad]

    return Runnable(forward, both, lambda result: ([wp.to_torch(out)], [wp.to_torch(grad).T]))


def _arrays(matrix: Tensor) -> list[wp.array]:
    """Its CSR form."""
    matrix = matrix.contiguous()
    row, col = matrix.nonzero(as_tuple=True)
    crow = row.new_zeros(len(matrix) + 1)
    crow[1:] = row.bincount(minlength=len(matrix)).cumsum(0)
    indices = [wp.from_torch(index.int().contiguous(), dtype=wp.int32) for index in (crow, col)]
    return [*indices, array(matrix[row, col])]
