"""Formulations of M c'' + D c' + K c = Q by implicit Euler, constant matrices shared by all sequences.

Where a formulation needs the inverse of the system, normal modes or a response over time, it has them beforehand: the
matrices are constants of the face. The decoder is the same with Q = A F, and only c is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from problems import Problem
from torch import Tensor

from biomechau import ops
from biomechau.ops import reference
from peers.adapters import Build, Formulation, Peer, jax_peer, torch_peer

_Matrices = dict[str, Tensor]


def _op(module: ModuleType) -> Build:
    def build(problem: Problem) -> Formulation:
        dt = problem.constants["dt"]

        def run(force: Tensor, c0: Tensor, v0: Tensor, projection: Tensor | None = None, **matrices: Tensor) -> Any:
            mass, damping, stiffness = matrices["mass"], matrices["damping"], matrices["stiffness"]
            q = _generalized(force, projection)
            return module.euler_rollout(mass, q, c0, v0, dt, damping, stiffness, "implicit")

        return Formulation(run)

    return build


def _ours(problem: Problem) -> Formulation:
    """The module that holds the constant matrices."""
    dynamics = problem.constants["dynamics"]
    run = dynamics.rollout if "projection" in problem.tensors else dynamics.integrate
    return Formulation(lambda force, c0, v0, **constants: run(force, c0, v0))


def _generalized(force: Any, projection: Any) -> Any:
    return force if projection is None else force @ projection.T


def _solve_each_step(problem: Problem) -> Formulation:
    """What a general implicit integrator does: assemble the right-hand side and solve, frame by frame."""
    dt = problem.constants["dt"]

    def run(force: Tensor, c0: Tensor, v0: Tensor, projection: Tensor | None = None, **matrices: Tensor) -> Any:
        mass, damping, stiffness = matrices["mass"], matrices["damping"], matrices["stiffness"]
        system = mass + dt * damping + dt * dt * stiffness
        c, v, cs, vs = c0, v0, [], []
        for q in _generalized(force, projection).unbind(-2):
            v = torch.linalg.solve(system, v @ mass + dt * (q - c @ stiffness), left=False)
            c = c + dt * v
            cs.append(c)
            vs.append(v)
        return torch.stack(cs, -2), torch.stack(vs, -2)

    return Formulation(run)


def _step_matrices(problem: Problem) -> tuple[Tensor, Tensor]:
    """v+ = [c v] X + (Q or F) Y, as X (2 K, K) and Y (K or M, K)."""
    mass, damping, stiffness = (problem.tensors[name].double() for name in ("mass", "damping", "stiffness"))
    dt = problem.constants["dt"]
    inverse = torch.linalg.inv(mass + dt * damping + dt * dt * stiffness)
    of_force = dt * inverse
    if "projection" in problem.tensors:
        of_force = problem.tensors["projection"].double().T @ of_force
    of_state = torch.cat([-dt * stiffness @ inverse, mass @ inverse])
    like = problem.tensors["mass"]
    return of_state.to(like), of_force.to(like)


def _step_loop(problem: Problem) -> Formulation:
    """One product for all forces, then one a frame."""
    dt = problem.constants["dt"]
    of_state, of_force = _step_matrices(problem)

    def run(force: Tensor, c0: Tensor, v0: Tensor, **constants: Tensor) -> Any:
        c, v, cs, vs = c0, v0, [], []
        for pushed in (force @ of_force).unbind(-2):
            v = torch.addmm(pushed, torch.cat([c, v], -1), of_state)
            c = c + dt * v
            cs.append(c)
            vs.append(v)
        return torch.stack(cs, -2), torch.stack(vs, -2)

    return Formulation(run)


def _modal_response(problem: Problem) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normal modes, and each mode's motion after its initial state and a unit force at each frame.

    Returns:
        Into the modes from c and v (K, K) and from Q or F (K or M, K); the motion (K, T + 2, 2 T), or (K, T + 2, T)
        for c alone; out of the modes (K, K).
    """
    mass, damping, stiffness = (problem.tensors[name].double() for name in ("mass", "damping", "stiffness"))
    dt, num_frames = problem.constants["dt"], problem.tensors["force"].shape[-2]
    factor = torch.linalg.cholesky(mass)
    whitened = torch.linalg.solve_triangular(factor, stiffness, upper=False)
    whitened = torch.linalg.solve_triangular(factor, whitened.mT, upper=False)
    squares, vectors = torch.linalg.eigh((whitened + whitened.mT) / 2)
    modes = torch.linalg.solve_triangular(factor.mT, vectors, upper=True)
    damped = modes.mT @ damping @ modes
    rates = damped.diagonal()
    if not torch.allclose(damped, torch.diag(rates), atol=1e-4 * float(rates.max())):
        raise ValueError("the damping couples the normal modes")
    # Row 0 starts with c = 1, row 1 with v = 1, row 2 + t is pushed by 1 in frame t.
    c, v = squares.new_zeros(2, len(squares), num_frames + 2)
    c[:, 0], v[:, 1] = 1, 1
    cs, vs = [], []
    for t in range(num_frames):
        push = torch.zeros_like(c)
        push[:, 2 + t] = 1
        v = (v + dt * (push - squares[:, None] * c)) / (1 + dt * rates + dt * dt * squares)[:, None]
        c = c + dt * v
        cs.append(c)
        vs.append(v)
    into = modes
    if "projection" in problem.tensors:
        into, vs = problem.tensors["projection"].double().T @ modes, []
    like = problem.tensors["mass"]
    return (mass @ modes).to(like), into.to(like), torch.stack(cs + vs, -1).to(like), modes.mT.contiguous().to(like)


