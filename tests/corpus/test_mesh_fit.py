"""Meshes that do not lie as the rig: what is left over, what is said of it, and the options that put it right."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from biomechau.corpus import FaceSequence, read_npz, read_sequence
from biomechau.corpus.mesh_axes import parse_axes
from biomechau.corpus.mesh_fit import MOST_LEFT_OVER
from biomechau.rig import FaceRig

FRAMES, FPS = 40, 25.0


@pytest.fixture
def truth(tiny_rig: FaceRig) -> Tensor:
    """A smile of the left side, with the jaw (T, K)."""
    time = torch.arange(FRAMES) / FPS
    coefficients = torch.zeros(FRAMES, tiny_rig.num_shapes)
    coefficients[:, tiny_rig.names.index("mouthSmile_L")] = 0.4 * (1 - torch.cos(math.pi * time))
    coefficients[:, tiny_rig.names.index("jawOpen")] = 0.2 * torch.sin(math.pi * time / 3) ** 2
    return coefficients


@pytest.fixture
def meshes(tiny_rig: FaceRig, truth: Tensor) -> Tensor:
    return tiny_rig.neutral + torch.tensordot(truth, tiny_rig.blendshapes, 1)


def turned(meshes: Tensor, axis: int, rate: float) -> Tensor:
    """The head turning about an axis at so many radians a second."""
    generator = torch.zeros(3, 3)
    generator[(axis + 1) % 3, (axis + 2) % 3], generator[(axis + 2) % 3, (axis + 1) % 3] = -rate / FPS, rate / FPS
    return torch.stack([mesh @ torch.linalg.matrix_exp(n * generator) for n, mesh in enumerate(meshes)])


def read(tmp_path: Path, rig: FaceRig, meshes: Tensor, **options: object) -> FaceSequence:
    np.savez(tmp_path / "take.npz", vertices=meshes.numpy(), fps=FPS)
    return read_sequence(tmp_path / "take.npz", rig, **options)  # type: ignore[arg-type]


def moved(meshes: Tensor) -> Tensor:
    return meshes + torch.arange(FRAMES)[:, None, None] * torch.tensor([0.0, 4.0, 0.0]) / FPS


PLACES = {
    "moved": (moved, "--rigid"),
    "drifting": (lambda meshes: meshes + 0.1 * (moved(meshes) - meshes), "--rigid"),
    "off": (lambda meshes: meshes + torch.tensor([1.0, 0.0, 0.0]), "--rigid"),
    "turned": (lambda meshes: turned(meshes, 1, 0.7), "--rigid"),
    "nodding": (lambda meshes: turned(meshes, 0, 0.2), "--rigid"),
    "z up": (lambda meshes: meshes[..., [0, 2, 1]] * torch.tensor([1.0, -1, 1]), "--axes=x,z,-y"),
    "x to the front": (lambda meshes: meshes[..., [2, 0, 1]], "--axes=y,z,x"),
    "upside down": (lambda meshes: meshes * torch.tensor([-1.0, -1, 1]), "--axes=-x,-y,z"),
    "z up and moved": (lambda meshes: moved(meshes)[..., [0, 2, 1]] * torch.tensor([1.0, -1, 1]), "--rigid"),
}


def test_plain_meshes_leave_nothing_over(tiny_rig: FaceRig, tmp_path: Path, truth: Tensor, meshes: Tensor) -> None:
    for options in ({}, {"rigid": True}):
        sequence = read(tmp_path, tiny_rig, meshes, **options)
        torch.testing.assert_close(sequence.coefficients, truth, atol=5e-3, rtol=0)
        assert sequence.notes == ()
        assert sequence.left_over is not None
        assert sequence.left_over.shape < 1e-4
        assert sequence.left_over.motion < 1e-4
        assert sequence.left_over.residual.shape == (FRAMES,)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_placed_otherwise_is_said_and_mended(
    tiny_rig: FaceRig, tmp_path: Path, truth: Tensor, meshes: Tensor, place: str
) -> None:
    change, option = PLACES[place]
    sequence = read(tmp_path, tiny_rig, change(meshes))
    assert sequence.left_over is not None
    assert sequence.left_over.shape > 1.4 * MOST_LEFT_OVER
    (note,) = sequence.notes
    assert f"the rig does not fit the meshes: {sequence.left_over.shape:.0%} of their shape and" in note
    assert option in note
    name, _, value = option.partition("=")
    mended = read(tmp_path, tiny_rig, change(meshes), **({"axes": value} if name == "--axes" else {"rigid": True}))
    torch.testing.assert_close(mended.coefficients, truth, atol=5e-3, rtol=0)
    assert mended.notes == ()


def test_shares_are_those_of_shape_and_motion(tiny_rig: FaceRig, tmp_path: Path, meshes: Tensor) -> None:
    """Half of the motion is a shape that the rig lacks; a shape at rest that it lacks is no motion."""
    weights = (tiny_rig.vertex_masses / tiny_rig.vertex_masses.sum())[:, None]
    shape = torch.randn(99, 3, generator=torch.Generator().manual_seed(1))
    basis = torch.cat([tiny_rig.blendshapes.flatten(1)])
    weighted = (weights.expand(-1, 3).flatten().sqrt() * basis).T
    flat = weights.expand(-1, 3).flatten().sqrt() * shape.flatten()
    flat = flat - weighted @ torch.linalg.lstsq(weighted, flat[:, None]).solution[:, 0]
    other = (flat / weights.expand(-1, 3).flatten().sqrt()).reshape(99, 3)
    known = meshes - tiny_rig.neutral
    size = float((weights * known.square()).sum() / (weights * other.square()).sum())
    wave = torch.sin(torch.arange(FRAMES) * 2 * math.pi / FRAMES)
    moving = meshes + math.sqrt(size / float(wave.square().sum())) * wave[:, None, None] * other
    found = read(tmp_path, tiny_rig, moving).left_over
    assert found is not None
    assert found.shape == pytest.approx(0.5, abs=0.01)
    assert found.motion > 0.5
    resting = read(tmp_path, tiny_rig, meshes + math.sqrt(size / FRAMES) * other).left_over
    assert resting is not None
    assert resting.shape == pytest.approx(0.5, abs=0.01)
    assert resting.motion < 1e-3


def test_noise_is_no_reason_to_warn(tiny_rig: FaceRig, tmp_path: Path, meshes: Tensor) -> None:
    noise = torch.randn(meshes.shape, generator=torch.Generator().manual_seed(0))
    assert read(tmp_path, tiny_rig, meshes + 0.01 * noise).notes == ()
    assert read(tmp_path, tiny_rig, tiny_rig.neutral + 0.01 * noise).notes == ()


def test_another_person_is_said(tiny_rig: FaceRig, tmp_path: Path, meshes: Tensor) -> None:
    for rigid in (False, True):
        (note,) = read(tmp_path, tiny_rig, meshes + 0.6 * tiny_rig.identity[0], rigid=rigid).notes
        assert "are they of another person?" in note


@pytest.mark.parametrize("flip", [(-1.0, 1, 1), (1, 1, -1.0)])
@pytest.mark.parametrize("rigid", [False, True])
def test_a_mirror_is_refused(
    tiny_rig: FaceRig, tmp_path: Path, meshes: Tensor, flip: tuple[float, ...], rigid: bool
) -> None:
    words = "-x,y,z" if flip[0] < 0 else "x,y,-z"
    with pytest.raises(ValueError, match=rf"take\.npz: the mesh is a mirror image of the rig.*axes would be {words}"):
        read(tmp_path, tiny_rig, turned(meshes * torch.tensor(flip), 1, 0.7), rigid=rigid)


def test_two_axes_exchanged_are_a_mirror(tiny_rig: FaceRig, tmp_path: Path, meshes: Tensor) -> None:
    with pytest.raises(ValueError, match="a mirror image of the rig.*axes would be x,z,y"):
        read(tmp_path, tiny_rig, meshes[..., [0, 2, 1]])


@pytest.mark.parametrize("axes", ["-x,y,z", "x,z,y", "y,x,z", "-x,-y,-z"])
def test_axes_that_are_a_mirror_are_refused(axes: str) -> None:
    with pytest.raises(ValueError, match=f"axes {axes} are a reflection, which swaps left and right"):
        parse_axes(axes)


@pytest.mark.parametrize("axes", ["", "x,y", "x,y,z,x", "x,x,z", "x,y,w", "--x,y,z", "xyz"])
def test_what_are_no_axes(axes: str) -> None:
    with pytest.raises(ValueError, match=r"axes must be x, y and z in any order and with any sign, .* got"):
        parse_axes(axes)


def test_axes_say_where_the_axes_of_the_rig_are() -> None:
    torch.testing.assert_close(
        parse_axes("x, Z,-y") @ torch.tensor([1.0, 2, 3]).double(), torch.tensor([1.0, 3, -2]).double()
    )


def test_the_first_axes_are_kept_in_the_advice(tiny_rig: FaceRig, tmp_path: Path, meshes: Tensor) -> None:
    lying = meshes[..., [0, 2, 1]] * torch.tensor([1.0, -1, 1])
    (note,) = read(tmp_path, tiny_rig, lying, axes="-x,-z,-y").notes
    assert "--axes=x,z,-y leaves 0.0%" in note


def test_options_of_meshes_need_meshes(tmp_path: Path) -> None:
    np.savez(tmp_path / "take.npz", coefficients=np.zeros((3, 1), "f4"), names=np.array(["jawOpen"]), fps=25)
    for options in ({"rigid": True}, {"scale": 0.1}, {"axes": "x,z,-y"}):
        with pytest.raises(ValueError, match=r"take\.npz: not meshes, so --rigid, --scale and --axes have no effect"):
            read_sequence(tmp_path / "take.npz", **options)  # type: ignore[arg-type]
    assert read_npz(tmp_path / "take.npz").left_over is None
