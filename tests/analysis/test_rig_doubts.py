"""What looks wrong about a rig."""

from __future__ import annotations

from dataclasses import replace

import torch

from biomechau.analysis.rig_doubts import face_height, rig_doubts
from biomechau.rig import FaceRig


def test_nothing_is_odd_about_good_rigs(tiny_rig: FaceRig) -> None:
    assert rig_doubts(tiny_rig) == []
    assert rig_doubts(FaceRig.builtin(1000)) == []


def test_height_is_that_of_the_face_as_it_stands(tiny_rig: FaceRig) -> None:
    turn = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    lying = replace(tiny_rig, neutral=tiny_rig.neutral @ turn, blendshapes=tiny_rig.blendshapes @ turn)
    assert face_height(lying) == face_height(tiny_rig) == 20


def test_points_without_faces_are_counted(tiny_rig: FaceRig) -> None:
    loose = torch.cat([tiny_rig.neutral, torch.zeros(3, 3)])
    shapes = torch.cat([tiny_rig.blendshapes, torch.zeros(8, 3, 3)], 1)
    (doubt,) = rig_doubts(FaceRig(loose, tiny_rig.faces, shapes, tiny_rig.names))
    assert doubt == "3 of 102 points are in no face, and have no mass"


def test_shapes_that_are_there_twice_are_named(tiny_rig: FaceRig) -> None:
    shapes = torch.cat([tiny_rig.blendshapes, 1.001 * tiny_rig.blendshapes[-1:], 0.9 * tiny_rig.blendshapes[-1:]])
    (doubt,) = rig_doubts(replace(tiny_rig, blendshapes=shapes, names=(*tiny_rig.names, "again", "less")))
    assert doubt == "shapes that are the same: jawOpen, again; their coefficients cannot be told apart"


def test_vertices_in_another_order_are_seen(tiny_rig: FaceRig) -> None:
    shapes = tiny_rig.blendshapes.clone()
    shapes[3] += tiny_rig.neutral.flip(0) - tiny_rig.neutral
    (doubt,) = rig_doubts(replace(tiny_rig, blendshapes=shapes))
    assert "move a point by more than half of the face: browDown_R;" in doubt


def test_sides_that_do_not_fit_the_face_are_seen(tiny_rig: FaceRig) -> None:
    flip = torch.tensor([-1.0, 1, 1])
    mirrored = replace(tiny_rig, neutral=tiny_rig.neutral * flip, blendshapes=tiny_rig.blendshapes * flip)
    assert rig_doubts(mirrored) == ["the rig is mirrored: its front is hollow"]
    assert rig_doubts(replace(tiny_rig, faces=tiny_rig.faces.flip(1))) == ["the faces of the rig are inside out"]
    swapped = tuple(name[:-1] + {"L": "R", "R": "L"}.get(name[-1], name[-1]) for name in tiny_rig.names)
    (doubt,) = rig_doubts(replace(tiny_rig, names=swapped))
    assert doubt.startswith("the shapes of the left are on the right of the face")
