"""Finite differences against the hand-written backward passes, in float64, for every differentiable argument."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ops.cases import FORCE_OPS, ROLLOUTS, force_functions, force_inputs, force_problem, modal_problem, rollout_problem
from torch import Tensor

from biomechau import _core, ops
from biomechau.ops._packed_arguments import UNPACKED, UNSORTED
from biomechau.ops._sparse import DistributionIndex


def check(function, inputs: dict[str, Tensor | None], wanted: str) -> None:
    """gradcheck with respect to one argument, the others constant."""
    inputs = {name: None if value is None else value.detach().clone() for name, value in inputs.items()}
    leaf = inputs[wanted]
    assert leaf is not None
    leaf.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: function(**{**inputs, wanted: x}), (leaf,))


FORCE_ARGUMENTS = [
    (name, fibre, wanted)
    for name in FORCE_OPS
    for fibre in (False, True)
    for wanted, value in force_inputs(name, force_problem(fibre=fibre)).items()
    if value is not None
]


@pytest.mark.parametrize(("name", "fibre", "wanted"), FORCE_ARGUMENTS)
def test_force_ops(name: str, fibre: bool, wanted: str) -> None:
    problem = force_problem(fibre=fibre, num_vertices=12)
    check(force_functions(name, problem, ops), force_inputs(name, problem), wanted)


@pytest.mark.parametrize("wanted", ["blendshapes", "mass"])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_generalized_mass(wanted: str, batch: tuple[int, ...]) -> None:
    blendshapes = force_problem(num_vertices=35, num_shapes=4).blendshapes
    mass = 0.5 + torch.rand(*batch, 35, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    check(lambda **kw: ops.generalized_mass(**kw, scale=0.5), {"blendshapes": blendshapes, "mass": mass}, wanted)


ROLLOUT_ARGUMENTS = [
    (*case, wanted)
    for case in ROLLOUTS
    for wanted in ("mass", "force", "c0", "v0", *(("damping", "stiffness") if case[2] else ()))
]


@pytest.mark.parametrize(("scheme", "mass_axes", "elastic_axes", "wanted"), ROLLOUT_ARGUMENTS)
def test_euler_rollout(scheme: str, mass_axes: str, elastic_axes: str | None, wanted: str) -> None:
    problem = rollout_problem(mass_axes=mass_axes, elastic_axes=elastic_axes)
    dt = problem.pop("dt")
    check(lambda **kw: ops.euler_rollout(**kw, dt=dt, scheme=scheme), problem, wanted)


@pytest.mark.parametrize("wanted", ["force", "muscle_force", "c0", "v0"])
@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("elastic", [True, False])
@pytest.mark.parametrize("batch", [(2,), (5,)])
def test_modal_rollout(wanted: str, scheme: str, elastic: bool, batch: tuple[int, ...]) -> None:
    system, inputs = modal_problem(batch=batch, scheme=scheme, elastic=elastic, vector=True)
    check(lambda **kw: ops.modal_rollout(system, **kw), inputs, wanted)


@pytest.mark.parametrize("wanted", ["force", "muscle_force", "c0", "v0"])
def test_a_gradient_nobody_asked_of_a_modal_rollout(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, bool] = {}
    original = _core.modal_rollout_bwd

    def spy(*args: Any) -> None:
        names = ("force", "muscle_force", "c0", "v0")
        asked.update({key: buffer is not None for key, buffer in zip(names, args[-5:-1], strict=True)})
        original(*args)

    monkeypatch.setattr(_core, "modal_rollout_bwd", spy)
    system, inputs = modal_problem()
    leaf = inputs[wanted].requires_grad_()
    c, _ = ops.modal_rollout(system, **inputs)
    torch.autograd.grad(c.sum(), leaf)
    assert asked == {name: name == wanted for name in asked}
    assert len(asked) == 4


@pytest.mark.parametrize("name", FORCE_OPS)
def test_a_gradient_nobody_asked_for_is_not_computed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = force_problem()
    inputs = force_inputs(name, problem)
    kernel = {"force_projection": "reduced_projection"}.get(name, name) + "_bwd"
    asked: dict[str, bool] = {}
    original = getattr(_core, kernel)
    names = {"distribute_forces": ("val", "force", "directions")}.get(name, ("blendshapes", "val", "directions"))

    def spy(*args: Any) -> None:
        asked.update({key: buffer is not None for key, buffer in zip(names, args[-4:-1], strict=True)})
        original(*args)

    monkeypatch.setattr(_core, kernel, spy)
    val = problem.distribution.val.clone().requires_grad_()
    force_functions(name, problem, ops)(**{**inputs, "val": val}).sum().backward()
    assert asked == {key: key == "val" for key in names}


@pytest.mark.parametrize("registered", [False, True])
def test_second_derivatives_are_refused(registered: bool) -> None:
    """Also where they would only be a part of the answer: a gradient penalty must not be silently wrong."""
    problem = force_problem()
    force = problem.force.clone().requires_grad_()
    if registered:
        index = *UNPACKED, *UNSORTED, *DistributionIndex.of(problem.distribution)
        op = torch.ops.biomechau.force_projection
        out, _ = op(problem.blendshapes, problem.distribution.val, force, None, *index)
    else:
        out = ops.force_projection(problem.blendshapes, problem.distribution, force)
    (grad,) = torch.autograd.grad(out.square().sum(), force, create_graph=True)
    with pytest.raises(RuntimeError, match="force_projection_bwd .* differentiable once"):
        torch.autograd.grad(out.sum() + grad.square().sum(), force)


def test_second_derivatives_of_masses_and_rollouts_are_refused() -> None:
    mass = torch.rand(40, dtype=torch.float64, requires_grad=True)
    blendshapes = force_problem().blendshapes.requires_grad_()
    out = ops.generalized_mass(blendshapes, mass)
    (grad,) = torch.autograd.grad(out.sum(), mass, create_graph=True)
    with pytest.raises(RuntimeError, match="generalized_mass_bwd has no derivative"):
        torch.autograd.grad(grad.sum(), blendshapes)
    problem = rollout_problem()
    problem["mass"].requires_grad_()
    c, _ = ops.euler_rollout(**problem)
    (grad,) = torch.autograd.grad(c.sum(), problem["mass"], create_graph=True)
    with pytest.raises(RuntimeError, match="euler_rollout_bwd has no derivative"):
        torch.autograd.grad(c.sum() + grad.sum(), problem["mass"])
    system, inputs = modal_problem()
    force = inputs["force"].requires_grad_()
    weight = torch.ones(2, 4, 3, dtype=torch.float64, requires_grad=True)
    c, _ = ops.modal_rollout(system, **inputs)
    (grad,) = torch.autograd.grad(c, force, weight, create_graph=True)
    with pytest.raises(RuntimeError, match="modal_rollout_bwd has no derivative"):
        torch.autograd.grad(grad.sum(), weight)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # raised inside torch
def test_forward_derivatives_are_refused() -> None:
    """Also where autograd records nothing."""
    system, inputs = modal_problem()
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        force = torch.autograd.forward_ad.make_dual(inputs["force"], torch.ones_like(inputs["force"]))
        with pytest.raises(RuntimeError, match="no forward derivative .* twins in biomechau.ops.reference"):
            ops.modal_rollout(system, **{**inputs, "force": force})
