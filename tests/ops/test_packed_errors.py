"""Packed arrays and sorted entries that do not fit are refused before a kernel follows them."""

from __future__ import annotations

import pytest
import torch
from ops.cases import force_problem, local_blendshapes
from torch import Tensor

from biomechau import _core
from biomechau.ops import PackedBlendshapes
from biomechau.ops._distribution import core_index
from biomechau.ops._packed_blendshapes import _LARGEST


def mass_with(packed: PackedBlendshapes, **changes: Tensor) -> None:
    num_shapes, num_vertices, _ = packed.shape
    names = ("vertex_crow", "shape_crow", "vertices", "shapes", "lanes")
    arrays = [changes.get(name, getattr(packed, name)) for name in names]
    core = _core.PackedBlendshapes(num_shapes, num_vertices, *arrays)
    mass, out = torch.ones(num_vertices, dtype=torch.float64), torch.zeros(num_shapes, num_shapes, dtype=torch.float64)
    _core.generalized_mass_fwd(1, num_vertices, num_shapes, 1.0, None, core, mass, out, None, None, 1)


def test_packed_arrays_that_do_not_fit_are_refused() -> None:
    packed = PackedBlendshapes(local_blendshapes())
    mass_with(packed)
    for name, change, message in [
        ("vertex_crow", lambda x: x + 1, "vertex_crow must"),
        ("vertex_crow", lambda x: x * 1000, "vertex_crow must not rise beyond the vertices"),
        ("shape_crow", lambda x: x.flip(0), "shape_crow must rise from 0"),
        ("vertices", lambda x: x + 1, "vertex holds an index out of range"),
        ("vertices", lambda x: x - 1, "vertex holds an index out of range"),
        ("vertices", lambda x: x[1:], "vertex must have 700 elements, got 699"),
        ("shapes", lambda x: x + 9, "shape holds an index out of range"),
        ("shapes", lambda x: torch.zeros_like(x), "shape must rise within each group"),
        ("lanes", lambda x: x[1:], r"values must have \d+ elements"),
        ("lanes", lambda x: x.float(), "values must be float64, got float32"),
    ]:
        with pytest.raises(ValueError, match=message):
            mass_with(packed, **{name: change(getattr(packed, name))})


def test_sorted_entries_that_do_not_fit_are_refused() -> None:
    p = force_problem(num_vertices=700)
    packed = PackedBlendshapes(local_blendshapes())
    entries = packed.sorted_entries(p.distribution)
    num_shapes, num_vertices, _ = packed.shape
    index = packed.vertex_crow, packed.shape_crow, packed.vertices, packed.shapes, packed.rows
    core = _core.PackedBlendshapes(num_shapes, num_vertices, *index)
    arguments = core_index(p.distribution.index), p.distribution.val, None
    out = torch.zeros(num_shapes, 4, 3, dtype=torch.float64)

    def run(**changes: Tensor) -> None:
        arrays = entries._replace(**changes)
        core_entries = _core.SortedEntries(*arrays)
        _core.reduced_projection_fwd(*arguments, num_shapes, None, core, core_entries, out, 1)

    run()
    for name, change, message in [
        ("group_crow", lambda x: x.flip(0), "group_crow must rise from 0"),
        ("group_crow", lambda x: torch.cat([x, x[-1:]]), r"group_crow must have \d+ elements"),
        ("muscle", lambda x: x + 4, "muscle holds an index out of range"),
        ("list_crow", lambda x: x.index_fill(0, torch.tensor([1]), 10**6), "list_crow must rise from 0"),
        ("list_crow", lambda x: x * 1000, "list_crow must not rise beyond the entries"),
        ("vertex", lambda x: x + _LARGEST, "vertex holds an index out of range"),
        ("vertex", lambda x: x[1:], r"vertex must have \d+ elements"),
        ("entry", lambda x: x - p.distribution.nnz, "entry holds an index out of range"),
        ("entry", lambda x: x[1:], r"entry must have \d+ elements"),
        ("entry", lambda x: x.long(), "entry must be int32, got int64"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(**{name: change(getattr(entries, name))})


def test_kernels_of_other_devices_do_not_get_them() -> None:
    packed = PackedBlendshapes(torch.ones(2, 4, 3))
    index = packed.vertex_crow, packed.shape_crow, packed.vertices, packed.shapes, packed.lanes
    core = _core.PackedBlendshapes(2, 4, *index)
    mass, out = torch.ones(4), torch.zeros(2, 2)
    message = "this build has no CUDA kernels" if not _core.cuda else "packed blendshapes are read by CPU kernels only"
    with pytest.raises(ValueError, match=message):
        _core.generalized_mass_fwd(1, 4, 2, 1.0, None, core, mass, out, None, None, (0, 0))
    with pytest.raises(ValueError, match="packed blendshapes have other sizes than the call"):
        _core.generalized_mass_fwd(1, 5, 2, 1.0, None, core, mass, out, None, None, 1)
