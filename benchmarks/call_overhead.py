"""What a call of each op costs beside its work: time on a tiny problem, less that of an empty autograd Function.

    python benchmarks/call_overhead.py [--out benchmarks/results/call_overhead.md]

All ops run in turn in every round, so that a drift of the machine's speed touches them alike.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import processor

import biomechau
from biomechau import ops

ROUNDS = 31
CALLS = 300


class Empty(torch.autograd.Function):
    """The least that an op with a backward can cost."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.new_empty(2)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad


Call = Callable[[], "torch.Tensor | tuple[torch.Tensor, ...]"]


def calls() -> dict[str, tuple[Call, tuple[torch.Tensor, ...]]]:
    """Every op on a problem too small to cost anything, and what a gradient is asked for."""
    pattern = ops.SparseMatrix.from_dense(torch.rand(8, 4))
    distribution = pattern.with_values(pattern.val.requires_grad_())
    blendshapes = torch.rand(3, 8, 3, requires_grad=True)
    packed = ops.PackedBlendshapes(blendshapes.detach())
    vector = torch.rand(2, 4, 3, requires_grad=True)
    fibre = torch.rand(2, 4, requires_grad=True)
    directions = torch.rand(distribution.nnz, 3, requires_grad=True)
    masses = torch.rand(8, requires_grad=True)
    mass = torch.eye(3, requires_grad=True)
    force = torch.rand(1, 2, 3, requires_grad=True)
    c0, v0 = torch.rand(1, 3, requires_grad=True), torch.rand(1, 3, requires_grad=True)
    modes = ops.ModalSystem(torch.eye(3), 0.1, stiffness=torch.eye(3))
    laplacian = ops.SparseMatrix.from_dense(torch.eye(8))
    x, weight = torch.rand(1, 8, 3, requires_grad=True), torch.rand(2, 3, 4, requires_grad=True)
    bias = torch.rand(4, requires_grad=True)
    val, state = distribution.val, (force, c0, v0)
    return {
        "(empty autograd Function)": (lambda: Empty.apply(masses[:2]), (masses,)),
        "distribute_forces": (lambda: ops.distribute_forces(distribution, vector), (val, vector)),
        "reduced_projection": (lambda: ops.reduced_projection(blendshapes, distribution), (blendshapes, val)),
        "force_projection, P and B": (
            lambda: ops.force_projection(blendshapes, distribution, vector),
            (blendshapes, val, vector),
        ),
        "force_projection, P": (lambda: ops.force_projection(packed, distribution, vector), (val, vector)),
        "force_projection, fibre": (
            lambda: ops.force_projection(blendshapes, distribution, fibre, directions),
            (blendshapes, val, fibre, directions),
        ),
        "generalized_mass": (lambda: ops.generalized_mass(packed, masses), (masses,)),
        "euler_rollout, explicit": (lambda: ops.euler_rollout(mass, force, c0, v0), (mass, *state)),
        "euler_rollout, implicit, D, K": (
            lambda: ops.euler_rollout(mass, force, c0, v0, 0.1, mass, mass, "implicit"),
            (mass, *state),
        ),
        "modal_rollout": (lambda: ops.modal_rollout(modes, force, c0, v0), state),
        "chebyshev_conv": (lambda: ops.chebyshev_conv(x, laplacian, weight, bias), (x, weight, bias)),
    }


def both(call: Call, wrt: tuple[torch.Tensor, ...]) -> Callable[[], object]:
    """The call and the gradients of what it returns."""
    result = call()
    outputs = result if isinstance(result, tuple) else (result,)
    cotangents = [torch.ones_like(output) for output in outputs]

    def forward_and_backward() -> object:
        result = call()
        return torch.autograd.grad(result if isinstance(result, tuple) else (result,), wrt, cotangents)

    return forward_and_backward


def measure(functions: dict[tuple[str, str], Callable[[], object]]) -> dict[tuple[str, str], list[float]]:
    """Microseconds per call of each function, one figure a round."""
    times: dict[tuple[str, str], list[float]] = {key: [] for key in functions}
    for round_ in range(ROUNDS + 3):
        for key, function in functions.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                function()
            if round_ >= 3:  # warm
                times[key].append((time.perf_counter() - start) / CALLS * 1e6)
    return times


def table() -> str:
    """Markdown: machine, versions, command, date, and a row per op."""
    functions: dict[tuple[str, str], Callable[[], object]] = {}
    for name, (call, wrt) in calls().items():
        functions[name, "f"] = call
        functions[name, "f+b"] = both(call, wrt)
    times = measure(functions)
    base = {mode: median(times["(empty autograd Function)", mode]) for mode in ("f", "f+b")}
    lines = [
        f"Command: `python benchmarks/call_overhead.py`, {time.strftime('%Y-%m-%d')}",
        "",
        f"Machine: {processor()}, {torch.get_num_threads()} threads. Python {platform.python_version()}, "
        f"torch {torch.__version__}, biomechau {biomechau.__version__} ({ops.backends()['instruction_set']}).",
        "",
        "Calls on a tiny problem: forward (f), and forward with the gradients of all that an op can learn (f+b). "
        f"Microseconds, medians of {ROUNDS} interleaved rounds of {CALLS} calls.",
        "",
        "| op | f | quartiles | above the empty Function | f+b | quartiles | above the empty Function |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in {name: None for name, _ in times}:
        cells = [name]
        for mode in ("f", "f+b"):
            values = sorted(times[name, mode])
            middle, low, high = median(values), values[ROUNDS // 4], values[3 * ROUNDS // 4]
            cells += [f"{middle:.1f}", f"{low:.1f} to {high:.1f}", f"{middle - base[mode]:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    text = table()
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text)
