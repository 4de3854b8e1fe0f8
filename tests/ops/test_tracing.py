"""What is recorded of the ops by torch.jit.trace, torch.export and make_fx gives what the ops give."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from ops.cases import assert_close, force_problem, modal_problem, rollout_problem
from ops.convolutions import convolution_problem
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from biomechau import ops
from biomechau.ops import _backend

Function = Callable[..., Tensor | tuple[Tensor, ...]]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.(trace|trace_method|save|load|script).*:DeprecationWarning"),
    # Of torch.export.save, where constants are views of one tensor.
    pytest.mark.filterwarnings("ignore:No complete tensor found in the group:UserWarning"),
]


@dataclass
class Case:
    """A function of tensors alone, what it is traced with, and other inputs: of more frames where it has any."""

    function: Function
    inputs: tuple[Tensor, ...]
    others: tuple[Tensor, ...]


def _case(function: Function, inputs: list[Tensor], longer: tuple[int, ...] = (), axis: int = 0) -> Case:
    """Inputs with other values; those numbered in ``longer`` with two more entries along an axis."""
    others = [1.25 * tensor for tensor in inputs]
    for number in longer:
        others[number] = torch.cat([others[number], 0.5 * others[number].narrow(axis, 0, 2)], axis)
    return Case(function, tuple(inputs), tuple(others))


def _forces(name: str, fibre: bool = False, packed: bool = False) -> Case:
    p = force_problem(fibre=fibre, batch=(3,))
    blendshapes = ops.PackedBlendshapes(p.blendshapes) if packed else p.blendshapes

    def distribute(val: Tensor, force: Tensor, *directions: Tensor) -> Tensor:
        return ops.distribute_forces(p.distribution.with_values(val), force, *directions)

    def reduce(val: Tensor, force: Tensor, *directions: Tensor) -> Tensor:
        return force.sum() * ops.reduced_projection(blendshapes, p.distribution.with_values(val), *directions)

    def project(val: Tensor, force: Tensor, *directions: Tensor) -> Tensor:
        return ops.force_projection(blendshapes, p.distribution.with_values(val), force, *directions)

    functions = {"distribute_forces": distribute, "reduced_projection": reduce, "force_projection": project}
    directions = [] if p.directions is None else [p.directions]
    return _case(functions[name], [p.distribution.val, p.force, *directions], longer=(1,))


def _constant_projection() -> Case:
    p = force_problem(batch=(3,))
    packed = ops.PackedBlendshapes(p.blendshapes)
    return _case(lambda force: ops.force_projection(packed, p.distribution, force), [p.force], longer=(0,))


def _mass(packed: bool = False) -> Case:
    blendshapes = force_problem().blendshapes
    basis = ops.PackedBlendshapes(blendshapes) if packed else blendshapes
    return _case(lambda mass: ops.generalized_mass(basis, mass, 0.5), [torch.rand(2, 40).double()], longer=(0,))


def _euler(scheme: str, mass_axes: str = "sequence", elastic_axes: str | None = "shared") -> Case:
    p = rollout_problem(batch=(2,), num_frames=4, mass_axes=mass_axes, elastic_axes=elastic_axes)
    dt = p.pop("dt")
    names = list(p)

    def rollout(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return ops.euler_rollout(**dict(zip(names, tensors, strict=True)), dt=dt, scheme=scheme)

    longer = (0, 1) if mass_axes == "frame" else (1,)
    return _case(rollout, list(p.values()), longer, axis=1)


def _modal(vector: bool) -> Case:
    system, inputs = modal_problem(vector=vector)
    names = list(inputs)

    def rollout(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return ops.modal_rollout(system, **dict(zip(names, tensors, strict=True)))

    return _case(rollout, list(inputs.values()), (names.index("force"), names.index("muscle_force")), axis=1)


def _convolution(some: bool) -> Case:
    p = convolution_problem(every=3 if some else None)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return ops.chebyshev_conv(x, p["laplacian"], weight, bias, p["vertices"])

    return _case(convolve, [p["x"], p["weight"], p["bias"]], longer=(0,))


CASES: dict[str, Callable[[], Case]] = {
    **{
        f"{name}{', fibre' if fibre else ''}": partial(_forces, name, fibre)
        for name in ("distribute_forces", "reduced_projection", "force_projection")
        for fibre in (False, True)
    },
    "reduced_projection, packed": partial(_forces, "reduced_projection", packed=True),
    "force_projection, packed": partial(_forces, "force_projection", packed=True),
    "force_projection, all constant": _constant_projection,
    "generalized_mass": _mass,
    "generalized_mass, packed": partial(_mass, packed=True),
    **{f"euler_rollout, {scheme}": partial(_euler, scheme) for scheme in ops.SCHEMES},
    "euler_rollout, mass per frame": partial(_euler, "explicit", "frame", None),
    "modal_rollout, fibre": partial(_modal, False),
    "modal_rollout, vector": partial(_modal, True),
    "chebyshev_conv": partial(_convolution, False),
    "chebyshev_conv, some vertices": partial(_convolution, True),
}
every_case = pytest.mark.parametrize("name", CASES)


def _results(function: Function, inputs: tuple[Tensor, ...], grad: bool) -> list[Tensor]:
    """Outputs and, with ``grad``, the gradients of all inputs."""
    leaves = [tensor.clone().requires_grad_(grad) for tensor in inputs]
    outputs = function(*leaves)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    if grad:
        outputs += torch.autograd.grad([out.square().sum() for out in outputs], leaves)
    return outputs


def _assert_same(actual: Function, case: Case, grad: bool) -> None:
    for inputs in (case.inputs, case.others):
        for one, other in zip(_results(actual, inputs, grad), _results(case.function, inputs, grad), strict=True):
            assert_close(one, other)


class _Traced(torch.nn.Module):
    """A function as a module that torch.export takes."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(*tensors)


