"""Inputs of the op tests: small random problems and problems of real size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from biomechau import _core
from biomechau.ops import SCHEMES, ModalSystem, SparseMatrix

# The one table of tolerances: largest error over the largest entry of the reference.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}

DTYPES = [torch.float32, torch.float64]

# The instruction sets of this processor, the newest last: the others are for the slow tests.
*_OLDER, _NEWEST = _core.supported_isas()
ISAS = [*(pytest.param(isa, marks=pytest.mark.slow) for isa in _OLDER), _NEWEST]


class ForceProblem(NamedTuple):
    blendshapes: Tensor
    distribution: SparseMatrix
    force: Tensor
    directions: Tensor | None


def force_problem(
    *,
    batch: tuple[int, ...] = (2, 3),
    num_vertices: int = 40,
    num_shapes: int = 5,
    num_muscles: int = 4,
    density: float = 0.3,
    fibre: bool = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> ForceProblem:
    """A sparse P with some empty rows and one empty column, B with zeros, F and, for fibres, directions."""
    gen = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype)

    dense = torch.rand(num_vertices, num_muscles, generator=gen, dtype=torch.float64).to(dtype)
    dense[torch.rand(num_vertices, num_muscles, generator=gen) > density] = 0
    if num_muscles > 1:
        dense[:, -1] = 0
    distribution = SparseMatrix.from_dense(dense)
    blendshapes = randn(num_shapes, num_vertices, 3)
    blendshapes[torch.rand(num_shapes, num_vertices, generator=gen) > 0.5] = 0
    force = randn(*batch, num_muscles) if fibre else randn(*batch, num_muscles, 3)
    directions = randn(distribution.nnz, 3) if fibre else None
    return ForceProblem(blendshapes, distribution, force, directions)


FORCE_OPS = ["distribute_forces", "reduced_projection", "force_projection"]


def force_functions(name: str, problem: Any, module: Any) -> Callable[..., Tensor]:
    """The op as a function of its differentiable tensors."""
    function = getattr(module, name)

    def call(**tensors: Tensor | None) -> Tensor:
        distribution = problem.distribution.with_values(tensors["val"])
        if name == "distribute_forces":
            return function(distribution, tensors["force"], tensors["directions"])
        if name == "reduced_projection":
            return function(tensors["blendshapes"], distribution, tensors["directions"])
        return function(tensors["blendshapes"], distribution, tensors["force"], tensors["directions"])

    return call


def force_inputs(name: str, problem: Any) -> dict[str, Tensor | None]:
    inputs = {
        "val": problem.distribution.val,
        "directions": problem.directions,
        "force": problem.force,
        "blendshapes": problem.blendshapes,
    }
    inputs.pop({"distribute_forces": "blendshapes", "reduced_projection": "force"}.get(name), None)
    return inputs


def spd(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Well-conditioned symmetric positive definite matrices (..., K, K)."""
    gen = torch.Generator().manual_seed(seed)
    root = torch.randn(*shape, shape[-1], generator=gen, dtype=torch.float64) / shape[-1] ** 0.5
    return (scale * (root @ root.mT + torch.eye(shape[-1], dtype=torch.float64))).to(dtype)


def rollout_problem(
    *,
    batch: tuple[int, ...] = (2,),
    num_frames: int = 4,
    num_shapes: int = 3,
    mass_axes: str = "shared",
    elastic_axes: str | None = "shared",
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> dict[str, Any]:
    """Arguments of ``euler_rollout``; ``*_axes`` is "shared", "sequence", "frame" (mass only) or None (no D, K)."""
    gen = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype)

    axes = {"shared": (), "sequence": batch, "frame": (*batch, num_frames)}
    problem: dict[str, Any] = {
        "mass": spd(*axes[mass_axes], num_shapes, dtype=dtype, seed=seed),
        "force": randn(*batch, num_frames, num_shapes),
        "c0": randn(*batch, num_shapes),
        "v0": randn(*batch, num_shapes),
        "dt": 0.1,
    }
    if elastic_axes is not None:
        problem["damping"] = spd(*axes[elastic_axes], num_shapes, dtype=dtype, seed=seed + 1, scale=0.7)
        problem["stiffness"] = spd(*axes[elastic_axes], num_shapes, dtype=dtype, seed=seed + 2, scale=1.3)
    return problem


