"""Force projection in Warp: A gathered muscle by muscle, then Q = F A^T."""

from __future__ import annotations

from typing import Any

import warp as wp
from problems import Problem
from torch import Tensor

from peers.adapters import Runnable
from peers.warp_adapter import array, device, taped, zeros


@wp.kernel
def reduce(
    crow: wp.array(dtype=wp.int32),
    row: wp.array(dtype=wp.int32),
    val: wp.array(dtype=wp.float32),
    blendshapes: wp.array(dtype=wp.vec3, ndim=2),
    out: wp.array(dtype=wp.vec3, ndim=2),
):
    m, k = wp.tid()
    total = wp.vec3()
    for entry in range(crow[m], crow[m + 1]):
        total += val[entry] * blendshapes[row[entry], k]
    out[m, k] = total


@wp.kernel
def apply(
    reduced: wp.array(dtype=wp.vec3, ndim=2),
    force: wp.array(dtype=wp.vec3, ndim=2),
    out: wp.array(dtype=wp.float32, ndim=2),
):
    frame, k = wp.tid()
    total = wp.float32(0.0)
    for m in range(force.shape[1]):
        total += wp.dot(reduced[m, k], force[frame, m])
    out[frame, k] = total


def prepare(problem: Problem) -> Runnable:
    """With constant operators A is made once."""
    learned = set(problem.wrt)
    distribution, blendshapes = problem.constants["distribution"], problem.tensors["blendshapes"]
    crow, row, order = distribution.transpose
    num_shapes, num_muscles = len(blendshapes), distribution.shape[1]
    crow, row = (wp.from_torch(index.int(), dtype=wp.int32) for index in (crow, row))
    val = array(problem.tensors["val"][order], grad="val" in learned)
    by_vertex = array(blendshapes.transpose(0, 1), wp.vec3, "blendshapes" in learned)
    frames = array(problem.tensors["force"].flatten(0, 1), wp.vec3, True)
    where = device(problem)
    reduced = wp.zeros((num_muscles, num_shapes), dtype=wp.vec3, device=where, requires_grad=learned != {"force"})
    out = zeros(problem, frames.shape[0], num_shapes)
    first: dict[str, Any] = {"dim": (num_muscles, num_shapes), "inputs": [crow, row, val, by_vertex, reduced]}
    wp.launch(reduce, device=where, **first)

    def launches() -> None:
        if "val" in learned:
            wp.launch(reduce, device=where, **first)
        wp.launch(apply, dim=out.shape, inputs=[reduced, frames, out], device=where)

    arrays = {"val": val, "blendshapes": by_vertex, "force": frames}

    def tensors(outputs: list[Tensor], grads: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        named = dict(zip(problem.wrt, grads, strict=True))
        if "val" in named:
            named["val"] = named["val"].new_empty(distribution.nnz).index_copy_(0, order, named["val"])
        if "blendshapes" in named:
            named["blendshapes"] = named["blendshapes"].transpose(0, 1)
        named["force"] = named["force"].view_as(problem.tensors["force"])
        return [outputs[0].view(problem.outputs[0])], [named[name] for name in problem.wrt]

    return taped(problem, launches, [out], [arrays[name] for name in problem.wrt], tensors)
