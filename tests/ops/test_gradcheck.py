"""Finite differences against the hand-written backward passes, in float64, for every differentiable argument."""

from __future__ import annotations

import pytest
import torch
from ops.cases import FORCE_OPS, ROLLOUTS, force_functions, force_inputs, force_problem, rollout_problem
from torch import Tensor

from biomechau import ops


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


@pytest.mark.parametrize("name", FORCE_OPS)
def test_a_gradient_nobody_asked_for_is_not_given(name: str) -> None:
    problem = force_problem()
    inputs = force_inputs(name, problem)
    val = problem.distribution.val.clone().requires_grad_()
    out = force_functions(name, problem, ops)(**{**inputs, "val": val})
    out.sum().backward()
    assert val.grad is not None
    assert all(value.grad is None for key, value in inputs.items() if value is not None and key != "val")


def test_backward_twice_is_refused_clearly() -> None:
    problem = force_problem()
    force = problem.force.clone().requires_grad_()
    (grad,) = torch.autograd.grad(
        ops.force_projection(problem.blendshapes, problem.distribution, force).square().sum(), force, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
