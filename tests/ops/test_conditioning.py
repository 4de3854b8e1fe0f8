"""Rollouts with nearly equal shapes lose no more digits than their plain-torch twins do."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ops.cases import ISAS, ROLLOUTS, spd
from ops.conditioning import (
    SEEDS,
    Inputs,
    assert_as_good_as_the_twin,
    correlated_shapes,
    in_single_precision,
    motion,
)
from torch import Tensor

from biomechau import _core, ops
from biomechau.ops import _backend, reference

CONDITIONS = [pytest.param(1e2, marks=pytest.mark.slow), 1e4, 1e6]


@pytest.fixture(params=[*ISAS, pytest.param("emulated", marks=pytest.mark.slow)])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every set of kernels that runs here: each instruction set of the CPU, and CUDA's under the emulation."""
    if request.param == "emulated":
        request.getfixturevalue("emulation")
        monkeypatch.setattr(_backend, "_checks", "1")
        yield request.param
        return
    before = _core.isa()
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)


def mass_of(shapes: Tensor) -> Tensor:
    return in_single_precision(shapes @ shapes.mT)


def correlated_mass(num_shapes: int, first: int, count: int, condition: float, seed: int) -> Tensor:
    return mass_of(correlated_shapes(num_shapes, first, count, condition, seed))


def mass_with_spectrum(num_shapes: int, condition: float, seed: int) -> Tensor:
    """Eigenvalues from 1 to 1 / condition, evenly in their logarithms, in directions by chance."""
    gen = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(num_shapes, num_shapes, generator=gen, dtype=torch.float64))[0]
    values = torch.logspace(0, -math.log10(condition), num_shapes, dtype=torch.float64)
    mass = (directions * values) @ directions.mT
    return in_single_precision((mass + mass.mT) / 2)


def rollouts(masses: list[Tensor], **sizes: Any) -> list[Inputs]:
    return [{"mass": mass, **motion(len(mass), seed=seed, **sizes)} for seed, mass in enumerate(masses)]


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("first", range(5))
@pytest.mark.parametrize("count", [5, 8])
def test_correlated_shapes_anywhere(first: int, count: int, condition: float, kernels: str) -> None:
    """Whichever of them are factored together."""
    masses = [correlated_mass(17, first, count, condition, seed) for seed in range(SEEDS)]
    assert_as_good_as_the_twin(rollouts(masses), ops.euler_rollout, dt=0.04)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("num_shapes", [4, 5, 9, 16, 33, 64])
def test_any_number_of_shapes(num_shapes: int, condition: float, kernels: str) -> None:
    first, count = num_shapes // 3, min(8, num_shapes - num_shapes // 3)
    masses = [correlated_mass(num_shapes, first, count, condition, seed) for seed in range(SEEDS)]
    assert_as_good_as_the_twin(rollouts(masses), ops.euler_rollout, dt=0.04)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("num_shapes", [8, 52])
def test_masses_of_any_spectrum(num_shapes: int, condition: float, kernels: str) -> None:
    masses = [mass_with_spectrum(num_shapes, condition, seed) for seed in range(SEEDS)]
    assert_as_good_as_the_twin(rollouts(masses), ops.euler_rollout, dt=0.04)


@pytest.mark.parametrize("condition", [pytest.param(1e3, marks=pytest.mark.slow), 1e5])
@pytest.mark.parametrize(("scheme", "mass_axes", "elastic_axes"), ROLLOUTS)
def test_every_scheme(scheme: str, mass_axes: str, elastic_axes: str | None, condition: float, kernels: str) -> None:
    """Damping and stiffness of their own, none near the mass."""
    num_shapes, num_frames = 13, 6
    counts = {"shared": (), "sequence": (2,), "frame": (2, num_frames)}
    problems = []
    for seed in range(SEEDS):
        axes = counts[mass_axes]
        masses = [correlated_mass(num_shapes, 2, 6, condition, 100 * seed + i) for i in range(math.prod(axes))]
        inputs = {"mass": torch.stack(masses).reshape(*axes, num_shapes, num_shapes)}
        inputs |= motion(num_shapes, num_frames=num_frames, seed=seed)
        if elastic_axes:
            sizes = (*counts[elastic_axes], num_shapes)
            inputs["damping"] = in_single_precision(spd(*sizes, seed=seed, scale=1e-3 / condition))
            inputs["stiffness"] = in_single_precision(spd(*sizes, seed=seed + 50, scale=1e-1 / condition))
        problems.append(inputs)
    assert_as_good_as_the_twin(problems, ops.euler_rollout, dt=0.04, scheme=scheme)


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e5])  # at 1e6 the gradients have no digit left on either side
@pytest.mark.parametrize("scheme", ops.SCHEMES)
def test_damping_and_stiffness_in_proportion(scheme: str, condition: float, kernels: str) -> None:
    """As Rayleigh's: what is solved with and what pulls are as ill-conditioned as the mass."""
    problems = []
    for seed in range(SEEDS):
        mass = correlated_mass(24, 2, 8, condition, seed)
        elastic = {"damping": in_single_precision(0.5 * mass), "stiffness": in_single_precision(300 * mass)}
        problems.append({"mass": mass, **elastic, **motion(24, seed=seed)})
    assert_as_good_as_the_twin(problems, ops.euler_rollout, dt=0.04, scheme=scheme)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("num_shapes", [8, 52])
