"""Every op in every context in which PyTorch may call it: each either gives the right numbers or refuses clearly."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, NamedTuple

import torch
from ops.cases import assert_close, force_problem, modal_problem, rollout_problem
from ops.convolutions import convolution_problem
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import DataLoader, Dataset

from biomechau import ops
from biomechau.ops import reference

MODULES = {"ops": ops, "twins": reference}


class Case(NamedTuple):
    """A call of an op: its arguments, and the one that varies.

    Its result is one tensor; that of a rollout are c and v side by side.
    """

    name: str
    module: str
    arguments: dict[str, Any]
    varies: str

    @property
    def x(self) -> Tensor:
        return self.arguments[self.varies]

    def __call__(self, x: Tensor) -> Tensor:
        module: ModuleType = MODULES[self.module]
        out = getattr(module, self.name)(**{**self.arguments, self.varies: x})
        return torch.cat(out, -1) if isinstance(out, tuple) else out


def cases(module: str = "ops", dtype: torch.dtype = torch.float64) -> dict[str, Case]:
    """By op, a call made of new tensors."""
    force, (system, modal) = force_problem(dtype=dtype), modal_problem(dtype=dtype)
    p, b = force.distribution, force.blendshapes
    mass = 0.5 + torch.rand(2, b.shape[1], generator=torch.Generator().manual_seed(0)).to(dtype)
    made = {
        "distribute_forces": ({"distribution": p, "force": force.force}, "force"),
        "reduced_projection": ({"blendshapes": b, "distribution": p}, "blendshapes"),
        "force_projection": ({"blendshapes": b, "distribution": p, "force": force.force}, "force"),
        "generalized_mass": ({"blendshapes": b, "mass": mass}, "mass"),
        "euler_rollout": ({**rollout_problem(dtype=dtype), "scheme": "implicit"}, "force"),
        "modal_rollout": ({"system": system, **modal}, "muscle_force"),
        "chebyshev_conv": (convolution_problem(dtype=dtype), "x"),
    }
    return {name: Case(name, module, *rest) for name, rest in made.items()}


OPS = list(cases())


def _gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Of the sum of the squares of the results."""
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(function(leaf).square().sum(), leaf)[0]


def _twin(case: Case) -> Case:
    return case._replace(module="twins")


# -- the contexts: each raises what the call raises, and AssertionError where its results are not right ----------------


def eager(case: Case) -> None:
    assert_close(case(case.x), _twin(case)(case.x))
    assert_close(_gradient(case, case.x), _gradient(_twin(case), case.x))


def no_grad(case: Case) -> None:
    expected, leaf = case(case.x), case.x.clone().requires_grad_()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = case(leaf)
        assert not found.requires_grad
        assert_close(found.clone(), expected)


def jit_trace(case: Case) -> None:
    traced: Any = torch.jit.trace(lambda x: case(x), case.x)
    assert_close(traced(1.25 * case.x), case(1.25 * case.x))
    assert_close(_gradient(traced, case.x), _gradient(case, case.x))


def compiled(case: Case) -> None:
    torch.compiler.reset()
    # Of the loops in the twins inductor makes code for minutes.
    backend = "inductor" if case.module == "ops" else "aot_eager"
    graph = torch.compile(lambda x: case(x), fullgraph=True, backend=backend)
    assert_close(graph(case.x), case(case.x))
    assert_close(_gradient(graph, case.x), _gradient(case, case.x))


