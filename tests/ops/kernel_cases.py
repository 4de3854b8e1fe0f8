"""A call of every kernel, forward and backward: to break in every way, and still get right results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ops.cases import FORCES, ROLLOUTS, acting, force_problem, local_blendshapes, modal_problem, rollout_problem
from ops.convolutions import convolution_problem
from torch import Tensor

from biomechau import ops

Case = tuple[Callable[..., Any], dict[str, Tensor | None]]


def kernel_cases(dtype: torch.dtype, large: bool = False) -> dict[str, Case]:
    """A function of its differentiable inputs, and those; ``large``: so that several threads share the work."""
    found: dict[str, Case] = {}
    size, num_shapes = (40, 21) if large else (1, 9)
    for fibre in (False, True):
        p = force_problem(num_vertices=60 * size, num_shapes=num_shapes, batch=(2, 4 * size), fibre=fibre, dtype=dtype)
        packed = ops.PackedBlendshapes(local_blendshapes(60 * size, num_shapes, dtype))
        forces = {"val": p.distribution.val, "directions": p.directions, "force": p.force}
        name = "fibre" if fibre else "vector"
        found[f"distribute_forces, {name}"] = (partial(_distribute, p), forces)
        found[f"force_projection, {name}"] = (partial(_project, p), {**forces, "blendshapes": p.blendshapes})
        found[f"force_projection, packed, {name}"] = (partial(_project, p, blendshapes=packed), forces)
    for num_sequences in (1, 3, 13):
        mass = torch.rand(num_sequences, 60 * size, dtype=dtype)
        found[f"generalized_mass, {num_sequences}"] = (
            ops.generalized_mass,
            {"blendshapes": p.blendshapes, "mass": mass},
        )
        found[f"generalized_mass, packed, {num_sequences}"] = (partial(ops.generalized_mass, packed), {"mass": mass})
    for scheme, mass_axes, elastic_axes in ROLLOUTS:
        system = rollout_problem(
            batch=(size,),
            num_frames=100 if large else 5,
            num_shapes=num_shapes,
            mass_axes=mass_axes,
            elastic_axes=elastic_axes,
            dtype=dtype,
        )
        del system["dt"]
        found[f"euler_rollout, {scheme}, {mass_axes}, {elastic_axes}"] = (
            partial(ops.euler_rollout, dt=0.1, scheme=scheme),
            system,
        )
    for elastic in (False, True):
        for num_sequences in (2, 2 * size):
            system, inputs = modal_problem(
                batch=(num_sequences,),
                num_frames=100 if large else 10,
                num_shapes=num_shapes,
                elastic=elastic,
                dt=0.01,
                dtype=dtype,
            )
            found[f"modal_rollout, {elastic}, {num_sequences}"] = (
                partial(ops.modal_rollout, system),
                acting(inputs, FORCES[0]),
            )
    for every in (None, 3):
        for channels in ((2, 5), (5, 2)):
            c = convolution_problem(
                batch=(2 * size,), num_vertices=50, channels=channels, num_terms=3, every=every, dtype=dtype
            )
            found[f"chebyshev_conv, {every}, {channels}"] = (
                partial(_convolve, c["laplacian"], c["vertices"]),
                {name: c[name] for name in ("x", "weight", "bias")},
            )
    return found


def _distribute(p: Any, val: Tensor, directions: Tensor | None, force: Tensor) -> Tensor:
    return ops.distribute_forces(p.distribution.with_values(val), force, directions)


def _project(p: Any, val: Tensor, directions: Tensor | None, force: Tensor, blendshapes: Any) -> Tensor:
    return ops.force_projection(blendshapes, p.distribution.with_values(val), force, directions)


def _convolve(laplacian: Any, vertices: Tensor | None, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return ops.chebyshev_conv(x, laplacian, weight, bias, vertices)
