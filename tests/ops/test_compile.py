"""The ops trace: torch.compile without graph breaks, and the checks of torch.library."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ops.cases import FORCES, acting, assert_close, force_problem, modal_problem, rollout_problem
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from biomechau import ops
from biomechau.ops import _backend
from biomechau.ops._packed_arguments import UNPACKED, UNSORTED
from biomechau.ops._sparse import DistributionIndex


def op_arguments(name: str, fibre: bool = False) -> tuple[Any, ...]:
    """Arguments of ``torch.ops.biomechau.<name>``, differentiable tensors requiring grad."""
    p = force_problem(fibre=fibre, num_vertices=9)
    index, unpacked = DistributionIndex.of(p.distribution), (*UNPACKED, *UNSORTED)

    def leaf(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.clone().requires_grad_()

    val, force, b, d = (leaf(t) for t in (p.distribution.val, p.force, p.blendshapes, p.directions))
    return {
        "distribute_forces": (val, force, d, *index),
        "reduced_projection": (b, val, d, *unpacked, *index),
        "force_projection": (b, val, force, d, *unpacked, *index),
    }[name]


@pytest.mark.parametrize("fibre", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("name", ["distribute_forces", "reduced_projection", "force_projection"])
def test_opcheck_of_force_ops(name: str, fibre: bool) -> None:
    torch.library.opcheck(getattr(torch.ops.biomechau, name), op_arguments(name, fibre))


def test_opcheck_of_generalized_mass() -> None:
    b = force_problem(num_vertices=9).blendshapes.requires_grad_()
    mass = torch.rand(2, 9, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.biomechau.generalized_mass, (b, mass, 0.5, *UNPACKED))


@pytest.mark.parametrize("scheme", range(3))
@pytest.mark.parametrize(
    "elastic_axes",
    [pytest.param(None, marks=pytest.mark.slow), pytest.param("shared", marks=pytest.mark.slow), "sequence"],
)
def test_opcheck_of_euler_rollout(scheme: int, elastic_axes: str | None) -> None:
    p = rollout_problem(elastic_axes=elastic_axes)
    tensors = [p["force"], p["mass"], p["c0"], p["v0"], p.get("damping"), p.get("stiffness")]
    leaves = [None if t is None else t.clone().requires_grad_() for t in tensors]
    torch.library.opcheck(torch.ops.biomechau.euler_rollout, (*leaves, 0.1, scheme))


@pytest.mark.parametrize("elastic", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("forces", FORCES)
def test_opcheck_of_modal_rollout(forces: tuple[str, ...], elastic: bool) -> None:
    system, inputs = modal_problem(elastic=elastic, vector=True)
    leaves = [None if t is None else t.requires_grad_() for t in acting(inputs, forces).values()]
    force, c0, v0, muscle_force = leaves
    arguments = (system.constants, force, muscle_force, c0, v0, 6, system.dt, 2, system.has_modes)
    torch.library.opcheck(torch.ops.biomechau.modal_rollout, arguments)


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch.compiler.reset()


def physics(val: Tensor, force: Tensor, stiffness: Tensor, p: Any, r: dict[str, Any]) -> Tensor:
    """Every op in one differentiable function, with learned values of P."""
    distribution = p.distribution.with_values(torch.nn.functional.softplus(val))
    q = ops.force_projection(p.blendshapes, distribution, force)
    reduced = ops.reduced_projection(p.blendshapes, distribution)
    spread = ops.distribute_forces(distribution, force)
    mass = ops.generalized_mass(p.blendshapes, torch.ones(40, dtype=force.dtype), 0.5)
    c, v = ops.euler_rollout(mass, q, r["c0"], r["v0"], 0.1, mass, stiffness, scheme="implicit")
    return c.square().sum() + v.sum() + reduced.square().sum() + spread.square().sum()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # raised inside the compiler
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compile_fullgraph_equals_eager(backend: str) -> None:
    p = force_problem(batch=(2, 6))
    r = rollout_problem(batch=(2,), num_frames=6, num_shapes=5)
    results = []
    for function in (physics, torch.compile(physics, fullgraph=True, backend=backend)):
        leaves = [t.clone().requires_grad_() for t in (p.distribution.val, p.force, r["stiffness"])]
        out = function(*leaves, p, r)
        results.append([out, *torch.autograd.grad(out, leaves)])
    for actual, expected in zip(results[1], results[0], strict=True):
        assert_close(actual, expected)


@pytest.mark.slow
def test_reference_backend_compiles_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backend, "_backend", "reference")
    p = force_problem(batch=(2, 6))
    r = rollout_problem(batch=(2,), num_frames=6, num_shapes=5)
    leaves = [t.clone().requires_grad_() for t in (p.distribution.val, p.force, r["stiffness"])]
    expected = physics(*leaves, p, r)
    actual = torch.compile(physics, fullgraph=True, backend="aot_eager")(*leaves, p, r)
    assert_close(actual, expected)


def dynamic(tensor: Tensor, axis: int) -> Tensor:
    torch._dynamo.mark_dynamic(tensor, axis)
    return tensor


def test_one_graph_serves_every_batch_size() -> None:
    p = force_problem()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(
        lambda force: ops.force_projection(p.blendshapes, p.distribution, force), fullgraph=True, backend=counter
    )
    for frames in (3, 5, 8):
        force = torch.randn(frames, 4, 3, dtype=torch.float64)
        assert_close(compiled(dynamic(force, 0)), ops.force_projection(p.blendshapes, p.distribution, force.clone()))
    assert counter.frame_count == 1


def test_one_graph_serves_every_face() -> None:
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(ops.generalized_mass, fullgraph=True, backend=counter)
    for num_vertices in (30, 40, 50):
        blendshapes = force_problem(num_vertices=num_vertices).blendshapes
        mass = torch.rand(num_vertices, dtype=torch.float64)
        expected = ops.generalized_mass(blendshapes, mass)
        assert_close(compiled(dynamic(blendshapes, 1), dynamic(mass, 0)), expected)
    assert counter.frame_count == 1


def test_time_steps_may_change() -> None:
    p = rollout_problem()
    p.pop("dt")
    compiled = torch.compile(
        lambda dt, force: ops.euler_rollout(**{**p, "force": force}, dt=dt)[0], fullgraph=True, backend="aot_eager"
    )
    for dt in (1 / 25, 1 / 30, 1 / 60):
        assert_close(compiled(dt, p["force"]), ops.euler_rollout(**p, dt=dt)[0])


def test_one_graph_serves_every_length() -> None:
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(lambda **kw: ops.euler_rollout(**kw, scheme="implicit"), fullgraph=True, backend=counter)
    for num_frames in (4, 7, 9):
        p = rollout_problem(num_frames=num_frames)
        expected = ops.euler_rollout(**p, scheme="implicit")
        p["force"] = dynamic(p["force"].clone(), 1)
        for actual, other in zip(compiled(**p), expected, strict=True):
            assert_close(actual, other)
    assert counter.frame_count == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # raised inside the compiler
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_modal_rollout_equals_eager(backend: str) -> None:
    system, inputs = modal_problem()

    def loss(force: Tensor, muscle_force: Tensor) -> Tensor:
        c, _ = ops.modal_rollout(system, 2 * force, inputs["c0"], inputs["v0"], muscle_force)
        return c.square().sum()

    results = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend=backend)):
        leaves = [inputs[name].clone().requires_grad_() for name in ("force", "muscle_force")]
        out = function(*leaves)
        results.append([out, *torch.autograd.grad(out, leaves)])
    for actual, expected in zip(results[1], results[0], strict=True):
        assert_close(actual, expected)


def test_one_graph_serves_every_length_of_a_modal_rollout() -> None:
    system, _ = modal_problem()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(lambda **kw: ops.modal_rollout(system, **kw), fullgraph=True, backend=counter)
    for num_frames in (4, 7, 9):
        inputs = modal_problem(num_frames=num_frames)[1]
        expected = ops.modal_rollout(system, **inputs)
        for name in ("force", "muscle_force"):
            inputs[name] = dynamic(inputs[name].clone(), 1)
        for actual, other in zip(compiled(**inputs), expected, strict=True):
            assert_close(actual, other)
    assert counter.frame_count == 1


def test_traced_graphs_hold_the_op() -> None:
    p = force_problem()

    def project(force: Tensor) -> Tensor:
        return ops.force_projection(p.blendshapes, p.distribution, force)

    graph = make_fx(project, tracing_mode="real")(p.force)
    assert torch.equal(graph(2 * p.force), project(2 * p.force))