def test_forces_of_smooth_accelerations(num_shapes: int, scheme: str, condition: float, kernels: str) -> None:
    """Q = M a: the solution is small against what M^-1 makes of a force by chance."""
    problems = []
    for seed in range(SEEDS):
        inputs = {"mass": correlated_mass(num_shapes, 2, 6, condition, seed), **motion(num_shapes, seed=seed)}
        inputs["force"] = in_single_precision(inputs["force"] @ inputs["mass"])
        problems.append(inputs)
    assert_as_good_as_the_twin(problems, ops.euler_rollout, dt=0.04, scheme=scheme)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("scheme", ops.SCHEMES)
def test_from_blendshapes_to_motion(scheme: str, condition: float, kernels: str) -> None:
    """The mass of the shapes and their force, made in single precision too."""

    def chain(module: Any, blendshapes: Tensor, mass: Tensor, vertex_force: Tensor, c0: Tensor, v0: Tensor) -> Any:
        matrix = module.generalized_mass(blendshapes, mass)
        force = vertex_force @ blendshapes.flatten(1).mT
        return module.euler_rollout(matrix, force, c0, v0, 0.04, scheme=scheme)

    problems = []
    for seed in range(SEEDS):
        shapes = correlated_shapes(13, 2, 6, condition, seed)
        inputs = motion(13, seed=seed)
        gen = torch.Generator().manual_seed(seed)
        inputs["vertex_force"] = torch.randn(*inputs.pop("force").shape[:-1], 600, generator=gen, dtype=torch.float64)
        inputs |= {"blendshapes": shapes.reshape(13, 200, 3), "mass": 0.5 + torch.rand(200, generator=gen)}
        problems.append({name: in_single_precision(value) for name, value in inputs.items()})
    assert_as_good_as_the_twin(problems, functools.partial(chain, ops), functools.partial(chain, reference))


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("elastic", [False, True])
@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("num_shapes", [5, 24])
def test_modal_rollouts(num_shapes: int, scheme: str, elastic: bool, condition: float, kernels: str) -> None:
    def rollout(system_of: Any, module: Any, mass: Tensor, **leaves: Tensor) -> Any:
        return module.modal_rollout(system_of(mass), **leaves)

    def system_of(mass: Tensor) -> ops.ModalSystem:
        matrix = mass.detach()
        pulls = {"damping": 0.5 * matrix, "stiffness": 300 * matrix} if elastic else {}
        return ops.ModalSystem(matrix, 0.04, **pulls, scheme=scheme)

    masses = [correlated_mass(num_shapes, 2, 6, condition, seed) for seed in range(SEEDS)]
    assert_as_good_as_the_twin(
        rollouts(masses),
        functools.partial(rollout, system_of, ops),
        functools.partial(rollout, system_of, reference),
        wanted=["force", "c0", "v0"],
    )


# -- definiteness ------------------------------------------------------------------------------------------------------


def takes(module: Any, mass: Tensor, scheme: str = "explicit") -> bool:
    empty = mass.new_zeros(0, len(mass))
    elastic = {"stiffness": 0 * mass} if scheme == "implicit" else {}
    try:
        module.euler_rollout(
            mass, empty, empty.new_zeros(len(mass)), empty.new_zeros(len(mass)), scheme=scheme, **elastic
        )
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("scheme", ["explicit", "implicit"])
@pytest.mark.parametrize("num_shapes", [4, 8, 13, 33, 64])
def test_what_the_twin_takes_is_taken(num_shapes: int, scheme: str, kernels: str) -> None:
    """At conditions where the twin takes some and refuses others."""
    taken = 0
    for seed in range(30):
        condition = 10 ** (5 + seed % 6 / 2)
        for mass in (
            correlated_mass(num_shapes, num_shapes // 3, min(8, num_shapes - num_shapes // 3), condition, seed),
            mass_with_spectrum(num_shapes, condition, seed),
        ):
            if takes(reference, mass.float(), scheme):
                taken += 1
                assert takes(ops, mass.float(), scheme), (condition, seed)
    assert 0 < taken < 60


@pytest.mark.parametrize("scheme", ["explicit", "implicit"])
@pytest.mark.parametrize("num_shapes", [4, 8, 13, 33, 64])
def test_indefinite_masses_are_refused(num_shapes: int, scheme: str, kernels: str) -> None:
    """By as little as single precision shows: the smallest eigenvalue is a few roundings of the largest below zero."""
    for seed in range(10):
        mass = correlated_mass(num_shapes, num_shapes // 3, min(8, num_shapes - num_shapes // 3), 1e4, seed)
        values = torch.linalg.eigvalsh(mass)
        shift = values[0] + 4 * torch.finfo(torch.float32).eps * values[-1]
        mass = in_single_precision(mass - shift * torch.eye(num_shapes, dtype=torch.float64))
        assert torch.linalg.eigvalsh(mass)[0] < 0
        assert not takes(ops, mass.float(), scheme)
