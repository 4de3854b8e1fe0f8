"""The full-space Newton simulation (Eq. 2), in which every vertex moves freely: the reference for the reduced model."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from biomechau.physics.physics_config import Scheme

Springs = Literal["isotropic", "central", "hooke"]


class NewtonSimulation:
    """m_i u_i'' + d m_i u_i' + a m_i u_i = f_i + springs, for all N vertices, in float64.

    Springs along the edges (i, j) push and pull their ends with equal and opposite forces; on vertex i they act with

    - ``isotropic``: k (u_j - u_i), linear and alike in all directions (what ``physics.elastic`` projects);
    - ``hooke``: k (|x_j - x_i| - rest length) along the spring, Hooke's law with x = rest + u;
    - ``central``: Hooke's law linearised at rest, k n n^T (u_j - u_i) with n along the spring at rest.

    Sparse but not reduced: takes seconds for a thousand vertices. Meant for tests, not for training.

    Args:
        rest: positions at rest [cm], shape (N, 3).
        edges: springs, (E, 2) int64.
        stiffness: k [force / cm], shape (E,).
        masses: m, positive, shape (N,).
        springs: the law of the springs.
        anchor: a, pull back to the rest position [1/s^2].
        damping: d [1/s].

    Raises:
        ValueError: inconsistent shapes, masses that are not positive, an unknown law, a spring without length.
    """

    def __init__(
        self,
        rest: Tensor,
        edges: Tensor,
        stiffness: Tensor,
        masses: Tensor,
        springs: Springs = "isotropic",
        anchor: float = 0.0,
        damping: float = 0.0,
    ) -> None:
        if springs not in get_args(Springs):
            raise ValueError(f"springs must be one of {', '.join(get_args(Springs))}, got {springs!r}")
        num_vertices = len(rest)
        expected = {"rest": (num_vertices, 3), "edges": (len(edges), 2), "stiffness": (len(edges),)}
        expected["masses"] = (num_vertices,)
        given = {"rest": rest, "edges": edges, "stiffness": stiffness, "masses": masses}
        for name, tensor in given.items():
            if tensor.shape != expected[name]:
                raise ValueError(f"{name} must have shape {expected[name]}, got {tuple(tensor.shape)}")
        if not bool((masses > 0).all()):
            raise ValueError(f"masses must be positive, vertex {int((~(masses > 0)).nonzero()[0])} is not")
        self.springs = springs
        self.anchor = anchor
        self.damping = damping
        self._rest, self._k, self._masses = (
            tensor.detach().cpu().double().numpy() for tensor in (rest, stiffness, masses)
        )
        first, second = edges.cpu().numpy().T
        rows = np.arange(len(edges))
        # Incidence: (G x)_e = x_j - x_i.
        data = np.concatenate([-np.ones(len(edges)), np.ones(len(edges))])
        index = (np.concatenate([rows, rows]), np.concatenate([first, second]))
        self._incidence = scipy.sparse.csr_matrix((data, index), shape=(len(edges), num_vertices))
        span = self._incidence @ self._rest
        self._length = np.linalg.norm(span, axis=1)
        if (self._length == 0).any():
            raise ValueError(f"spring {int(np.argmin(self._length))} has no length")
        self._direction = span / self._length[:, None]

    def elastic_force(self, u: Tensor) -> Tensor:
        """Force of the springs on vertices displaced by u [cm], shape (N, 3); sums to zero over the vertices."""
        return torch.from_numpy(self._springs(u.detach().cpu().double().numpy()))

    def tangent(self, u: Tensor | None = None) -> scipy.sparse.csr_matrix:
        """-d(elastic force)/du at u (at rest if not given), (3N, 3N) with the axes of a vertex next to each other."""
        return self._tangent(np.zeros_like(self._rest) if u is None else u.detach().cpu().double().numpy())

    def simulate(
        self, force: Tensor, u0: Tensor, v0: Tensor, dt: float, scheme: Scheme = "implicit"
    ) -> tuple[Tensor, Tensor]:
        """Integrate the motion with the schemes of ``ops.euler_rollout``.

        ``implicit`` takes one Newton step on the springs' law, which is exact for the two linear ones.

        Args:
            force: external force on each vertex at frames 0 .. T-1, shape (T, N, 3).
            u0: displacements at frame 0 [cm], shape (N, 3).
            v0: velocities at frame 0 [cm/s], shape (N, 3).
            dt: time step [s].
            scheme: "explicit", "semi_implicit" or "implicit".

        Returns:
            u and v at frames 1 .. T, each of shape (T, N, 3), float64.

        Raises:
            ValueError: inconsistent shapes, a dt that is not positive, an unknown scheme.
        """
        if scheme not in get_args(Scheme):
            raise ValueError(f"scheme must be one of {', '.join(get_args(Scheme))}, got {scheme!r}")
        if not (dt > 0 and math.isfinite(dt)):
            raise ValueError(f"dt must be positive, got {dt}")
        for name, tensor, shape in (("force", force, force.shape[:1]), ("u0", u0, ()), ("v0", v0, ())):
            if tensor.shape != (*shape, *self._rest.shape):
                raise ValueError(
                    f"{name} must have shape (T, N, 3) with N = {len(self._rest)}, got {tuple(tensor.shape)}"
                )
        mass = self._masses[:, None]
        u, v = (tensor.detach().cpu().double().numpy() for tensor in (u0, v0))
        solve = None
        us, vs = [], []
        for external in force.detach().cpu().double().numpy():
            total = external + self._springs(u) - mass * self.anchor * u
            if scheme == "implicit":
                if solve is None or self.springs == "hooke":
                    solve = self._implicit_solver(u, dt)
                v_next = solve(mass * v + dt * total)
            else:
                v_next = v + dt * (total / mass - self.damping * v)
            u = u + dt * (v if scheme == "explicit" else v_next)
            v = v_next
            us.append(u)
            vs.append(v)
        empty = np.empty((0, *self._rest.shape))
        return torch.from_numpy(np.stack(us) if us else empty), torch.from_numpy(np.stack(vs) if vs else empty)

    def _springs(self, u: np.ndarray) -> np.ndarray:
        stretch = self._incidence @ u
        if self.springs == "isotropic":
            pull = stretch
        elif self.springs == "central":
            pull = (stretch * self._direction).sum(1, keepdims=True) * self._direction
        else:
            span = self._incidence @ self._rest + stretch
            length = np.linalg.norm(span, axis=1, keepdims=True)
            pull = (1 - self._length[:, None] / length) * span
        return -(self._incidence.T @ (self._k[:, None] * pull))

    def _tangent(self, u: np.ndarray) -> scipy.sparse.csr_matrix:
        eye = np.eye(3)
        if self.springs == "isotropic":
            blocks = self._k[:, None, None] * eye
        elif self.springs == "central":
            blocks = self._k[:, None, None] * _outer(self._direction)
        else:
            span = self._incidence @ (self._rest + u)
            length = np.linalg.norm(span, axis=1)
            along = _outer(span / length[:, None])
            ratio = (self._length / length)[:, None, None]
            blocks = self._k[:, None, None] * (along + (1 - ratio) * (eye - along))
        count = len(self._k)
        middle = scipy.sparse.bsr_matrix((blocks, np.arange(count), np.arange(count + 1)), shape=(3 * count, 3 * count))
        incidence = scipy.sparse.kron(self._incidence, eye, format="csr")
        return scipy.sparse.csr_matrix(incidence.T @ middle @ incidence)

    def _implicit_solver(self, u: np.ndarray, dt: float):
        """v+ of (m + h d m + h^2 (a m + K)) v+ = m v + h f(u), factored."""
        diagonal = np.repeat(self._masses, 3) * (1 + dt * self.damping + dt * dt * self.anchor)
        system = scipy.sparse.diags_array(diagonal, format="csc") + dt * dt * self._tangent(u)
        factor = scipy.sparse.linalg.splu(scipy.sparse.csc_matrix(system))
        return lambda rhs: factor.solve(rhs.ravel()).reshape(rhs.shape)


def _outer(direction: np.ndarray) -> np.ndarray:
    return direction[:, :, None] * direction[:, None, :]
