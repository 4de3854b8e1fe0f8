"""Each op against its plain-torch twin at the size of a face: ``pytest benchmarks``.

N = 9,409 vertices, K = 53 shapes, M = 31 muscles, S = 8 sequences of T = 32 frames, float32, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from biomechau import ops
from biomechau.ops import reference

N, K, M, S, T = 9_409, 53, 31, 8, 32


def problem(name: str, module: ModuleType) -> tuple[Callable[[], Any], list[Tensor]]:
    """The op on random inputs, and the inputs that a gradient is asked for."""
    torch.manual_seed(0)
    dense = torch.rand(N, M) * (torch.rand(N, M) < 0.1)
    pattern = ops.SparseMatrix.from_dense(dense)
    val = pattern.val.requires_grad_()
    distribution = pattern.with_values(val)
    blendshapes = torch.randn(K, N, 3) * (torch.rand(K, N, 1) < 0.5)
    force = torch.randn(S, T, M, 3, requires_grad=True)
    masses = torch.rand(S, N, requires_grad=True)
    mass = reference.generalized_mass(blendshapes, torch.full((N,), 1 / N))
    q = torch.randn(S, T, K, requires_grad=True)
    rest = torch.zeros(S, K)
    if name == "distribute_forces":
        return lambda: module.distribute_forces(distribution, force), [val, force]
    if name == "reduced_projection":
        return lambda: module.reduced_projection(blendshapes, distribution), [val]
    if name == "force_projection":
        return lambda: module.force_projection(blendshapes, distribution, force), [val, force]
    if name == "generalized_mass":
        return lambda: module.generalized_mass(blendshapes, masses), [masses]
    scheme = name.removeprefix("euler_rollout_")
    elastic = (20 * mass, 100 * mass) if scheme == "implicit" else (None, None)
    return lambda: module.euler_rollout(mass, q, rest, rest, 0.04, *elastic, scheme=scheme)[0], [q]


@pytest.mark.parametrize("module", [ops, reference], ids=["kernel", "twin"])
@pytest.mark.parametrize(
    "name",
    [
        "distribute_forces",
        "reduced_projection",
        "force_projection",
        "generalized_mass",
        "euler_rollout_explicit",
        "euler_rollout_implicit",
    ],
)
def test_forward_and_backward(benchmark: Any, name: str, module: ModuleType) -> None:
    benchmark.group = name
    function, inputs = problem(name, module)

    def run() -> None:
        torch.autograd.grad(function().sum(), inputs)

    benchmark.pedantic(run, rounds=15, warmup_rounds=2)
