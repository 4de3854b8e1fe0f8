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
    def backward(ctx: Any, grad: torch.Tensor) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


def calls() -> dict[str, Callable[[], object]]:
    """Every op on a problem too small to cost anything, all inputs requiring grad."""
    pattern = ops.SparseMatrix.from_dense(torch.rand(8, 4))
    distribution = pattern.with_values(pattern.val.requires_grad_())
    blendshapes = torch.rand(3, 8, 3, requires_grad=True)
    vector = torch.rand(2, 4, 3, requires_grad=True)
    fibre = torch.rand(2, 4, requires_grad=True)
    directions = torch.rand(distribution.nnz, 3, requires_grad=True)
    masses = torch.rand(8, requires_grad=True)
    mass = torch.eye(3, requires_grad=True)
    force = torch.rand(1, 2, 3, requires_grad=True)
    c0, v0 = torch.rand(1, 3, requires_grad=True), torch.rand(1, 3, requires_grad=True)
    return {
        "(empty autograd Function)": lambda: Empty.apply(vector),
        "distribute_forces": lambda: ops.distribute_forces(distribution, vector),
        "reduced_projection": lambda: ops.reduced_projection(blendshapes, distribution),
        "force_projection, vector": lambda: ops.force_projection(blendshapes, distribution, vector),
        "force_projection, fibre": lambda: ops.force_projection(blendshapes, distribution, fibre, directions),
        "generalized_mass": lambda: ops.generalized_mass(blendshapes, masses),
        "euler_rollout, explicit": lambda: ops.euler_rollout(mass, force, c0, v0),
        "euler_rollout, implicit, D, K": lambda: ops.euler_rollout(mass, force, c0, v0, 0.1, mass, mass, "implicit"),
    }


def measure(functions: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Microseconds per call of each function, one figure a round."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for round_ in range(ROUNDS + 3):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                function()
            if round_ >= 3:  # warm
                times[name].append((time.perf_counter() - start) / CALLS * 1e6)
    return times


def table() -> str:
    """Markdown: machine, versions, command, date, and a row per op."""
    times = measure(calls())
    base = median(next(iter(times.values())))
    lines = [
        f"Command: `python benchmarks/call_overhead.py`, {time.strftime('%Y-%m-%d')}",
        "",
        f"Machine: {processor()}, {torch.get_num_threads()} threads. Python {platform.python_version()}, "
        f"torch {torch.__version__}, biomechau {biomechau.__version__} ({ops.backends()['instruction_set']}).",
        "",
        f"Forward calls on a tiny problem, all inputs requiring grad; medians of {ROUNDS} interleaved rounds of "
        f"{CALLS} calls.",
        "",
        "| op | microseconds per call | quartiles | above the empty Function |",
        "|---|---|---|---|",
    ]
    for name, values in times.items():
        low, high = sorted(values)[ROUNDS // 4], sorted(values)[3 * ROUNDS // 4]
        lines.append(f"| {name} | {median(values):.1f} | {low:.1f} to {high:.1f} | {median(values) - base:.1f} |")
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
