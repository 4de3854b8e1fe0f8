"""Convolutions on a small mesh, for the tests of the op on the CPU and on GPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from biomechau.models import scaled_laplacian
from biomechau.ops import SparseMatrix


def mesh_laplacian(num_vertices: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> SparseMatrix:
    """-D^-1/2 A D^-1/2 of a strip of triangles, its vertices shuffled, the last one without edges."""
    joined = torch.arange(num_vertices - 1)
    width = max(2, round(num_vertices**0.5))
    pairs = [torch.stack([joined[:-step], joined[step:]], 1) for step in (1, width, width + 1)]
    edges = torch.cat([pair for pair in pairs if pair.numel()]) if num_vertices > 2 else joined.new_zeros(0, 2)
    edges = torch.randperm(num_vertices, generator=torch.Generator().manual_seed(seed))[edges]
    return scaled_laplacian(edges, num_vertices).to(dtype)


def convolution_problem(
    *,
    batch: tuple[int, ...] = (2, 3),
    num_vertices: int = 40,
    channels: tuple[int, int] = (2, 3),
    num_terms: int = 4,
    every: int | None = None,
    bias: bool = True,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> dict[str, Any]:
    """Arguments of ``chebyshev_conv``; with ``every``, results at one of so many vertices, chosen by chance."""
    gen = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype)

    vertices = None
    if every is not None:
        chosen = torch.randperm(num_vertices, generator=gen)[: len(range(every // 2, num_vertices, every))]
        vertices = chosen.sort().values
    return {
        "x": randn(*batch, num_vertices, channels[0]),
        "laplacian": mesh_laplacian(num_vertices, dtype),
        "weight": randn(num_terms, *channels),
        "bias": randn(channels[1]) if bias else None,
        "vertices": vertices,
    }


def split_convolution(problem: dict[str, Any], function: Callable[..., Tensor]) -> tuple[Callable[..., Tensor], dict]:
    """The op as a function of its differentiable tensors, and those."""
    inputs = {name: problem[name] for name in ("x", "weight", "bias")}
    return lambda **tensors: function(**{**problem, **tensors}), inputs
