"""The table of contexts in the ops' README is what happens."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ops.cases import assert_close, force_problem, modal_problem
from ops.citizens import CONTEXTS, MODULES, OPS, cases, cell
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from biomechau import ops

pytestmark = [  # torch's own
    pytest.mark.filterwarnings("ignore:.*torch.jit.(trace|script|script_method)`? is .*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch._prims_common.check.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]

_README = Path(__file__).parents[2] / "biomechau" / "ops" / "README.md"
_SLOW = {"compile", "spawn", "export of twins"}


def rows_of_the_table() -> dict[str, list[str]]:
    """The cells of the table of contexts by the first of their row."""
    lines = iter(_README.read_text().splitlines())
    start = next(line for line in lines if line.startswith("| op | eager |"))
    rows = [start]
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(line)
    split = [[part.strip().strip("`") for part in row.strip("|").split("|")] for row in rows]
    return {first: rest for first, *rest in split}


def test_the_table_has_every_op_and_every_context() -> None:
    rows = rows_of_the_table()
    public = [name for name in ops.__all__ if inspect.isfunction(getattr(ops, name)) and hasattr(ops.reference, name)]
    assert sorted(OPS) == sorted(public)
    assert list(rows) == ["op", "---", *OPS, "each twin"]
    assert rows["op"] == list(CONTEXTS)


@pytest.mark.parametrize(
    ("context", "module"),
    [
        pytest.param(context, module, marks=pytest.mark.slow if {context, f"{context} of {module}"} & _SLOW else ())
        for context in CONTEXTS
        for module in MODULES
    ],
)
def test_its_cells_are_what_happens(context: str, module: str) -> None:
    rows = rows_of_the_table()
    column = rows["op"].index(context)
    found = {name: cell(case, context) for name, case in cases(module).items()}
    expected = {name: rows[name if module == "ops" else "each twin"][column] for name in OPS}
    assert found == expected


# -- what is made once -------------------------------------------------------------------------------------------------


def made_inside() -> dict[str, tuple[Callable[[Tensor], Any], Tensor, str]]:
    """What is made of the values of a tensor, that tensor, and what the refusal says where it has none."""
    p = force_problem()
    system, _ = modal_problem()
    crow, shape = p.distribution.crow, p.distribution.shape
    return {
        "ModalSystem": (ops.ModalSystem, system.mass, "make it before, or use ops.euler_rollout"),
        "PackedBlendshapes": (ops.PackedBlendshapes, p.blendshapes, "pack them before, or give the op the tensor"),
        "SparseMatrix": (
            lambda col: ops.SparseMatrix(crow.to(col.device), col, torch.ones(col.shape, device=col.device), shape),
            p.distribution.col,
            "make it before; with_values takes other values, and to another device",
        ),
        "from_dense": (
            ops.SparseMatrix.from_dense,
            p.distribution.dense(),
            "make it before; with_values takes other values, and to another device",
        ),
    }


@pytest.mark.parametrize("name", made_inside())
def test_what_is_made_of_values_says_where_it_cannot_be_made(name: str) -> None:
    make, tensor, advice = made_inside()[name]

    def call(x: Tensor) -> Tensor:
        make(x)
        return x

    with pytest.raises(RuntimeError, match=advice), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        call(mode.from_tensor(tensor))
    with pytest.raises(RuntimeError, match=advice):
        torch.func.vmap(call)(tensor[None])
    with pytest.raises(RuntimeError, match=advice):
        torch.jit.trace(call, tensor)
    if name != "PackedBlendshapes":
        with pytest.raises(RuntimeError, match=advice):
            call(tensor.to("meta"))
    torch.compiler.reset()
    with pytest.raises(RuntimeError, match=advice):
        torch.compile(call, fullgraph=True, backend="eager")(tensor)
    with pytest.raises(RuntimeError, match=advice):
        torch.export.export(Called(call), (tensor,), strict=False)


class Called(torch.nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_a_compiled_function_makes_them_where_its_graph_may_break() -> None:
    p, (system, inputs) = force_problem(), modal_problem()
    del inputs["muscle_force"]

    def physics(mass: Tensor, blendshapes: Tensor, force: Tensor) -> Tensor:
        c, _ = ops.modal_rollout(ops.ModalSystem(mass), **{**inputs, "force": force})
        return c.sum() + ops.generalized_mass(ops.PackedBlendshapes(blendshapes), torch.ones(40).double()).sum()

    torch.compiler.reset()
    given = system.mass, p.blendshapes, inputs["force"]
    assert_close(torch.compile(physics, backend="eager")(*given), physics(*given))


@pytest.mark.parametrize("place", ["closure", "argument", "submodule"])
def test_a_modal_system_made_before_is_used_in_one_graph(place: str) -> None:
    system, inputs = modal_problem()

    class Rollout(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.system = system

        def forward(self, force: Tensor) -> Tensor:
            return ops.modal_rollout(self.system, **{**inputs, "force": force})[0]

    function: Callable[..., Tensor] = {
        "closure": lambda force: ops.modal_rollout(system, **{**inputs, "force": force})[0],
        "argument": lambda force, system=system: ops.modal_rollout(system, **{**inputs, "force": force})[0],
        "submodule": Rollout(),
    }[place]
    torch.compiler.reset()
    expected = ops.modal_rollout(system, **inputs)[0]
    assert_close(torch.compile(function, fullgraph=True, backend="aot_eager")(inputs["force"]), expected)


def test_packed_blendshapes_go_to_meta() -> None:
    p = force_problem()
    packed, matrix = ops.PackedBlendshapes(p.blendshapes).to("meta"), p.distribution.to("meta")
    assert ops.force_projection(packed, matrix, p.force.to("meta")).shape == (2, 3, 5)
    assert ops.reduced_projection(packed, matrix).shape == (5, 4, 3)
    assert ops.generalized_mass(packed, torch.ones(7, 40, dtype=torch.float64, device="meta")).shape == (7, 5, 5)