class _Called(nn.Module):
    """A case as a module that torch.export takes."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def forward(self, x: Tensor) -> Tensor:
        return self.case(x)


def export(case: Case) -> None:
    program = torch.export.export(_Called(case), (case.x,), strict=False)
    assert_close(program.module()(1.25 * case.x), case(1.25 * case.x))


def vmap(case: Case) -> None:
    rows = torch.stack([case.x, 0.5 * case.x, 1.5 * case.x])
    assert_close(torch.func.vmap(case)(rows), torch.stack([case(row) for row in rows]))


def func_grad(case: Case) -> None:
    found = torch.func.grad(lambda x: case(x).square().sum())(case.x)
    assert_close(found, _gradient(case, case.x))


def _direction(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(x)


def jvp(case: Case) -> None:
    along = _direction(case.x)
    out, tangent = torch.func.jvp(case, (case.x,), (along,))
    # The derivative of the sum of squares along this direction, forward and backward.
    assert_close(2 * (out * tangent).sum(), (_gradient(case, case.x) * along).sum())


def second_derivative(case: Case) -> None:
    along, leaf = _direction(case.x), case.x.clone().requires_grad_()
    (first,) = torch.autograd.grad(case(leaf).square().sum(), leaf, create_graph=True)
    (found,) = torch.autograd.grad((first * along).sum(), leaf)
    # Exact up to rounding: the sum of squares has no higher derivatives in what varies.
    step = 1e-2 * along
    expected = (_gradient(case, case.x + step) - _gradient(case, case.x - step)) / 2e-2
    assert_close(found, expected)


def autocast(case: Case) -> None:
    """After a layer that autocast rounds."""
    case = cases(case.module, torch.float32)[case.name]
    size = case.x.shape[-1]
    with torch.autocast("cpu", torch.bfloat16):
        half = nn.functional.linear(case.x, torch.eye(size))
        assert half.dtype == torch.bfloat16
        found = case(half)
    assert found.dtype == torch.float32
    assert_close(found, case(half.float()))


def _moved(value: Any, device: str) -> Any:
    return value.to(device) if isinstance(value, (Tensor, ops.SparseMatrix, nn.Module)) else value


def _same_kind(found: list[Tensor], expected: list[Tensor], device: str) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype, one.device.type) == (other.shape, other.dtype, device)


def _with_gradient(case: Case, x: Tensor) -> list[Tensor]:
    leaf = x.detach().requires_grad_()
    out = case(leaf)
    return [out, *torch.autograd.grad(out.sum(), leaf)]


def meta(case: Case) -> None:
    expected = _with_gradient(case, case.x)
    there = case._replace(arguments={name: _moved(value, "meta") for name, value in case.arguments.items()})
    _same_kind(_with_gradient(there, there.x), expected, "meta")


def fake(case: Case) -> None:
    expected = _with_gradient(case, case.x)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        found = _with_gradient(case, mode.from_tensor(case.x))
    _same_kind(found, expected, "cpu")


class _Results(Dataset):
    """The result of each case, computed where an item is read."""

    def __init__(self, made: list[Case]) -> None:
        self.made = made

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, index: int) -> Tensor | Exception:
        case = self.made[index]
        try:
            return case(case.x)
        except Exception as error:  # told in the main process, where it counts for its op
            return error


@functools.cache
def _from_workers(module: str, method: str) -> dict[str, Tensor | Exception]:
    """The results of all ops in two workers; threads of the kernels have run before."""
    made = list(cases(module).values())
    for case in made:
        case(case.x)
    loader = DataLoader(_Results(made), batch_size=None, num_workers=2, multiprocessing_context=method)
    return dict(zip(OPS, loader, strict=True))


def workers(case: Case, method: str) -> None:
    found = _from_workers(case.module, method)[case.name]
    if isinstance(found, Exception):
        raise found
    assert_close(found, case(case.x))


def threads(case: Case) -> None:
    """Eight at once, with objects that none of them has used before."""
    expected = [case(case.x), _gradient(case, case.x)]
    new = cases(case.module)[case.name]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: [new(new.x), _gradient(new, new.x)], range(32)):
            for one, other in zip(found, expected, strict=True):
                assert torch.equal(one, other)


# By the words of the table.
CONTEXTS: dict[str, Callable[[Case], None]] = {
    "eager": eager,
    "no_grad": no_grad,
    "jit.trace": jit_trace,
    "compile": compiled,
    "export": export,
    "vmap": vmap,
    "grad": func_grad,
    "jvp": jvp,
    "2nd derivative": second_derivative,
    "autocast": autocast,
    "meta": meta,
    "fake": fake,
    "fork": functools.partial(workers, method="fork"),
    "spawn": functools.partial(workers, method="spawn"),
    "8 threads": threads,
}

# What a refusal must say: who refuses, and what to do.
_CLEAR = re.compile(
    r"biomechau::\w+ has no (forward )?derivative.* twins in\s+biomechau\.ops\.reference"
    r"|torch\.jit\.trace cannot record the plain-torch twin of \w+: use ",
    re.DOTALL,
)


def cell(case: Case, context: str) -> str:
    """ "yes", or "refused" if a clear error says so; any other error is raised."""
    try:
        CONTEXTS[context](case)
    except RuntimeError as error:
        if not _CLEAR.search(str(error)):
            raise
        return "refused"
    return "yes"
