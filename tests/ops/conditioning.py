"""Ill-conditioned rollouts, and how far kernels may be from the truth: about as far as their twins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from biomechau.ops import reference

Inputs = dict[str, Tensor | None]

# Problems of one kind, by chance: the error of either side varies from one to the next by more than a factor of two, as
# its roundings happen to meet the weakest direction.
SEEDS = 8
# Times the twin's error, in the geometric mean over all problems, outputs and gradients.
FACTOR = 2.0
# Times the twin's error in a single output or gradient, in the median and in the worst of the problems: there chance
# decides. The twin itself, given the same shapes in reverse order, is up to 3.7 times as far off as in theirs.
SCATTER = 4.0
# Where the twin happens to be good to the last digits, a few roundings are no fault: those of adding K terms at random,
# sqrt(64) / 2, of the result itself, and of the steps.
FLOOR = 8 * torch.finfo(torch.float32).eps


def correlated_shapes(num_shapes: int, first: int, count: int, condition: float, seed: int) -> Tensor:
    """Blendshapes (K, 3 N): those of [first, first + count) nearly equal, so that B B^T has about that condition."""
    gen = torch.Generator().manual_seed(seed)
    shapes = torch.randn(num_shapes, 600, generator=gen, dtype=torch.float64)
    # count (1 + ...) over noise^2: the largest and the smallest eigenvalue of the group
    noise = (count / condition) ** 0.5
    near = slice(first + 1, first + count)
    shapes[near] = shapes[first] + noise * shapes[near]
    return shapes / shapes.shape[1] ** 0.5


def in_single_precision(values: Tensor) -> Tensor:
    """Rounded to float32, so that every precision gets the same problem."""
    return values.float().double()


def normal(*shape: int, gen: torch.Generator) -> Tensor:
    """Normal numbers in single precision."""
    return in_single_precision(torch.randn(*shape, generator=gen, dtype=torch.float64))


def rolled(
    function: Callable[..., tuple[Tensor, ...]], inputs: Inputs, dtype: torch.dtype, wanted: list[str] | None = None
) -> list[Tensor]:
    """Outputs and gradients in a precision, all in float64."""
    leaves = {name: None if value is None else value.to(dtype, copy=True) for name, value in inputs.items()}
    chosen = [leaf for name, leaf in leaves.items() if leaf is not None and (wanted is None or name in wanted)]
    for leaf in chosen:
        leaf.requires_grad_()
    outputs = function(**leaves)
    gen = torch.Generator().manual_seed(99)
    weights = [normal(*out.shape, gen=gen).to(dtype) for out in outputs]
    grads = torch.autograd.grad(outputs, chosen, weights)
    return [result.detach().double() for result in (*outputs, *grads)]


def relative_errors(results: list[Tensor], truth: list[Tensor]) -> Tensor:
    """The largest error over the largest entry, of every output and gradient."""
    errors = [(one - other).abs().max() / other.abs().max() for one, other in zip(results, truth, strict=True)]
    return torch.stack(errors).nan_to_num(nan=torch.inf)


def assert_as_good_as_the_twin(
    problems: list[Inputs],
    op: Callable[..., tuple[Tensor, ...]],
    twin: Callable[..., tuple[Tensor, ...]] = reference.euler_rollout,
    wanted: list[str] | None = None,
    **settings: Any,
) -> None:
    """On the whole, in the median and in the worst problem; and where the twin takes a matrix, the kernel does."""
    ours, theirs = [], []
    for inputs in problems:
        try:
            other = rolled(lambda **leaves: twin(**leaves, **settings), inputs, torch.float32, wanted)
        except ValueError:  # singular in single precision, says the twin
            continue
        one = rolled(lambda **leaves: op(**leaves, **settings), inputs, torch.float32, wanted)
        truth = rolled(lambda **leaves: twin(**leaves, **settings), inputs, torch.float64, wanted)
        ours.append(relative_errors(one, truth))
        theirs.append(relative_errors(other, truth))
    if len(ours) < SEEDS // 2:
        pytest.skip(f"the twin takes {len(ours)} of {SEEDS} matrices: too few to compare")
    one, other = torch.stack(ours), torch.stack(theirs)
    ratio = ((one + FLOOR) / (other + FLOOR)).log().mean().exp()
    assert bool(ratio <= FACTOR), f"errors {float(ratio):.2g} times the twin's over all problems and results"
    for statistic in (lambda errors: errors.median(0).values, lambda errors: errors.max(0).values):
        ours_, theirs_ = statistic(one), statistic(other)
        good = ours_ <= SCATTER * theirs_ + FLOOR
        assert bool(good.all()), f"errors {ours_.tolist()}, the twin's {theirs_.tolist()}"


def motion(num_shapes: int, batch: tuple[int, ...] = (2,), num_frames: int = 8, seed: int = 0) -> Inputs:
    """Forces, and a state to begin with."""
    gen = torch.Generator().manual_seed(1000 + seed)
    return {
        "force": normal(*batch, num_frames, num_shapes, gen=gen),
        "c0": normal(*batch, num_shapes, gen=gen),
        "v0": normal(*batch, num_shapes, gen=gen),
    }
