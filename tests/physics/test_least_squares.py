"""The solver against scipy's, uncoupled and coupled over time."""

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from biomechau.physics._least_squares import smooth_least_squares


def problem(rows: int = 9, columns: int = 6, frames: int = 15) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    target = torch.randn(frames, rows, generator=generator, dtype=torch.float64)
    return matrix / matrix.norm(dim=0), target


def solve(matrix: Tensor, target: Tensor, sparsity: float, smoothness: float, nonnegative: bool = True) -> Tensor:
    weight = torch.full(matrix.shape[1:], sparsity, dtype=torch.float64)
    solution = smooth_least_squares(matrix, target, weight, smoothness, nonnegative, tolerance=1e-12)
    assert solution.converged
    assert solution.gap <= 1e-12
    return solution.x


def test_frames_alone_are_scipys_nnls() -> None:
    matrix, target = problem()
    x = solve(matrix, target, 0.0, 0.0)
    expected = np.stack([scipy.optimize.nnls(matrix.numpy(), frame)[0] for frame in target.numpy()])
    assert 0.2 < (expected == 0).mean() < 0.8  # constraints that bind and constraints that do not
    np.testing.assert_allclose(x.numpy(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("sparsity", "smoothness"), [(0.0, 0.7), (0.2, 0.0), (0.1, 5.0)])
def test_coupled_frames_are_one_large_nonnegative_problem(sparsity: float, smoothness: float) -> None:
    """Stacked over time, with Eq. 16 as extra rows and Eq. 15 as a shift of the right-hand side."""
    matrix, target = problem()
    frames, columns = len(target), matrix.shape[1]
    design = [np.kron(np.eye(frames), matrix.numpy())]
    design.append(np.sqrt(smoothness) * np.kron(np.diff(np.eye(frames), axis=0), np.eye(columns)))
    stacked = np.concatenate(design)
    right = np.concatenate([target.numpy().ravel(), np.zeros(len(design[1]))])
    # For x >= 0 the L1 term is linear: w^T x = -(S x)^T b with S^T b = -w.
    right = right - np.linalg.lstsq(stacked.T, np.full(stacked.shape[1], sparsity), rcond=None)[0]
    expected = scipy.optimize.lsq_linear(stacked, right, bounds=(0, np.inf), tol=1e-14, max_iter=500).x
    x = solve(matrix, target, sparsity, smoothness)
    np.testing.assert_allclose(x.numpy().ravel(), expected, rtol=0, atol=1e-7)


def test_signed_forces_without_penalty_are_least_squares() -> None:
    matrix, target = problem()
    expected = torch.linalg.lstsq(matrix, target.T).solution.T
    torch.testing.assert_close(solve(matrix, target, 0.0, 0.0, nonnegative=False), expected, rtol=0, atol=1e-9)


def test_signed_sparse_forces_meet_the_optimality_conditions() -> None:
    matrix, target = problem()
    x = solve(matrix, target, 0.3, 0.0, nonnegative=False)
    slope = (x @ matrix.T - target) @ matrix
    assert 0.1 < float((x == 0).double().mean()) < 0.9
    torch.testing.assert_close(slope[x != 0], -0.3 * x[x != 0].sign(), rtol=0, atol=1e-9)
    assert slope[x == 0].abs().max() <= 0.3


def test_sequences_do_not_mix() -> None:
    matrix, target = problem()
    pair = torch.stack([target, 3 * target.flip(0)])
    torch.testing.assert_close(solve(matrix, pair, 0.1, 2.0)[1], solve(matrix, pair[1], 0.1, 2.0), rtol=0, atol=1e-9)


def test_nothing_to_fit_gives_zero() -> None:
    matrix, target = problem()
    assert torch.equal(solve(matrix, 0 * target, 0.1, 1.0), torch.zeros(15, 6, dtype=torch.float64))


def test_stopping_early_is_reported_with_its_gap() -> None:
    matrix, target = problem()
    done: list[tuple[int, int]] = []
    weight = torch.zeros(6, dtype=torch.float64)
    solution = smooth_least_squares(
        matrix, target, weight, 50.0, True, tolerance=1e-10, max_iterations=15, progress=lambda *args: done.append(args)
    )
    assert not solution.converged
    assert solution.iterations == 15
    assert solution.gap > 1e-10
    assert len(done) == 2
    assert all(0 <= share < 100 and total == 100 for share, total in done)
