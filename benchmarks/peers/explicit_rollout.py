"""Formulations of the paper's rollout, M c'' = Q by explicit Euler with one mass a sequence (Eq. 5 and 6)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from problems import Problem
from torch import Tensor

from biomechau import ops
from biomechau.ops import reference
from peers.adapters import Build, Formulation, Layout, Peer, jax_peer, torch_peer

# Compiling a loop unrolls it: beyond this many steps it takes minutes.
_LONGEST_UNROLLED = 64

Motion = tuple[Tensor, Tensor]


def _op(module: ModuleType) -> Build:
    def build(problem: Problem) -> Formulation:
        dt = problem.constants["dt"]

        def run(mass: Tensor, force: Tensor, c0: Tensor, v0: Tensor) -> Motion:
            return module.euler_rollout(mass, force, c0, v0, dt)

        return Formulation(run)

    return build


def _prefix_sums(problem: Problem) -> Formulation:
    """All accelerations by one batched solve, then two cumulative sums over time."""
    dt = problem.constants["dt"]

    def run(mass: Tensor, force: Tensor, c0: Tensor, v0: Tensor) -> Motion:
        factor, _ = torch.linalg.cholesky_ex(mass)
        a = torch.cholesky_solve(force.mT, factor).mT
        v = v0[:, None] + dt * a.cumsum(1)
        before = torch.cat([v0[:, None], v[:, :-1]], 1)
        return c0[:, None] + dt * before.cumsum(1), v

    return Formulation(run)


def _torchdiffeq(problem: Problem) -> Formulation:
    """``odeint`` of (c, v) with its fixed-grid Euler, a solve with the mass's factor at every step."""
    dt, num_frames = problem.constants["dt"], problem.tensors["force"].shape[-2]
    times = dt * torch.arange(num_frames + 1, dtype=torch.float32, device=problem.tensors["force"].device)

    def run(mass: Tensor, force: Tensor, c0: Tensor, v0: Tensor) -> Motion:
        from torchdiffeq import odeint

        factor = torch.linalg.cholesky(mass)
        frames = force.unbind(1)

        def rate(time: Tensor, state: Motion) -> Motion:
            rhs = frames[round(float(time) / dt)]
            return state[1], torch.cholesky_solve(rhs[..., None], factor)[..., 0]

        c, v = odeint(rate, (c0, v0), times, method="euler")
        return c[1:].movedim(0, 1), v[1:].movedim(0, 1)

    return Formulation(run)


def _symmetric_gradient() -> dict[str, Layout]:
    """JAX differentiates one triangle of a mass, everybody else both."""
    return {"mass": Layout(lambda mass: mass, lambda grad: (grad + grad.mT) / 2)}


def _jax_prefix_sums(problem: Problem) -> Formulation:
    dt = problem.constants["dt"]

    def run(_: Any, mass: Any, force: Any, c0: Any, v0: Any) -> Any:
        import jax.numpy as jnp

        a = _jax_solve(mass, force.swapaxes(1, 2)).swapaxes(1, 2)
        v = v0[:, None] + dt * jnp.cumsum(a, 1)
        before = jnp.concatenate([v0[:, None], v[:, :-1]], 1)
        return c0[:, None] + dt * jnp.cumsum(before, 1), v

    return Formulation(run, _symmetric_gradient())


def _jax_scan(problem: Problem) -> Formulation:
    """All accelerations by one batched solve, then a scan over time."""
    dt = problem.constants["dt"]

    def run(_: Any, mass: Any, force: Any, c0: Any, v0: Any) -> Any:
        import jax

        a = _jax_solve(mass, force.swapaxes(1, 2))

        def step(state: Any, a: Any) -> Any:
            c, v = state
            state = c + dt * v, v + dt * a
            return state, state

        _, (c, v) = jax.lax.scan(step, (c0, v0), a.transpose(2, 0, 1))
        return c.swapaxes(0, 1), v.swapaxes(0, 1)

    return Formulation(run, _symmetric_gradient())


def _jax_solve(mass: Any, rhs: Any) -> Any:
    import jax

    def solve(matrix: Any, rhs: Any) -> Any:
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix), rhs)

    return jax.vmap(solve)(mass, rhs)


def _warp(problem: Problem) -> Any:
    from peers.warp_explicit_rollout import prepare

    return prepare(problem)


def _short(problem: Problem) -> str | None:
    num_frames = problem.tensors["force"].shape[-2]
    return None if num_frames <= _LONGEST_UNROLLED else f"would unroll {num_frames} steps"


reference_peer = torch_peer(_op(reference))

PEERS = (
    Peer("ours", torch_peer(_op(ops))),
    Peer("twin", torch_peer(_op(reference))),
    Peer("twin, compiled", torch_peer(_op(reference), compiled=True), applies=_short),
    Peer("torch: Cholesky, prefix sums", torch_peer(_prefix_sums)),
    Peer("torch: Cholesky, prefix sums, compiled", torch_peer(_prefix_sums, compiled=True)),
    Peer("torchdiffeq: euler", torch_peer(_torchdiffeq), "torchdiffeq"),
    Peer("JAX: Cholesky, prefix sums", jax_peer(_jax_prefix_sums), "jax"),
    Peer("JAX: Cholesky, scan", jax_peer(_jax_scan), "jax"),
    Peer("Warp: kernels", _warp, "warp"),
)
