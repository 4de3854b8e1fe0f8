"""Packed blendshapes: what they hold, and that every op takes them for the tensor."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops.cases import (
    DTYPES,
    assert_close,
    compare,
    force_inputs,
    force_problem,
    local_blendshapes,
    results_of,
)
from torch import Tensor

from biomechau import ops
from biomechau.ops import PackedBlendshapes, SparseMatrix, _packed_blendshapes, reference
from biomechau.ops._packed_blendshapes import _LARGEST, _SEED

FORCE_OPS = ["reduced_projection", "force_projection"]


def projection_of(name: str, problem: Any, blendshapes: Any, module: Any = ops) -> Callable[..., Tensor]:
    """The op as a function of P's values, the directions and the force, with B held."""

    def call(val: Tensor, directions: Tensor | None, force: Tensor | None = None) -> Tensor:
        distribution = problem.distribution.with_values(val)
        if name == "reduced_projection":
            return module.reduced_projection(blendshapes, distribution, directions)
        assert force is not None
        return module.force_projection(blendshapes, distribution, force, directions)

    return call


def projection_inputs(name: str, problem: Any) -> dict[str, Tensor | None]:
    inputs = force_inputs(name, problem)
    del inputs["blendshapes"]
    return inputs


# -- what they hold ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_vertices", [0, 1, 15, 16, 17, 700, 3_000])
def test_every_vertex_and_displacement_is_held_once(num_vertices: int, dtype: torch.dtype) -> None:
    dense = local_blendshapes(num_vertices, dtype=dtype) if num_vertices else torch.zeros(9, 0, 3, dtype=dtype)
    packed = PackedBlendshapes(dense)
    assert torch.equal(packed.vertices.sort().values, torch.arange(num_vertices, dtype=torch.int32))
    lanes, rows = torch.zeros_like(dense), torch.zeros_like(dense)
    lanes_at = rows_at = 0
    for g in range(len(packed.vertex_crow) - 1):
        vertices = packed.vertices[packed.vertex_crow[g] : packed.vertex_crow[g + 1]].long()
        shapes = packed.shapes[packed.shape_crow[g] : packed.shape_crow[g + 1]].long()
        assert 0 < len(vertices) <= _LARGEST
        assert bool((shapes.diff() > 0).all())
        width = 64 // dense.element_size()
        count = -(-len(vertices) // width)
        of_group = packed.lanes[lanes_at : (lanes_at := lanes_at + count * len(shapes) * 3 * width)]
        by_shape = of_group.view(count, len(shapes), 3, width).permute(1, 0, 3, 2).flatten(1, 2)
        lanes[shapes[:, None], vertices] = by_shape[:, : len(vertices)]
        assert not by_shape[:, len(vertices) :].any()
        length = -(-3 * len(shapes) // 16) * 16
        by_vertex = packed.rows[rows_at : (rows_at := rows_at + len(vertices) * length)].view(-1, length)
        rows[shapes[:, None], vertices] = by_vertex[:, : 3 * len(shapes)].unflatten(1, (-1, 3)).transpose(0, 1)
        assert not by_vertex[:, 3 * len(shapes) :].any()
    assert (lanes_at, rows_at) == (packed.lanes.numel(), packed.rows.numel())
    assert torch.equal(lanes, dense)
    assert torch.equal(rows, dense)


def test_groups_hold_few_shapes_that_do_not_move() -> None:
    """Two faces' worth of shapes that never meet: no group has both, whatever the order of the vertices."""
    dense = torch.zeros(8, 4 * _SEED, 3)
    dense[:4, 0::2] = 1
    dense[4:, 1::2] = 1
    packed = PackedBlendshapes(dense)
    assert packed.shape_crow.diff().tolist() == [4, 4]


def test_still_blendshapes_have_no_group() -> None:
    packed = PackedBlendshapes(torch.zeros(3, 5, 3))
    assert packed.vertex_crow.tolist() == [0]
    p = force_problem(num_vertices=5, num_shapes=3, dtype=torch.float32)
    mass = torch.rand(2, 5, requires_grad=True)
    out = ops.generalized_mass(packed, mass)
    val = p.distribution.val.clone().requires_grad_()
    force = ops.force_projection(packed, p.distribution.with_values(val), p.force)
    grads = torch.autograd.grad((out.sum(), force.sum()), (mass, val))
    for result in (out, force, *grads):
        assert not result.any()


def test_they_are_a_copy() -> None:
    dense = local_blendshapes()
    packed, expected = PackedBlendshapes(dense), dense.clone()
    dense.zero_()
    assert torch.equal(packed.dense, expected)
    assert packed.shape == expected.shape


def test_conversions_and_copies() -> None:
    packed = PackedBlendshapes(local_blendshapes())
    single = packed.to(torch.float32)
    assert single.dense.dtype == single.lanes.dtype == single.rows.dtype == torch.float32
    assert torch.equal(single.dense, packed.dense.float())
    mass = torch.rand(700, dtype=torch.float64)
    file = io.BytesIO()
    torch.save(packed, file)
    file.seek(0)
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed)), torch.load(file, weights_only=True)):
        assert torch.equal(ops.generalized_mass(other, mass), ops.generalized_mass(packed, mass))
    groups = len(packed.vertex_crow) - 1
    assert repr(single) == f"PackedBlendshapes({' x '.join(map(str, packed.shape))}, {groups} groups, float32, cpu)"


