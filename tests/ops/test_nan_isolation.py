"""A NaN in one sequence of a batch stays there: every other one has the bits that it has without it.

That holds for the outputs and for the gradients of all that a sequence has of its own. Gradients of what the batch
shares (P, B, the weights of a convolution, a shared matrix) are sums over the sequences, and NaN where one of these is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from ops.cases import (
    DTYPES,
    FORCES,
    ROLLOUTS,
    acting,
    force_problem,
    local_blendshapes,
    modal_problem,
    rollout_problem,
)
from ops.convolutions import convolution_problem
from ops.cuda import Gpu
from torch import Tensor

from biomechau import ops


class Here(Gpu):
    """The CPU."""

    name = "cpu"

    def to(self, value: Any) -> Any:
        return value


@pytest.fixture(
    params=["cpu", pytest.param("emulated", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.cuda)]
)
def place(request: pytest.FixtureRequest) -> Gpu:
    if request.param == "cpu":
        return Here()
    return request.getfixturevalue({"emulated": "emulation", "cuda": "real_gpu"}[request.param])


class Case(NamedTuple):
    """A function of tensors; those a sequence has of its own, of which some may hold NaN; those that all share."""

    function: Callable[..., Any]
    own: dict[str, Tensor]
    shared: dict[str, Tensor]
    may_be_nan: tuple[str, ...]


def projection(place: Gpu, num: int, dtype: torch.dtype, name: str, fibre: bool, kind: str = "tensor") -> Case:
    p = force_problem(batch=(num,), num_vertices=150, num_shapes=9, num_muscles=6, fibre=fibre, dtype=dtype)
    blendshapes = local_blendshapes(150, 9, dtype)
    packed = ops.PackedBlendshapes(blendshapes) if kind.startswith("packed") else None
    p, blendshapes = place.to(p), place.to(blendshapes)
    directions = p.directions

    def call(force: Tensor, val: Tensor | None = None, blendshapes: Tensor | None = None) -> Tensor:
        distribution = p.distribution if val is None else p.distribution.with_values(val)
        if name == "distribute_forces":
            return ops.distribute_forces(distribution, force, directions)
        basis = packed if blendshapes is None else blendshapes
        assert basis is not None
        return ops.force_projection(basis, distribution, force, directions)

    shared = {} if kind == "packed, kept" else {"val": p.distribution.val}
    if name == "force_projection" and packed is None:
        shared["blendshapes"] = blendshapes
    return Case(call, {"force": p.force}, shared, ("force",))


def mass(place: Gpu, num: int, dtype: torch.dtype, packed: bool = False) -> Case:
    blendshapes = local_blendshapes(150, 9, dtype)
    masses = place.to(0.5 + torch.rand(num, 150, generator=torch.Generator().manual_seed(0)).to(dtype))
    refused = place.name == "cpu"  # where the values can be read at once
    if packed:
        return Case(partial(ops.generalized_mass, ops.PackedBlendshapes(blendshapes)), {"mass": masses}, {}, ())
    shared = {"blendshapes": place.to(blendshapes)}
    return Case(ops.generalized_mass, {"mass": masses}, shared, () if refused else ("mass",))


def euler(
    place: Gpu, num: int, dtype: torch.dtype, scheme: str, mass_axes: str, elastic_axes: str | None, num_frames: int = 5
) -> Case:
    problem = rollout_problem(
        batch=(num,),
        num_frames=num_frames,
        num_shapes=9,
        mass_axes=mass_axes,
        elastic_axes=elastic_axes,
        dtype=dtype,
    )
    tensors = place.to({name: value for name, value in problem.items() if name != "dt"})
    own = {name: tensor for name, tensor in tensors.items() if tensor.ndim > 2 or name in ("c0", "v0")}
    shared = {name: tensor for name, tensor in tensors.items() if name not in own}
    function = partial(ops.euler_rollout, dt=0.1, scheme=scheme)
    matrices = () if place.name == "cpu" else tuple({"mass", "damping", "stiffness"} & set(own))
    return Case(function, own, shared, ("force", "c0", "v0", *matrices))


def modal(place: Gpu, num: int, dtype: torch.dtype, elastic: bool, forces: tuple[str, ...]) -> Case:
    system, inputs = modal_problem(batch=(num,), num_frames=40, num_shapes=9, elastic=elastic, dt=0.02, dtype=dtype)
    system = place.to(system)
    own = place.to({name: value for name, value in acting(inputs, forces).items() if value is not None})
    return Case(lambda **x: ops.modal_rollout(system, **{"force": None, **x}), own, {}, tuple(own))


def convolution(place: Gpu, num: int, dtype: torch.dtype, every: int | None, channels: tuple[int, int]) -> Case:
    problem = place.to(
        convolution_problem(batch=(num,), num_vertices=90, channels=channels, every=every, num_terms=3, dtype=dtype)
    )
    function = partial(ops.chebyshev_conv, laplacian=problem["laplacian"], vertices=problem["vertices"])
    return Case(function, {"x": problem["x"]}, {"weight": problem["weight"], "bias": problem["bias"]}, ("x",))


CASES: dict[str, Callable[[Gpu, int, torch.dtype], Case]] = {
    **{
        f"{name}{', fibre' if fibre else ''}": partial(projection, name=name, fibre=fibre)
        for name in ("distribute_forces", "force_projection")
        for fibre in (False, True)
    },
    **{
        f"force_projection, {kind}": partial(projection, name="force_projection", fibre=True, kind=kind)
        for kind in ("packed", "packed, kept")
    },
    "generalized_mass": mass,
    "generalized_mass, packed": partial(mass, packed=True),
    **{
        f"euler_rollout, {scheme}, {mass_axes}, {elastic_axes}": partial(
            euler, scheme=scheme, mass_axes=mass_axes, elastic_axes=elastic_axes
        )
        for scheme, mass_axes, elastic_axes in ROLLOUTS
    },
    **{
        f"modal_rollout, {elastic}, {' and '.join(forces)}": partial(modal, elastic=elastic, forces=forces)
        for elastic in (False, True)
        for forces in FORCES
    },
    **{
        f"chebyshev_conv, {every}, {channels}": partial(convolution, every=every, channels=channels)
        for every in (None, 3)
        for channels in ((2, 5), (5, 2))
    },
}


def _own_results(case: Case, own: dict[str, Tensor], weights: list[Tensor] | None = None) -> dict[str, Tensor]:
    """The outputs of each sequence, and the gradients of what is its own; those of what is shared are not looked at."""
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in {**own, **case.shared}.items()}
    outputs = case.function(**leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    weights = [_weights(out) for out in outputs] if weights is None else weights
    gradients = torch.autograd.grad(outputs, list(leaves.values()), weights)
    found = {f"output {number}": out.detach() for number, out in enumerate(outputs)}
    return found | {f"gradient of {name}": x for name, x in zip(leaves, gradients, strict=True) if name in own}


def _weights(out: Tensor) -> Tensor:
    return torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape).to(out.device)


def _spoiled(tensor: Tensor, sequence: int) -> Tensor:
    """With one NaN in the sequence."""
    tensor = tensor.clone()
    tensor[sequence].view(-1)[0] = torch.nan
    return tensor


@pytest.mark.parametrize("num", [3, pytest.param(37, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_a_nan_stays_in_its_sequence(place: Gpu, name: str, dtype: torch.dtype, num: int) -> None:
    if "packed" in name and place.name != "cpu":
        pytest.skip("other devices read the tensor")
    case = CASES[name](place, num, dtype)
    clean = _own_results(case, case.own)
    assert all(bool(result.isfinite().all()) for result in clean.values())

    def compare(found: dict[str, Tensor], sequence: int, where: str) -> None:
        others = [other for other in range(num) if other != sequence]
        for what, result in found.items():
            assert torch.equal(result[others], clean[what][others]), f"{what} of others, NaN in {where} of {sequence}"

    for sequence in (0, num // 2, num - 1):
        for spoiled in case.may_be_nan:
            found = _own_results(case, {**case.own, spoiled: _spoiled(case.own[spoiled], sequence)})
            assert found["output 0"][sequence].isnan().any(), f"the NaN in {spoiled} is lost"
            compare(found, sequence, spoiled)
        outputs = [value for key, value in clean.items() if key.startswith("output")]
        weights = [_spoiled(_weights(out), sequence) for out in outputs]
        found = _own_results(case, case.own, weights)
        own = [value for key, value in found.items() if key.startswith("gradient")]
        assert any(bool(value[sequence].isnan().any()) for value in own), "the NaN in the output's gradient is lost"
        compare(found, sequence, "the output's gradient")
