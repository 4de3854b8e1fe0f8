"""The projection of constant operators: made once, and never in place of one that changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ops.cases import assert_close, compare, force_problem
from torch import Tensor
from torch.autograd import forward_ad

from biomechau import _core, ops
from biomechau.ops import PackedBlendshapes, SparseMatrix, reference


def count_projections(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    calls: list[None] = []
    original = _core.reduced_projection_fwd

    def counting(*args: Any) -> None:
        calls.append(None)
        original(*args)

    monkeypatch.setattr(_core, "reduced_projection_fwd", counting)
    return calls


@pytest.mark.parametrize("fibre", [False, True])
def test_a_constant_projection_is_made_once(fibre: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    p = force_problem(fibre=fibre)
    packed, calls = PackedBlendshapes(p.blendshapes), count_projections(monkeypatch)
    for _ in range(3):
        compare(
            lambda force: ops.force_projection(packed, p.distribution, force, p.directions),
            lambda force: reference.force_projection(p.blendshapes, p.distribution, force, p.directions),
            {"force": p.force},
        )
    assert len(calls) == 1


def test_what_is_kept_follows_what_it_was_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    p = force_problem(fibre=True)
    assert p.directions is not None
    packed, calls = PackedBlendshapes(p.blendshapes), count_projections(monkeypatch)

    def agree(distribution: SparseMatrix, directions: Tensor) -> int:
        actual = ops.force_projection(packed, distribution, p.force, directions)
        assert_close(actual, reference.force_projection(p.blendshapes, distribution, p.force, directions))
        return len(calls)

    distribution, directions = p.distribution.with_values(p.distribution.val.clone()), p.directions.clone()
    assert agree(distribution, directions) == 1
    distribution.val.mul_(2)
    assert agree(distribution, directions) == 2
    directions.mul_(3)
    assert agree(distribution, directions) == 3
    directions = directions + 1
    assert agree(distribution, directions) == 4
    assert agree(distribution.with_values(distribution.val + 1), directions) == 5
    assert agree(distribution, directions) == 5
    # Torch does not count these, but they take other memory.
    torch.nn.utils.vector_to_parameters(2 * distribution.val, [distribution.val])
    assert agree(distribution, directions) == 6
    for _ in range(3):
        distribution.val.data = 2 * distribution.val
        directions.data = directions + 1
    assert agree(distribution, directions) == 7
    with torch.inference_mode():
        assert agree(p.distribution.with_values(p.distribution.val.clone()), directions) == 8


def test_a_tangent_is_never_lost() -> None:
    p = force_problem(fibre=True)
    assert p.directions is not None
    packed = PackedBlendshapes(p.blendshapes)
    with forward_ad.dual_level():
        val = forward_ad.make_dual(p.distribution.val, torch.ones_like(p.distribution.val))
        directions = forward_ad.make_dual(p.directions, torch.ones_like(p.directions))
        force = forward_ad.make_dual(p.force, torch.ones_like(p.force))
        for arguments in (
            (p.distribution.with_values(val), p.force, p.directions),
            (p.distribution, p.force, directions),
        ):
            with pytest.raises(RuntimeError, match="has no forward derivative"):
                ops.force_projection(packed, *arguments)
        tangent = forward_ad.unpack_dual(ops.force_projection(packed, p.distribution, force, p.directions)).tangent
    assert tangent is not None
    ones = torch.ones_like(p.force)
    assert_close(tangent, reference.force_projection(p.blendshapes, p.distribution, ones, p.directions))


def test_what_was_kept_in_inference_mode_serves_training() -> None:
    p = force_problem()
    packed = PackedBlendshapes(p.blendshapes)
    with torch.inference_mode():
        ops.force_projection(packed, p.distribution, p.force)
    force = p.force.clone().requires_grad_()
    ops.force_projection(packed, p.distribution, force).sum().backward()
    assert force.grad is not None


def test_a_learned_projection_is_never_kept() -> None:
    p = force_problem()
    packed = PackedBlendshapes(p.blendshapes)
    ops.force_projection(packed, p.distribution.with_values(p.distribution.val.requires_grad_()), p.force)
    assert not packed.kept


def test_nothing_outlives_its_distribution() -> None:
    p = force_problem()
    packed = PackedBlendshapes(p.blendshapes)
    distribution = SparseMatrix.from_dense(p.distribution.dense())
    ops.force_projection(packed, distribution, p.force)
    assert len(packed.kept) == len(packed._sorted) == 1
    del distribution
    assert len(packed.kept) == len(packed._sorted) == 0


# -- memory safety -----------------------------------------------------------------------------------------------------