@pytest.mark.parametrize("learned", [False, True])
def test_the_default_device_is_not_used(learned: bool) -> None:
    """Everything stays beside the tensors that were given."""
    problem = force_problem()
    val = problem.distribution.val.clone().requires_grad_(learned)
    distribution = problem.distribution.with_values(val)
    with torch.device("meta"):
        packed = PackedBlendshapes(problem.blendshapes)
        actual = ops.force_projection(packed, distribution, problem.force)
        ops.force_projection(problem.blendshapes, distribution, problem.force)
    assert_close(actual, reference.force_projection(problem.blendshapes, distribution, problem.force))
    mass = torch.rand(40, dtype=torch.float64)
    assert_close(ops.generalized_mass(packed, mass), ops.generalized_mass(problem.blendshapes, mass))


def test_they_are_not_packed_within_a_transform() -> None:
    dense = local_blendshapes()
    with pytest.raises(RuntimeError, match=r"cannot be packed within torch.func.grad"):
        torch.func.grad(lambda x: (PackedBlendshapes(dense).dense * x).sum())(torch.ones(()))


def test_bad_blendshapes_are_refused() -> None:
    with pytest.raises(TypeError, match="blendshapes must be float32 or float64, got torch.int64"):
        PackedBlendshapes(torch.zeros(2, 4, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"blendshapes must be a torch.Tensor, got list"):
        PackedBlendshapes([1.0])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"blendshapes must have shape \(K, N, 3\), got \(2, 4\)"):
        PackedBlendshapes(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="packed blendshapes are constant, but blendshapes requires grad"):
        PackedBlendshapes(torch.zeros(2, 4, 3, requires_grad=True))
    packed = PackedBlendshapes(torch.zeros(2, 4, 3))
    with pytest.raises(TypeError, match="mass must be torch.float32 as blendshapes is"):
        ops.generalized_mass(packed, torch.ones(4, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"mass must have shape \(..., 4\), got \(5,\)"):
        ops.generalized_mass(packed, torch.ones(5))
    with pytest.raises(ValueError, match=r"blendshapes must have shape \(K, 40, 3\), got \(2, 4, 3\)"):
        ops.reduced_projection(packed, force_problem(dtype=torch.float32).distribution)


# -- the ops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (1,), (2,), (3,), (2, 4), (17,), (64,), (0,)])
def test_generalized_mass(batch: tuple[int, ...], dtype: torch.dtype, isa: str) -> None:
    dense = local_blendshapes(dtype=dtype)
    packed = PackedBlendshapes(dense)
    mass = torch.rand(*batch, 700, dtype=dtype, generator=torch.Generator().manual_seed(1))
    compare(
        lambda mass: ops.generalized_mass(packed, mass, 0.5),
        lambda mass: reference.generalized_mass(dense, mass, 0.5),
        {"mass": mass},
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize("name", FORCE_OPS)
@pytest.mark.parametrize("batch", [(), (2, 3), (0,)])
def test_projections(name: str, fibre: bool, dtype: torch.dtype, batch: tuple[int, ...], isa: str) -> None:
    problem = force_problem(batch=batch, fibre=fibre, num_vertices=700, num_muscles=7, dtype=dtype)
    dense = local_blendshapes(dtype=dtype)
    compare(
        projection_of(name, problem, PackedBlendshapes(dense)),
        projection_of(name, problem, dense, reference),
        projection_inputs(name, problem),
    )


@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize("name", FORCE_OPS)
@pytest.mark.parametrize("sizes", [{"density": 0.0}, {"num_muscles": 1}, {"num_shapes": 0}, {"num_vertices": 1}])
def test_projections_at_the_edges(name: str, fibre: bool, sizes: dict[str, Any]) -> None:
    problem = force_problem(fibre=fibre, **sizes)
    compare(
        projection_of(name, problem, PackedBlendshapes(problem.blendshapes)),
        projection_of(name, problem, problem.blendshapes, reference),
        projection_inputs(name, problem),
    )


def uneven_problem(packed: PackedBlendshapes, fibre: bool = False, dtype: torch.dtype = torch.float64) -> Any:
    """Muscle 0 at one vertex of the first group, muscle 1 at none, and no muscle at the second group."""
    problem = force_problem(fibre=fibre, num_vertices=packed.shape[1], num_muscles=7, dtype=dtype)
    p = problem.distribution
    first, second = (packed.vertices[packed.vertex_crow[g] : packed.vertex_crow[g + 1]] for g in (0, 1))
    used = ~torch.isin(p.row, second) & (p.col > 1)
    used[(torch.isin(p.row, first) & (p.col == 0)).nonzero()[0]] = True
    crow = torch.nn.functional.pad(torch.bincount(p.row[used], minlength=p.shape[0]).cumsum(0), (1, 0))
    return problem._replace(
        distribution=SparseMatrix(crow, p.col[used], p.val[used], p.shape),
        directions=None if problem.directions is None else problem.directions[used],
    )


BLOCKS = [1, 3 * 256, 5 * 256 - 1, 10**9]  # bytes; a row of at most 9 shapes has 256 in float64, 128 in float32


@pytest.mark.parametrize("block", BLOCKS)
def test_every_entry_is_in_the_list_of_its_block_and_muscle(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_packed_blendshapes, "_BLOCK_BYTES", block)
    packed = PackedBlendshapes(local_blendshapes())
    p = uneven_problem(packed).distribution
    entries = packed.sorted_entries(p)
    assert torch.equal(entries.entry.sort().values, torch.arange(p.nnz, dtype=torch.int32))
    assert entries.group_crow[1] == entries.group_crow[2]  # no entries, no list
    met = []
    for g in range(len(packed.vertex_crow) - 1):
        vertices = packed.vertices[packed.vertex_crow[g] : packed.vertex_crow[g + 1]]
        size = max(1, block // (8 * -(-3 * int(packed.shape_crow[g + 1] - packed.shape_crow[g]) // 16) * 16))
        for i in range(int(entries.group_crow[g]), int(entries.group_crow[g + 1])):
            own = slice(int(entries.list_crow[i]), int(entries.list_crow[i + 1]))
            entry, vertex = entries.entry[own].long(), entries.vertex[own].long()
            assert bool((vertex.diff() > 0).all())
            assert torch.equal(p.row[entry], vertices[vertex].long())
            assert bool((p.col[entry] == entries.muscle[i]).all())
            assert len((vertex // size).unique()) == 1
            met.append((g, int(vertex[0]) // size, int(entries.muscle[i])))
    assert met == sorted(set(met))
    still = p.row[entries.entry[entries.list_crow[-1] :].long()]
    assert len(still) > 0
    assert not packed.dense[:, still].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize("block", BLOCKS)
def test_projections_block_by_block(
    block: int, fibre: bool, dtype: torch.dtype, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_packed_blendshapes, "_BLOCK_BYTES", block)
    dense = local_blendshapes(dtype=dtype)
    packed = PackedBlendshapes(dense)
    problem = uneven_problem(packed, fibre, dtype)
    compare(
        projection_of("reduced_projection", problem, packed),
        projection_of("reduced_projection", problem, dense, reference),
        projection_inputs("reduced_projection", problem),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fibre", [False, True])
@pytest.mark.parametrize("num_shapes", [5, 6, 16, 32, 64])
def test_projections_of_rows_without_and_with_padding(
    num_shapes: int, fibre: bool, dtype: torch.dtype, isa: str
) -> None:
    problem = force_problem(num_vertices=300, num_shapes=num_shapes, num_muscles=6, fibre=fibre, dtype=dtype)
    compare(
        projection_of("reduced_projection", problem, PackedBlendshapes(problem.blendshapes)),
        projection_of("reduced_projection", problem, problem.blendshapes, reference),
        projection_inputs("reduced_projection", problem),
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_at_face_size(dtype: torch.dtype) -> None:
    dense = local_blendshapes(9_409, 53, dtype)
    packed = PackedBlendshapes(dense)
    mass = torch.rand(8, 9_409, dtype=dtype, generator=torch.Generator().manual_seed(1))
    compare(
        lambda mass: ops.generalized_mass(packed, mass),
        lambda mass: reference.generalized_mass(dense, mass),
        {"mass": mass},
    )
    problem = force_problem(num_vertices=9_409, num_muscles=31, density=0.07, batch=(2, 8), dtype=dtype)
    compare(
        projection_of("force_projection", problem, packed),
        projection_of("force_projection", problem, dense, reference),
        projection_inputs("force_projection", problem),
    )


def test_twins_take_them() -> None:
    problem, mass = force_problem(), torch.rand(40, dtype=torch.float64)
    dense, packed = problem.blendshapes, PackedBlendshapes(problem.blendshapes)
    p, force = problem.distribution, problem.force
    assert torch.equal(reference.generalized_mass(packed, mass), reference.generalized_mass(dense, mass))
    assert torch.equal(reference.reduced_projection(packed, p), reference.reduced_projection(dense, p))
    assert torch.equal(reference.force_projection(packed, p, force), reference.force_projection(dense, p, force))


@pytest.mark.parametrize("wanted", ["val", "force", "directions"])
def test_gradcheck_of_force_projection(wanted: str) -> None:
    problem = force_problem(fibre=wanted == "directions", num_vertices=12)
    inputs = projection_inputs("force_projection", problem)
    function = projection_of("force_projection", problem, PackedBlendshapes(problem.blendshapes))
    leaf = inputs[wanted]
    assert leaf is not None
    assert torch.autograd.gradcheck(lambda x: function(**{**inputs, wanted: x}), (leaf.clone().requires_grad_(),))


@pytest.mark.parametrize("batch", [(), (3,)])
def test_gradcheck_of_generalized_mass(batch: tuple[int, ...]) -> None:
    packed = PackedBlendshapes(force_problem(num_vertices=35, num_shapes=4).blendshapes)
    mass = 0.5 + torch.rand(*batch, 35, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.autograd.gradcheck(lambda m: ops.generalized_mass(packed, m, 0.5), (mass.requires_grad_(),))


def test_a_bad_mass_is_named_where_nothing_moves_too() -> None:
    dense = local_blendshapes()
    still = int((~(dense != 0).any(-1).any(0)).nonzero()[0])
    mass = torch.ones(2, 700, dtype=torch.float64)
    mass[1, still] = float("nan")
    with pytest.raises(ValueError, match=rf"mass of sequence 1 .* got nan at vertex {still}"):
        ops.generalized_mass(PackedBlendshapes(dense), mass)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_for_any_thread_count(dtype: torch.dtype) -> None:
    packed = PackedBlendshapes(local_blendshapes(6_000, 20, dtype))
    problem = force_problem(num_vertices=6_000, num_muscles=9, batch=(6_000,), dtype=dtype)
    functions = [
        (lambda mass: ops.generalized_mass(packed, mass), {"mass": torch.rand(count, 6_000, dtype=dtype)})
        for count in (1, 5, 32)
    ]
    functions.append(
        (projection_of("force_projection", problem, packed), projection_inputs("force_projection", problem))
    )
    before = torch.get_num_threads()
    for function, inputs in functions:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(results_of(function, inputs))
        torch.set_num_threads(before)
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                assert torch.equal(a, b)


@pytest.mark.slow
def test_opcheck() -> None:
    p = force_problem(num_vertices=9)
    packed = PackedBlendshapes(p.blendshapes)
    mass = torch.rand(2, 9, dtype=torch.float64, requires_grad=True)
    index = packed.vertex_crow, packed.shape_crow, packed.vertices, packed.shapes
    torch.library.opcheck(torch.ops.biomechau.generalized_mass, (packed.dense, mass, 0.5, *index, packed.lanes))
    val, force = p.distribution.val.clone().requires_grad_(), p.force.clone().requires_grad_()
    by_muscle = p.distribution.transpose
    for entries in ((None,) * 5, packed.sorted_entries(p.distribution)):
        rest = *index, packed.rows, *entries, p.distribution.crow, p.distribution.col, *by_muscle, 4
        torch.library.opcheck(torch.ops.biomechau.force_projection, (packed.dense, val, force, None, *rest))
        torch.library.opcheck(torch.ops.biomechau.reduced_projection, (packed.dense, val, None, *rest))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # raised inside the compiler
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compile_fullgraph_equals_eager(backend: str) -> None:
    torch.compiler.reset()
    p = force_problem()
    packed = PackedBlendshapes(p.blendshapes)

    def physics(val: Tensor, mass: Tensor, force: Tensor) -> Tensor:
        distribution = p.distribution.with_values(torch.nn.functional.softplus(val))
        learned = ops.force_projection(packed, distribution, force).square().sum()
        constant = ops.force_projection(packed, p.distribution, force).square().sum()
        return learned + constant + ops.generalized_mass(packed, mass).square().sum()

    results = []
    for function in (physics, torch.compile(physics, fullgraph=True, backend=backend)):
        leaves = [
            t.clone().requires_grad_() for t in (p.distribution.val, torch.ones(2, 40, dtype=torch.float64), p.force)
        ]
        out = function(*leaves)
        results.append([out, *torch.autograd.grad(out, leaves)])
    for actual, expected in zip(results[1], results[0], strict=True):
        assert_close(actual, expected)


# -- what is kept with them --------------------------------------------------------------------------------------------


def test_matrices_that_share_columns_alone_do_not_share_sorted_entries() -> None:
    # One entry a vertex in the first, both entries at one vertex in the second.
    first = ops.SparseMatrix.from_dense(torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    second = ops.SparseMatrix(torch.tensor([0, 0, 0, 2]), first.col, first.val, first.shape)
    blendshapes = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(0))
    packed = PackedBlendshapes(blendshapes)
    for p in (first, second, first):
        torch.testing.assert_close(
            ops.reduced_projection(packed, p), reference.reduced_projection(blendshapes, p, None), rtol=1e-6, atol=1e-6
        )
    assert packed.sorted_entries(first) is packed.sorted_entries(first)
