"""The paper's rollout in Warp, its adjoint written out: Cholesky, all solves, sums over time."""

from __future__ import annotations

import warp as wp
from problems import Problem

from peers.adapters import Runnable
from peers.warp_adapter import array, device, zeros


@wp.kernel
def factor(mass: wp.array(dtype=wp.float32, ndim=3), out: wp.array(dtype=wp.float32, ndim=3)):
    s = wp.tid()
    for j in range(mass.shape[1]):
        pivot = wp.float32(mass[s, j, j])
        for k in range(j):
            pivot -= out[s, j, k] * out[s, j, k]
        root = wp.sqrt(pivot)
        out[s, j, j] = root
        for i in range(j + 1, mass.shape[1]):
            rest = wp.float32(mass[s, i, j])
            for k in range(j):
                rest -= out[s, i, k] * out[s, j, k]
            out[s, i, j] = rest / root


@wp.kernel
def solve(
    lower: wp.array(dtype=wp.float32, ndim=3),
    rhs: wp.array(dtype=wp.float32, ndim=3),
    out: wp.array(dtype=wp.float32, ndim=3),
):
    s, t = wp.tid()
    size = lower.shape[1]
    for i in range(size):
        rest = wp.float32(rhs[s, t, i])
        for k in range(i):
            rest -= lower[s, i, k] * out[s, t, k]
        out[s, t, i] = rest / lower[s, i, i]
    for j in range(size):
        i = size - 1 - j
        x = out[s, t, i] / lower[s, i, i]
        out[s, t, i] = x
        for k in range(i):
            out[s, t, k] = out[s, t, k] - lower[s, i, k] * x


@wp.kernel
def integrate(
    dt: wp.float32,
    a: wp.array(dtype=wp.float32, ndim=3),
    c0: wp.array(dtype=wp.float32, ndim=2),
    v0: wp.array(dtype=wp.float32, ndim=2),
    c: wp.array(dtype=wp.float32, ndim=3),
    v: wp.array(dtype=wp.float32, ndim=3),
):
    s, k = wp.tid()
    position, rate = wp.float32(c0[s, k]), wp.float32(v0[s, k])
    for t in range(a.shape[1]):
        position += dt * rate
        rate += dt * a[s, t, k]
        c[s, t, k] = position
        v[s, t, k] = rate


@wp.kernel
def integrate_back(
    dt: wp.float32,
    grad_c: wp.array(dtype=wp.float32, ndim=3),
    grad_v: wp.array(dtype=wp.float32, ndim=3),
    grad_a: wp.array(dtype=wp.float32, ndim=3),
    grad_c0: wp.array(dtype=wp.float32, ndim=2),
    grad_v0: wp.array(dtype=wp.float32, ndim=2),
):
    s, k = wp.tid()
    position, rate = wp.float32(0.0), wp.float32(0.0)
    for j in range(grad_c.shape[1]):
        t = grad_c.shape[1] - 1 - j
        position += grad_c[s, t, k]
        rate += grad_v[s, t, k]
        grad_a[s, t, k] = dt * rate
        rate += dt * position
    grad_c0[s, k] = position
    grad_v0[s, k] = rate


@wp.kernel
def outer(
    r: wp.array(dtype=wp.float32, ndim=3),
    a: wp.array(dtype=wp.float32, ndim=3),
    grad_mass: wp.array(dtype=wp.float32, ndim=3),
):
    s, row, col = wp.tid()
    total = wp.float32(0.0)
    for t in range(r.shape[1]):
        total += r[s, t, row] * a[s, t, col] + r[s, t, col] * a[s, t, row]
    grad_mass[s, row, col] = -0.5 * total


def prepare(problem: Problem) -> Runnable:
    """All arrays are made once."""
    where, dt = device(problem), problem.constants["dt"]
    num_sequences, num_frames, size = problem.outputs[0]
    mass, force, c0, v0 = (array(problem.tensors[name]) for name in ("mass", "force", "c0", "v0"))
    grad_c, grad_v = map(array, problem.cotangents)
    lower, grad_mass = wp.zeros_like(mass), wp.zeros_like(mass)
    a, c, v, grad_a, grad_force = (zeros(problem, *problem.outputs[0], grad=False) for _ in range(5))
    grad_c0, grad_v0 = wp.zeros_like(c0), wp.zeros_like(v0)

    def launch(kernel: wp.Kernel, dim: tuple[int, ...], *inputs: object) -> None:
        wp.launch(kernel, dim=dim, inputs=inputs, device=where)

    def forward() -> list[wp.array]:
        launch(factor, (num_sequences,), mass, lower)
        launch(solve, (num_sequences, num_frames), lower, force, a)
        launch(integrate, (num_sequences, size), dt, a, c0, v0, c, v)
        return [c, v]

    def both() -> tuple[list[wp.array], list[wp.array]]:
        forward()
        launch(integrate_back, (num_sequences, size), dt, grad_c, grad_v, grad_a, grad_c0, grad_v0)
        launch(solve, (num_sequences, num_frames), lower, grad_a, grad_force)
        launch(outer, (num_sequences, size, size), grad_force, a, grad_mass)
        return [c, v], [grad_mass, grad_force, grad_c0, grad_v0]

    return Runnable(forward, both, lambda result: tuple([wp.to_torch(x) for x in part] for part in result))