@pytest.mark.parametrize("recording", ["no_grad", "inference", "grad"])
@every_case
def test_jit_trace_holds_the_op(name: str, recording: str) -> None:
    case = CASES[name]()
    mode = {"no_grad": torch.no_grad, "inference": torch.inference_mode, "grad": torch.enable_grad}[recording]
    with mode():
        inputs = tuple(tensor.clone().requires_grad_(recording == "grad") for tensor in case.inputs)
        traced = torch.jit.trace(case.function, inputs)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    for graph in (traced, torch.jit.load(file)):
        _assert_same(graph, case, grad=False)
        _assert_same(graph, case, grad=True)


@pytest.mark.parametrize("strict", [pytest.param(True, marks=pytest.mark.slow), False])
@every_case
def test_export_holds_the_op(name: str, strict: bool) -> None:
    case = CASES[name]()
    program = torch.export.export(_Traced(case.function), case.inputs, strict=strict)
    values = tuple(1.25 * tensor for tensor in case.inputs)  # of the same sizes, which an exported program insists on
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    for graph in (program.module(), torch.export.load(file).module()):
        _assert_same(graph, Case(case.function, case.inputs, values), grad=False)


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@every_case
def test_make_fx_holds_the_op(name: str, mode: str) -> None:
    case = CASES[name]()
    graph = make_fx(case.function, tracing_mode=mode, _allow_non_fake_inputs=True)(*case.inputs)
    assert any("biomechau" in str(node.target) for node in graph.graph.nodes)
    values = tuple(1.25 * tensor for tensor in case.inputs)
    _assert_same(graph, Case(case.function, case.inputs, values), grad=False)


def test_a_traced_op_checks_what_it_is_given() -> None:
    mass = torch.eye(3).expand(2, 3, 3)
    force, state = torch.zeros(2, 4, 3), torch.zeros(2, 3)
    traced = torch.jit.trace(ops.euler_rollout, (mass, force, state, state))
    with pytest.raises(RuntimeError, match="mass of sequence 1 must be symmetric positive definite"):
        traced(torch.stack([torch.eye(3), -torch.eye(3)]), force, state, state)
    with pytest.raises(ValueError, match="c0 must have shape"):
        torch.jit.trace(ops.euler_rollout, (mass, force, state[:1], state))
    assert not torch.jit.is_tracing()


def test_what_a_trace_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    p = force_problem()
    refused = {
        "packing of blendshapes": lambda b: ops.force_projection(ops.PackedBlendshapes(b), p.distribution, p.force),
        "making of a sparse matrix": lambda b: ops.SparseMatrix.from_dense(b[0]).val,
        "making of a ModalSystem": lambda b: ops.ModalSystem(b[0, :3].T @ b[0, :3]).constants,
        "twin of generalized_mass": lambda b: ops.reference.generalized_mass(b, torch.ones(40).double()),
    }
    for words, function in refused.items():
        with pytest.raises(RuntimeError, match=f"torch.jit.trace cannot record the .*{words}"):
            torch.jit.trace(function, p.blendshapes)
    monkeypatch.setattr(_backend, "_backend", "reference")
    for name in ("force_projection", "euler_rollout, implicit", "modal_rollout, fibre", "chebyshev_conv"):
        case = CASES[name]()
        with pytest.raises(RuntimeError, match="torch.jit.trace cannot record the plain-torch twin of"):
            torch.jit.trace(case.function, case.inputs)
