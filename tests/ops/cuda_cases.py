"""Every op once, for the tests of how CUDA kernels are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ops.cases import (
    FORCE_OPS,
    FORCES,
    ROLLOUTS,
    acting,
    force_functions,
    force_inputs,
    force_problem,
    modal_problem,
    rollout_problem,
)
from ops.convolutions import convolution_problem
from ops.cuda import Gpu
from torch import Tensor

from biomechau import ops

Case = tuple[Callable[..., Any], dict[str, Tensor | None]]


def cases(gpu: Gpu, dtype: torch.dtype = torch.float32) -> dict[str, Case]:
    """Every op on a small problem that still takes several blocks, warps and pieces: a function and its inputs."""
    found: dict[str, Case] = {}
    for fibre in (False, True):
        problem = gpu.to(
            force_problem(num_vertices=140, num_shapes=37, num_muscles=5, batch=(70,), fibre=fibre, dtype=dtype)
        )
        for name in FORCE_OPS:
            found[f"{name}, {'fibre' if fibre else 'vector'}"] = (
                force_functions(name, problem, ops),
                force_inputs(name, problem),
            )
    for num_sequences in (1, 10, 20):
        gen = torch.Generator().manual_seed(1)
        found[f"generalized_mass, {num_sequences}"] = (
            ops.generalized_mass,
            gpu.to(
                {
                    "blendshapes": force_problem(num_vertices=150, num_shapes=35, dtype=dtype).blendshapes,
                    "mass": torch.rand(num_sequences, 150, generator=gen).to(dtype),
                }
            ),
        )
    for every in (None, 2):
        convolution = gpu.to(convolution_problem(num_vertices=90, num_terms=4, every=every, dtype=dtype))
        found[f"chebyshev_conv, {every}"] = (
            lambda convolution=convolution, **tensors: ops.chebyshev_conv(**{**convolution, **tensors}),
            {name: convolution[name] for name in ("x", "weight", "bias")},
        )
    for elastic in (False, True):
        system, inputs = modal_problem(num_frames=40, num_shapes=19, elastic=elastic, dt=0.02, dtype=dtype)
        there = gpu.to(system)
        found[f"modal_rollout, {elastic}"] = (
            lambda system=there, **tensors: ops.modal_rollout(system, **tensors),
            gpu.to(acting(inputs, FORCES[0])),
        )
    for scheme, mass_axes, elastic_axes in ROLLOUTS:
        system = rollout_problem(
            batch=(2,), num_frames=3, num_shapes=19, mass_axes=mass_axes, elastic_axes=elastic_axes, dtype=dtype
        )
        del system["dt"]
        found[f"euler_rollout, {scheme}, {mass_axes}, {elastic_axes}"] = (
            lambda scheme=scheme, **tensors: ops.euler_rollout(**tensors, dt=0.1, scheme=scheme),
            gpu.to(system),
        )
    return found


def assert_same_bits(first: list[Tensor], second: list[Tensor], name: str) -> None:
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other), name
