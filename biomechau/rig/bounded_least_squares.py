"""Exact least squares between bounds, for many right-hand sides of one small matrix."""

from __future__ import annotations

import torch
from torch import Tensor

# Largest violation of a bound or of the sign of a gradient in an accepted solution, for a problem scaled to unit
# diagonal and unit right-hand side.
KKT_TOLERANCE = 1e-10
# Full exchanges that may fail to reduce the number of violations before variables are exchanged one at a time.
_PATIENCE = 3
# Right-hand sides solved together; each holds a (K, K) matrix.
_BATCH = 512


def solve_bounded(gram: Tensor, rhs: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Minimise 1/2 x^T G x - b^T x over lower <= x <= upper, for each row b.

    Block principal pivoting: guess which variables lie on a bound, solve for the others, exchange all that violate
    their condition, and fall back to one exchange at a time (which always ends) where that does not converge. The
    result meets the optimality conditions to ``KKT_TOLERANCE``.

    Args:
        gram: G (K, K) float64, symmetric positive definite.
        rhs: b (T, K) float64.
        lower, upper: (K,) float64, lower < upper; infinite where there is no bound.

    Returns:
        x (T, K) float64.

    Raises:
        ValueError: G is singular to working precision.
        RuntimeError: the iteration does not end (never observed; it is finite for a well-conditioned G).
    """
    scale = gram.diagonal().sqrt()
    if not bool((scale > 0).all()):
        raise ValueError("the least-squares matrix is singular: a shape has no weight; drop it or raise the ridge")
    gram = gram / (scale[:, None] * scale)
    factor, info = torch.linalg.cholesky_ex(gram)
    if bool(info) or float(factor.diagonal().min()) ** 2 < len(gram) * torch.finfo(gram.dtype).eps:
        raise ValueError("the least-squares matrix is singular: shapes depend on each other; raise the ridge")
    solutions = [_solve_batch(gram, part, lower * scale, upper * scale) for part in (rhs / scale).split(_BATCH)]
    return (torch.cat(solutions) / scale).clamp(lower, upper)


def _solve_batch(gram: Tensor, rhs: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    num_variables = len(gram)
    bounds = torch.stack([lower, upper])
    size = torch.where(bounds.isfinite(), bounds, 0).abs().max()
    tolerance = KKT_TOLERANCE * rhs.abs().amax(1, keepdim=True).clamp(min=size)
    solution = torch.empty_like(rhs)
    side = torch.zeros_like(rhs)  # -1 at the lower bound, 0 free, 1 at the upper bound
    fewest = torch.full((len(rhs),), num_variables + 1, device=rhs.device)
    patience = torch.full_like(fewest, _PATIENCE)
    open_rows = torch.arange(len(rhs), device=rhs.device)
    for _ in range(100 + 10 * num_variables):
        b, at, tol = rhs[open_rows], side[open_rows], tolerance[open_rows]
        x = _solve_free(gram, b, at, lower, upper)
        solution[open_rows] = x
        gradient = x @ gram - b
        target = at.clone()
        target[(at == 0) & (x < lower - tol)] = -1
        target[(at == 0) & (x > upper + tol)] = 1
        target[((at < 0) & (gradient < -tol)) | ((at > 0) & (gradient > tol))] = 0
        violated = target != at
        count = violated.sum(1)
        better = count < fewest[open_rows]
        patience[open_rows] = torch.where(better, _PATIENCE, patience[open_rows] - 1)
        fewest[open_rows] = torch.minimum(count, fewest[open_rows])
        last = num_variables - 1 - violated.flip(1).to(torch.uint8).argmax(1, keepdim=True)
        one = torch.zeros_like(violated).scatter_(1, last, True)
        exchange = violated & (one | (patience[open_rows] >= 0)[:, None])
        side[open_rows] = torch.where(exchange, target, at)
        open_rows = open_rows[count > 0]
        if not len(open_rows):
            return solution
    raise RuntimeError(f"bounded least squares did not converge for {len(open_rows)} of {len(rhs)} right-hand sides")


def _solve_free(gram: Tensor, rhs: Tensor, side: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The minimiser with the variables of ``side`` -1 and 1 held at their bounds."""
    held = torch.where(side < 0, lower, torch.where(side > 0, upper, 0.0))
    free = (side == 0).to(gram.dtype)
    # Rows and columns of held variables become those of the identity, so that one batch solves every pattern.
    system = gram * free[:, :, None] * free[:, None, :] + torch.diag_embed(1 - free)
    reduced = torch.where(side == 0, rhs - held @ gram, held)
    return torch.cholesky_solve(reduced[..., None], torch.linalg.cholesky(system))[..., 0]
