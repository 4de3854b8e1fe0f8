"""The implicit rollout in Warp: one product for all forces, then one launch a frame; Warp derives the adjoint."""

from __future__ import annotations

import warp as wp
from problems import Problem
from torch import Tensor
from torch.nn.functional import pad

from peers.adapters import Runnable
from peers.warp_adapter import array, device, taped, zeros


@wp.kernel
def push(
    force: wp.array(dtype=wp.float32, ndim=3),
    of_force: wp.array(dtype=wp.float32, ndim=2),
    out: wp.array(dtype=wp.float32, ndim=3),
):
    s, t, k = wp.tid()
    total = wp.float32(0.0)
    for j in range(force.shape[2]):
        total += force[s, t, j] * of_force[j, k]
    out[s, t, k] = total


@wp.kernel
def step(
    t: wp.int32,
    dt: wp.float32,
    pushed: wp.array(dtype=wp.float32, ndim=3),
    of_state: wp.array(dtype=wp.float32, ndim=2),
    c: wp.array(dtype=wp.float32, ndim=3),
    v: wp.array(dtype=wp.float32, ndim=3),
):
    s, k = wp.tid()
    size = c.shape[2]
    rate = wp.float32(pushed[s, t, k])
    for j in range(size):
        rate += c[s, t, j] * of_state[j, k] + v[s, t, j] * of_state[size + j, k]
    v[s, t + 1, k] = rate
    c[s, t + 1, k] = c[s, t, k] + dt * rate


def prepare(problem: Problem, of_state: Tensor, of_force: Tensor) -> Runnable:
    """With the matrices of a step; c and v have the initial state as their first frame."""
    where, dt = device(problem), problem.constants["dt"]
    num_sequences, num_frames, size = problem.outputs[0]
    force = array(problem.tensors["force"], grad=True)
    matrices = array(of_state), array(of_force)
    pushed = zeros(problem, num_sequences, num_frames, size)
    # Zeros for the frames to come; gradients start behind the first frame too.
    states = [array(pad(problem.tensors[name][:, None], (0, 0, 0, num_frames)), grad=True) for name in ("c0", "v0")]
    seeds = tuple(pad(cotangent, (0, 0, 1, 0)) for cotangent in problem.cotangents)

    def launches() -> None:
        wp.launch(push, dim=pushed.shape, inputs=[force, matrices[1], pushed], device=where)
        for t in range(num_frames):
            inputs = [t, dt, pushed, matrices[0], *states]
            wp.launch(step, dim=(num_sequences, size), inputs=inputs, device=where)

    def tensors(outputs: list[Tensor], grads: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return [output[:, 1:] for output in outputs], [grads[0], *(grad[:, 0] for grad in grads[1:])]

    return taped(problem, launches, states[: len(seeds)], [force, *states], tensors, seeds)