def _modal(concatenate: Callable[..., Any], swap: Callable[..., Any]) -> Callable[..., Any]:
    """The rollout as three matrix products: into the modes, over time within each mode, and back."""

    def run(constants: Any, force: Any, c0: Any, v0: Any, **_: Any) -> Any:
        state_modes, force_modes, response, back = constants
        start = concatenate([c0[:, None], v0[:, None]], 1) @ state_modes
        inputs = concatenate([start, force @ force_modes], 1)
        motion = swap(swap(inputs, (2, 0, 1)) @ response, (1, 2, 0)) @ back
        num_frames = force.shape[1]
        if motion.shape[1] == num_frames:
            return motion
        return motion[:, :num_frames], motion[:, num_frames:]

    return run


def _modal_products(problem: Problem) -> Formulation:
    constants = _modal_response(problem)
    run = _modal(torch.cat, torch.permute)
    return Formulation(lambda **tensors: run(constants, **tensors))


def _jax_modal(problem: Problem) -> Formulation:
    import jax.numpy as jnp

    return Formulation(_modal(jnp.concatenate, jnp.transpose), constants=_modal_response(problem))


def _jax_scan(problem: Problem) -> Formulation:
    """A scan over frames with the step's matrices."""
    dt = problem.constants["dt"]

    def run(constants: Any, force: Any, c0: Any, v0: Any, **_: Any) -> Any:
        import jax
        import jax.numpy as jnp

        of_state, of_force = constants

        def step(state: Any, pushed: Any) -> Any:
            c, v = state
            v = jnp.concatenate([c, v], -1) @ of_state + pushed
            c = c + dt * v
            return (c, v), (c, v)

        _, (c, v) = jax.lax.scan(step, (c0, v0), (force @ of_force).swapaxes(0, 1))
        return c.swapaxes(0, 1), v.swapaxes(0, 1)

    return Formulation(run, constants=_step_matrices(problem))


def _warp(problem: Problem) -> Any:
    from peers.warp_implicit_rollout import prepare

    return prepare(problem, *_step_matrices(problem))


reference_peer = torch_peer(_op(reference))

PEERS = (
    Peer("ours", torch_peer(_ours)),
    Peer("ours, matrices in every call", torch_peer(_op(ops))),
    Peer("twin", torch_peer(_op(reference))),
    Peer("twin, compiled", torch_peer(_op(reference), compiled=True)),
    Peer("torch: solve each step", torch_peer(_solve_each_step)),
    Peer("torch: step loop", torch_peer(_step_loop)),
    Peer("torch: step loop, compiled", torch_peer(_step_loop, compiled=True)),
    Peer("torch: modal products", torch_peer(_modal_products)),
    Peer("torch: modal products, compiled", torch_peer(_modal_products, compiled=True)),
    Peer("JAX: scan", jax_peer(_jax_scan), "jax"),
    Peer("JAX: modal products", jax_peer(_jax_modal), "jax"),
    Peer("Warp: kernels", _warp, "warp"),
)
