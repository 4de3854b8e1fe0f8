"""The entries of P as the projection of an ordinary tensor follows them: listed beforehand, or sorted by the kernel."""

from __future__ import annotations

import itertools

import pytest
import torch
from ops.cases import ForceProblem, force_problem
from torch import Tensor
from torch.testing import assert_close

from biomechau import _core, ops
from biomechau.ops import reference
from biomechau.ops._distribution import core_index
from biomechau.ops._sorted_entries import SortedEntries, sorted_by_block

BLOCK = _core.projection_block


def lists_of(distribution: ops.SparseMatrix) -> SortedEntries:
    return SortedEntries(*sorted_by_block(distribution).fields)


def core_results(problem: ForceProblem, entries: SortedEntries | None, threads: int) -> list[Tensor]:
    """A and its gradients from the kernels, into memory that holds NaN."""
    b, p, _, directions = problem
    shape = (len(b), p.shape[1]) if directions is not None else (len(b), p.shape[1], 3)
    out, grad_out = b.new_full(shape, torch.nan), torch.linspace(-1, 1, 3 * len(b) * p.shape[1], dtype=b.dtype)
    grad_out = grad_out[: out.numel()].reshape(shape)
    grad_b, grad_val = torch.full_like(b, torch.nan), torch.full_like(p.val, torch.nan)
    grad_directions = None if directions is None else torch.full_like(directions, torch.nan)
    arguments = core_index(p.index), p.val, directions, len(b), b, None
    core_entries = None if entries is None else _core.SortedEntries(*entries)
    _core.reduced_projection_fwd(*arguments, core_entries, out, threads)
    _core.reduced_projection_bwd(*arguments, core_entries, grad_out, grad_b, grad_val, grad_directions, threads)
    return [t for t in (out, grad_b, grad_val, grad_directions) if t is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize("num_vertices", [1, 7, BLOCK, 3 * BLOCK + 5])
def test_every_number_of_shapes_and_vertices_equals_the_twin(
    num_vertices: int, fibre: bool, dtype: torch.dtype
) -> None:
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    for num_shapes in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 66):
        problem = force_problem(
            fibre=fibre, num_vertices=num_vertices, num_shapes=num_shapes, num_muscles=5, dtype=dtype, seed=num_shapes
        )
        b, val, directions = (
            None if t is None else t.clone().requires_grad_()
            for t in (problem.blendshapes, problem.distribution.val, problem.directions)
        )
        assert b is not None
        assert val is not None
        expected = reference.reduced_projection(b, problem.distribution.with_values(val), directions)
        leaves = [t for t in (b, val, directions) if t is not None]
        grad_out = torch.linspace(-1, 1, 3 * num_shapes * 5, dtype=dtype)[: expected.numel()].reshape(expected.shape)
        expected = [expected, *torch.autograd.grad(expected, leaves, grad_out)]
        entries = lists_of(problem.distribution)
        results = [core_results(problem, e, threads) for e, threads in itertools.product((None, entries), (1, 3))]
        for actual in results:
            for first, other, twin in zip(results[0], actual, expected, strict=True):
                assert torch.equal(first, other)
                assert_close(other, twin, rtol=tolerance, atol=tolerance)


def test_lists_hold_every_entry_of_their_block_and_muscle() -> None:
    p = force_problem(num_vertices=3 * BLOCK + 5).distribution
    entries = lists_of(p)
    assert torch.equal(entries.entry.sort().values, torch.arange(p.nnz, dtype=torch.int32))
    lists = torch.repeat_interleave(torch.arange(len(entries.muscle)), entries.list_crow.diff())
    blocks = torch.repeat_interleave(torch.arange(4), entries.group_crow.diff())
    entry = entries.entry.long()
    assert torch.equal(p.col[entry], entries.muscle[lists].long())
    assert torch.equal(p.row[entry], blocks[lists] * BLOCK + entries.vertex)
    assert len(torch.unique(blocks * p.shape[1] + entries.muscle)) == len(entries.muscle)


def test_matrices_of_one_pattern_share_their_lists() -> None:
    p = force_problem().distribution
    assert sorted_by_block(p) is sorted_by_block(p.with_values(2 * p.val))
    other = ops.SparseMatrix(p.crow, p.col, p.val, p.shape)
    assert sorted_by_block(p) is not sorted_by_block(other)


def test_lists_that_do_not_fit_are_refused() -> None:
    problem = force_problem(num_vertices=3 * BLOCK)
    entries = lists_of(problem.distribution)
    fewer = entries.list_crow.clamp(max=int(entries.list_crow[-1]) - 1)
    more = torch.cat([entries.list_crow[:-1], entries.list_crow[-1:] + 1])
    for changes, message in [
        ({"group_crow": entries.group_crow[1:]}, "group_crow must have 4 elements, got 3"),
        ({"group_crow": entries.group_crow[[0, 1, 2, 3, 3]]}, "group_crow must have 4 elements, got 5"),
        ({"group_crow": entries.group_crow.flip(0)}, "group_crow must rise from 0"),
        ({"muscle": entries.muscle + problem.distribution.shape[1]}, "muscle holds an index out of range"),
        ({"entry": entries.entry + 1}, "entry holds an index out of range"),
        ({"muscle": entries.muscle - 4}, "muscle holds an index out of range"),
        ({"vertex": entries.vertex + BLOCK}, "vertex holds an index out of range"),
        ({"entry": entries.entry - 1}, "entry holds an index out of range"),
        ({"list_crow": fewer, "vertex": entries.vertex[:-1]}, "list_crow must rise to the number of entries"),
        (
            {"list_crow": more, "vertex": entries.vertex[[0, *range(len(entries.vertex))]]},
            "not rise beyond the entries",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            core_results(problem, entries._replace(**changes), 1)
