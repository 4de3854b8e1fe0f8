"""Which way a rig looks, from its shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biomechau.rig import FaceRig
from biomechau.rig.orientation import face_normal

Z_UP = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # from y up and z to the front to z up and -y to the front
DIAGONAL = torch.linalg.matrix_exp(torch.tensor([[0, -0.7, 0], [0.7, 0, 0], [0, 0, 0]])) @ Z_UP
LEANING = torch.linalg.matrix_exp(torch.tensor([[0, -0.6, 0.5], [0.6, 0, 0.7], [-0.5, -0.7, 0]]))


def turned(rig: FaceRig, turn: torch.Tensor) -> FaceRig:
    return replace(
        rig,
        neutral=rig.neutral @ turn.T,
        blendshapes=rig.blendshapes @ turn.T,
        identity=torch.empty(0),
        identity_names=(),
    )


def test_the_usual_axes_are_exact(tiny_rig: FaceRig) -> None:
    assert torch.equal(tiny_rig.axes, torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize(
    "turn", [Z_UP, Z_UP @ Z_UP, Z_UP.T, DIAGONAL], ids=["z up", "upside down", "y down", "diagonal"]
)
def test_the_face_is_turned_upright(tiny_rig: FaceRig, turn: torch.Tensor) -> None:
    rig = turned(tiny_rig, turn)
    torch.testing.assert_close(rig.axes.float() @ turn, torch.eye(3), atol=0.05, rtol=0)


def test_a_leaning_face_stands_within_its_own_tilt(tiny_rig: FaceRig) -> None:
    axes = turned(tiny_rig, LEANING).axes
    torch.testing.assert_close(axes @ axes.T, torch.eye(3, dtype=torch.float64))
    assert (axes.float() @ LEANING).diagonal().min() > 0.95


@pytest.mark.parametrize("turn", [torch.eye(3), Z_UP], ids=["y up", "z up"])
def test_without_names_the_faces_point_to_the_front(tiny_rig: FaceRig, turn: torch.Tensor) -> None:
    rig = replace(turned(tiny_rig, turn), names=tuple(f"shape {n}" for n in range(8)))
    torch.testing.assert_close(rig.axes.float() @ turn, torch.eye(3), atol=1e-6, rtol=0)


def test_a_head_that_is_open_at_the_neck_does_not_look_up(tiny_rig: FaceRig) -> None:
    """What points up is a skull that no shape moves: five sides of a box around the face, larger than it."""
    low, high = torch.tensor([-30.0, -30, -60]), torch.tensor([30.0, 40, -10])
    corners = torch.stack([torch.where(torch.tensor([n & 1, n & 2, n & 4]) > 0, high, low) for n in range(8)])
    sides = [(2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5), (0, 2, 3, 1), (4, 5, 7, 6)]  # top, right, left, back, front
    box = torch.tensor([triangle for a, b, c, d in sides for triangle in ((a, b, c), (a, c, d))])
    rig = replace(
        tiny_rig,
        neutral=torch.cat([tiny_rig.neutral, corners]),
        faces=torch.cat([tiny_rig.faces, box + tiny_rig.num_vertices]),
        blendshapes=torch.nn.functional.pad(tiny_rig.blendshapes, (0, 0, 0, 8)),
        identity=torch.empty(0),
        identity_names=(),
    )
    normal = face_normal(rig.neutral, rig.faces)
    assert normal is not None
    assert normal[1] > 0.9
    assert torch.equal(rig.axes, torch.eye(3, dtype=torch.float64))


def test_a_whole_head_of_ict_stands_upright(ict_folder: Path) -> None:
    rig = FaceRig.from_ict(ict_folder, "head", identity=False)
    assert torch.equal(rig.axes, torch.eye(3, dtype=torch.float64))


def test_faces_that_are_inside_out_do_not_turn_it(tiny_rig: FaceRig) -> None:
    assert torch.equal(replace(tiny_rig, faces=tiny_rig.faces.flip(1)).axes, tiny_rig.axes)