# Every combination of scheme and matrix axes that the rollout takes.
ROLLOUTS = [
    (scheme, mass_axes, elastic_axes)
    for scheme in SCHEMES
    for mass_axes in ("shared", "sequence", "frame")
    for elastic_axes in (None, "shared", "sequence")
    if not (scheme == "implicit" and mass_axes == "frame")
]


def modal_problem(
    *,
    batch: tuple[int, ...] = (2,),
    num_frames: int = 4,
    num_shapes: int = 3,
    num_muscles: int = 2,
    vector: bool = False,
    scheme: str = "implicit",
    elastic: bool = True,
    dt: float = 0.1,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> tuple[ModalSystem, dict[str, Tensor]]:
    """A system with Rayleigh damping and a projection, or one with a mass alone, and what acts on it."""
    gen = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype)

    axes = (num_muscles, 3) if vector else (num_muscles,)
    mass, stiffness = spd(num_shapes, seed=seed), spd(num_shapes, seed=seed + 2, scale=1.3)
    matrices = {"damping": 0.4 * mass + 0.3 * stiffness, "stiffness": stiffness} if elastic else {}
    system = ModalSystem(
        mass.to(dtype),
        dt,
        **{name: matrix.to(dtype) for name, matrix in matrices.items()},
        scheme=scheme,
        projection=randn(num_shapes, *axes),
    )
    inputs = {
        "force": randn(*batch, num_frames, num_shapes),
        "c0": randn(*batch, num_shapes),
        "v0": randn(*batch, num_shapes),
        "muscle_force": randn(*batch, num_frames, *axes),
    }
    return system, inputs


# The forces that may act: Q, F or both.
FORCES = [("force", "muscle_force"), ("force",), ("muscle_force",)]


def acting(inputs: dict[str, Tensor], forces: tuple[str, ...]) -> dict[str, Tensor | None]:
    """The inputs with the other forces left out."""
    return {name: value if name in ("c0", "v0", *forces) else None for name, value in inputs.items()}


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Equal up to TOLERANCE, measured against the largest entry."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    if expected.numel():
        error = (actual.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-300)
        assert error <= TOLERANCE[expected.dtype], f"relative error {error:.2e}"


def results_of(
    function: Callable[..., Any], inputs: dict[str, Tensor | None], wanted: list[str] | None = None, seed: int = 0
) -> list[Tensor]:
    """Outputs of a function and the gradients of its inputs, or of those wanted, for output gradients by chance."""
    leaves = {name: None if value is None else value.detach().clone() for name, value in inputs.items()}
    chosen = [leaf for name, leaf in leaves.items() if leaf is not None and (wanted is None or name in wanted)]
    for leaf in chosen:
        leaf.requires_grad_()
    outputs = function(**leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    gen = torch.Generator().manual_seed(seed)
    weights = [torch.randn(out.shape, generator=gen, dtype=torch.float64).to(out) for out in outputs]
    return [*outputs, *torch.autograd.grad(outputs, chosen, weights, materialize_grads=True)]


def compare(op: Callable[..., Any], twin: Callable[..., Any], inputs: dict[str, Tensor | None]) -> None:
    """Runs both on copies of the same inputs and compares the outputs and every gradient."""
    for actual, expected in zip(results_of(op, inputs), results_of(twin, inputs), strict=True):
        assert_close(actual, expected)


def local_blendshapes(num_vertices: int = 700, num_shapes: int = 9, dtype: torch.dtype = torch.float64) -> Tensor:
    """Shapes that move a stretch of a shuffled line each, and a tenth of the vertices that none moves."""
    gen = torch.Generator().manual_seed(3)
    place = torch.randperm(num_vertices, generator=gen) / num_vertices
    centre, reach = torch.rand(2, num_shapes, 1, generator=gen)
    moves = ((place - centre).abs() < 0.3 * reach + 0.02) & (place < 0.9)
    return (moves[..., None] * torch.randn(num_shapes, num_vertices, 3, generator=gen)).to(dtype)
