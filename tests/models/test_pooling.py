"""Mesh hierarchies: what is kept, and that it is still the face."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from biomechau.models.pooling import Level, MeshHierarchy, coarsen
from biomechau.rig import FaceRig


@pytest.fixture(scope="module")
def face() -> FaceRig:
    return FaceRig.builtin(1000)


def test_sizes_are_met(face: FaceRig) -> None:
    hierarchy = MeshHierarchy.from_rig(face)
    assert [level.num_vertices for level in hierarchy.levels] == [1000, 250, 63, 16, 4]
    assert torch.equal(hierarchy.levels[0].kept, torch.arange(1000))
    assert torch.equal(hierarchy.levels[0].edges, face.edges[torch.argsort(face.edges @ torch.tensor([1000, 1]))])


def test_sizes_of_the_ict_face(ict_rig: FaceRig) -> None:
    levels = MeshHierarchy.from_rig(ict_rig).levels
    assert [level.num_vertices for level in levels] == [9409, 2353, 589, 148, 37]


def test_fewer_input_vertices(face: FaceRig) -> None:
    levels = MeshHierarchy.from_rig(face, num_poolings=2, factor=2, num_input_vertices=301).levels
    assert [level.num_vertices for level in levels] == [301, 151, 76]
    # Never more than there are.
    assert MeshHierarchy.from_rig(face, 0, num_input_vertices=5000).levels[0].num_vertices == 1000


def test_levels_cover_the_face_and_are_connected(face: FaceRig) -> None:
    """Each original vertex has a kept one nearby, and neighbours in a coarse mesh are neighbours in space."""
    positions = face.neutral
    for level, reach in zip(MeshHierarchy.from_rig(face).levels[1:4], (2.2, 4.5, 7.0), strict=True):
        positions = positions[level.kept]
        assert torch.cdist(face.neutral, positions).amin(1).max() < reach  # cm, of a face of 19 cm
        length = (positions[level.edges[:, 0]] - positions[level.edges[:, 1]]).norm(dim=1)
        assert length.max() < 3 * reach
        reached = torch.zeros(level.num_vertices, dtype=torch.bool)
        reached[0] = True
        for _ in range(level.num_vertices):
            touched = level.edges[reached[level.edges].any(1)]
            reached[touched.flatten()] = True
        assert reached.all()
        assert (level.edges[:, 0] < level.edges[:, 1]).all()


def test_is_deterministic_and_survives_a_file(face: FaceRig) -> None:
    first, second = (MeshHierarchy.from_rig(face).tensors() for _ in range(2))
    again = MeshHierarchy.from_tensors(first).tensors()
    assert first.keys() == second.keys() == again.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
        assert torch.equal(tensor, again[name])


def test_vertices_in_no_triangle_do_no_harm(tiny_rig: FaceRig) -> None:
    loose = dataclasses.replace(
        tiny_rig,
        neutral=torch.cat([tiny_rig.neutral, torch.full((1, 3), 50.0)]),
        blendshapes=torch.cat([tiny_rig.blendshapes, torch.zeros(8, 1, 3)], 1),
        identity=torch.empty(0),
        identity_names=(),
    )
    levels = MeshHierarchy.from_rig(loose, 2).levels
    assert levels[0].num_vertices == 100
    assert levels[1].num_vertices <= 26
    assert levels[2].num_vertices <= levels[1].num_vertices


def test_coarsening_never_grows_and_stops_where_it_must() -> None:
    positions = torch.eye(3, dtype=torch.float64).numpy()
    kept, faces = coarsen(positions, torch.tensor([[0, 1, 2]]).numpy(), 1)
    assert 1 <= len(kept) <= 3
    assert faces.size == 0 or faces.max() < len(kept)


def test_bad_arguments(tiny_rig: FaceRig) -> None:
    with pytest.raises(ValueError, match="factor must be above 1"):
        MeshHierarchy.from_rig(tiny_rig, factor=1)
    with pytest.raises(ValueError, match="num_poolings must be at least 0"):
        MeshHierarchy.from_rig(tiny_rig, -1)
    with pytest.raises(ValueError, match="num_input_vertices must be at least 4, got 3"):
        MeshHierarchy.from_rig(tiny_rig, num_input_vertices=3)
    with pytest.raises(ValueError, match="at least one level"):
        MeshHierarchy(3, ())
    no_edges = torch.empty(0, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="level 0 must keep some of the 3"):
        MeshHierarchy(3, (Level(torch.tensor([1, 3]), no_edges),))
    with pytest.raises(ValueError, match="level 0 must keep each vertex once"):
        MeshHierarchy(3, (Level(torch.tensor([1, 1]), no_edges),))
