"""Holes of a mesh."""

from __future__ import annotations

import numpy as np

from biomechau.rig.mesh_holes import backing, mesh_holes


def grid(size: int) -> np.ndarray:
    corner = (np.arange(size - 1)[:, None] * size + np.arange(size - 1)).ravel()[:, None]
    return np.vstack([corner + np.array([0, 1, size + 1]), corner + np.array([0, size + 1, size])])


PLANE = np.stack([np.arange(49) % 7, np.arange(49) // 7, np.zeros(49)], 1)


def test_holes_are_the_inner_boundaries() -> None:
    faces = grid(7)
    assert mesh_holes(PLANE, faces) == []
    around_middle = (faces == 24).any(1)
    (hole,) = mesh_holes(PLANE, faces[~around_middle])
    assert set(hole.ravel()) == set(faces[around_middle].ravel()) - {24}


def test_the_outline_is_the_boundary_that_measures_most() -> None:
    faces = grid(7)
    holed = faces[~(faces == 24).any(1)]
    stretched = PLANE.copy()
    stretched[[17, 24, 31], 0] += 100.0  # the rim of the hole is now longer than the border of the grid
    (border,) = mesh_holes(stretched, holed)
    assert len(border) == 24


def test_a_mesh_of_two_pieces_has_no_holes_to_fill() -> None:
    faces = grid(7)
    holed = faces[~(faces == 24).any(1)]
    assert mesh_holes(np.vstack([PLANE, PLANE]), np.vstack([holed, holed + 49])) == []


def test_a_fan_closes_a_hole_from_behind() -> None:
    faces = grid(7)
    (hole,) = mesh_holes(PLANE, faces[~(faces == 24).any(1)])
    points, triangles = backing(PLANE, hole)
    assert points.shape == (7, 3)
    assert points[-1].tolist() == [3.0, 3.0, -0.5]
    edges = {frozenset(map(tuple, points[triangle[:2]])) for triangle in triangles}
    assert edges == {frozenset(map(tuple, PLANE[edge])) for edge in hole}
    assert (triangles[:, 2] == 6).all()
