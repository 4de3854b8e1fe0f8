"""The transforms of ``torch.func`` over every op: vmap against a loop, gradients against autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops.cases import assert_close, force_problem, modal_problem, rollout_problem
from ops.convolutions import convolution_problem
from torch import Tensor
from torch.func import grad, hessian, jacrev, jvp, vmap

from biomechau import ops
from biomechau.ops import reference

Call = tuple[Callable[..., Tensor], dict[str, Tensor]]


def calls() -> dict[str, Call]:
    """By op, a function of some of its tensors, and these."""
    force, roll = force_problem(batch=(3,)), rollout_problem(mass_axes="shared")
    system, modal = modal_problem()
    conv = convolution_problem()
    p, b, packed = force.distribution, force.blendshapes, ops.PackedBlendshapes(force.blendshapes)
    per_sequence = rollout_problem(mass_axes="sequence")

    def rollout(problem: dict[str, Any]) -> Call:
        inputs = {name: problem[name] for name in ("force", "c0", "v0", "mass")}
        return lambda **x: torch.cat(ops.euler_rollout(**{**problem, **x}), -1), inputs

    return {
        "distribute_forces": (
            lambda force, val: ops.distribute_forces(p.with_values(val), force),
            {"force": force.force, "val": p.val},
        ),
        "reduced_projection": (
            lambda blendshapes, val: ops.reduced_projection(blendshapes, p.with_values(val)),
            {"blendshapes": b, "val": p.val},
        ),
        "force_projection": (
            lambda force, val, blendshapes: ops.force_projection(blendshapes, p.with_values(val), force),
            {"force": force.force, "val": p.val, "blendshapes": b},
        ),
        "packed force_projection": (
            lambda force: ops.force_projection(packed, p, force),
            {"force": force.force},
        ),
        "generalized_mass": (
            lambda mass, blendshapes: ops.generalized_mass(blendshapes, mass),
            {"mass": torch.rand(2, b.shape[1], dtype=b.dtype) + 0.5, "blendshapes": b},
        ),
        "euler_rollout": rollout(roll),
        "euler_rollout, a mass per sequence": rollout(per_sequence),
        "modal_rollout": (lambda **x: torch.cat(ops.modal_rollout(system, **x), -1), modal),
        "chebyshev_conv": (
            lambda x, weight: ops.chebyshev_conv(**{**conv, "x": x, "weight": weight}),
            {name: conv[name] for name in ("x", "weight")},
        ),
    }


def varied(tensor: Tensor, dim: int) -> Tensor:
    """Three versions of a tensor along a new axis."""
    return torch.stack([tensor, 0.5 * tensor, 1.5 * tensor], dim)


@pytest.mark.parametrize("name", calls())
def test_vmap_is_a_loop(name: str) -> None:
    """Over each argument alone, and over all of them, along the first axis and another."""
    function, inputs = calls()[name]
    names = list(inputs)
    for mapped in [*([name] for name in names), names]:
        for dim in (0, 1):
            given = {name: varied(x, dim) if name in mapped else x for name, x in inputs.items()}
            dims = tuple(dim if name in mapped else None for name in names)
            found = vmap(lambda *x: function(**dict(zip(names, x, strict=True))), dims)(*given.values())
            rows = [
                function(**{name: x.select(dim, row) if name in mapped else x for name, x in given.items()})
                for row in range(3)
            ]
            assert_close(found, torch.stack(rows))


@pytest.mark.parametrize("name", calls())
def test_gradients_are_those_of_autograd(name: str) -> None:
    function, inputs = calls()[name]
    names = list(inputs)

    def loss(*x: Tensor) -> Tensor:
        return function(**dict(zip(names, x, strict=True))).square().sum()

    leaves = [x.clone().requires_grad_() for x in inputs.values()]
    expected = torch.autograd.grad(loss(*leaves), leaves)
    every = tuple(range(len(names)))
    for a, b in zip(grad(loss, every)(*inputs.values()), expected, strict=True):
        assert_close(a, b)
    # A gradient per sample.
    samples = [varied(x, 0) for x in inputs.values()]
    found = vmap(grad(loss, every))(*samples)
    for row in range(3):
        leaves = [x[row].clone().requires_grad_() for x in samples]
        for a, b in zip(found, torch.autograd.grad(loss(*leaves), leaves), strict=True):
            assert_close(a[row], b)


def test_the_jacobian_of_a_rollout() -> None:
    system, inputs = modal_problem(batch=())
    jacobian = jacrev(lambda force: ops.modal_rollout(system, **{**inputs, "muscle_force": force})[0])
    found = jacobian(inputs["muscle_force"])
    expected = torch.autograd.functional.jacobian(
        lambda force: ops.modal_rollout(system, **{**inputs, "muscle_force": force})[0], inputs["muscle_force"]
    )
    assert_close(found, expected)


def test_nothing_of_a_transform_is_kept() -> None:
    """Packed blendshapes keep A of a matrix P for later calls; one that vmap has touched must not be kept."""
    problem = force_problem(batch=(3,))
    packed, p = ops.PackedBlendshapes(problem.blendshapes), problem.distribution
    vmap(lambda val: ops.force_projection(packed, p.with_values(val), problem.force))(varied(p.val, 0))
    vmap(lambda force: ops.force_projection(packed, p, force))(problem.force)
    assert_close(
        ops.force_projection(packed, p, problem.force), ops.force_projection(problem.blendshapes, p, problem.force)
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:DeprecationWarning")  # torch's own, in jvp
@pytest.mark.parametrize("name", [name for name in calls() if "packed" not in name])  # that is a matrix product
def test_other_derivatives_are_refused_with_advice(name: str) -> None:
    function, inputs = calls()[name]
    names = list(inputs)

    def call(*x: Tensor) -> Tensor:
        return function(**dict(zip(names, x, strict=True)))

    given = tuple(inputs.values())
    with pytest.raises(RuntimeError, match="no forward derivative .* twins in biomechau.ops.reference there"):
        jvp(call, given, given)
    leaves = [x.clone().requires_grad_() for x in given]
    first = torch.autograd.grad(call(*leaves).square().sum(), leaves, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once.* twins"):
        sum(x.square().sum() for x in first).backward()


@pytest.mark.parametrize("name", [name for name in calls() if "packed" not in name])
def test_batched_gradients_are_refused_with_advice(name: str) -> None:
    """``is_grads_batched`` maps over gradients in a way of its own, which hides their memory."""
    function, inputs = calls()[name]
    leaves = [x.clone().requires_grad_() for x in inputs.values()]
    out = function(**dict(zip(inputs, leaves, strict=True)))
    with pytest.raises(RuntimeError, match=r"biomechau::\w+_bwd got a tensor without memory.* use torch.func.vmap"):
        torch.autograd.grad(out, leaves, torch.stack([out, out]).detach(), is_grads_batched=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:DeprecationWarning")  # torch's own, in jvp
def test_the_twins_have_them() -> None:
    problem, (system, inputs) = force_problem(), modal_problem()
    for function, x in (
        (lambda force: reference.force_projection(problem.blendshapes, problem.distribution, force), problem.force),
        (lambda force: reference.modal_rollout(system, **{**inputs, "muscle_force": force})[0], inputs["muscle_force"]),
    ):
        _, tangent = jvp(function, (x,), (x,))
        numeric = (function(x + 1e-6 * x) - function(x - 1e-6 * x)) / 2e-6
        torch.testing.assert_close(tangent, numeric, rtol=1e-6, atol=1e-8)
        second = hessian(lambda x, f=function: f(x).square().sum())(x)
        assert second.isfinite().all()
        assert second.abs().max() > 0
