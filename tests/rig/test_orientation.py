"""Which way a rig looks, from its shapes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from biomechau.rig import FaceRig

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


def test_faces_that_are_inside_out_do_not_turn_it(tiny_rig: FaceRig) -> None:
    assert torch.equal(replace(tiny_rig, faces=tiny_rig.faces.flip(1)).axes, tiny_rig.axes)
