"""Rendered faces, curves and the picture files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from biomechau.analysis import CaptureForces, analyse
from biomechau.corpus import FaceSequence
from biomechau.reports._render import FaceRenderer, overlay_colours
from biomechau.reports.curves import ForceCurves
from biomechau.reports.figures import FacePicture, forces_figure
from biomechau.reports.picture_files import draw_forces, draw_performance, draw_shapes
from biomechau.rig import FaceRig
from biomechau.rig.muscles import split_identifier

pytest.importorskip("pyvista")
matplotlib = pytest.importorskip("matplotlib")
imread = pytest.importorskip("matplotlib.image").imread


def luminance(colour: np.ndarray) -> np.ndarray:
    return colour @ np.array([0.2126, 0.7152, 0.0722])


def assert_picture(path: Path, min_width: int) -> None:
    image = imread(path)[..., :3]
    assert image.shape[1] >= min_width
    assert image.std() > 0.05
    # The border is white: nothing is cut off.
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert edge.min() > 0.99


def curves(num_frames: int = 30) -> ForceCurves:
    time = np.arange(num_frames) / 25
    strength = np.stack([np.sin(time), 0.2 * np.sin(time), 0.5 * np.sin(time)], 1)
    valid = np.ones(num_frames, bool)
    valid[3:6] = False
    return ForceCurves(time, strength, ("a_b_left", "a_b_right", "c"), valid, "force")


def test_more_force_is_always_darker() -> None:
    brightness = luminance(overlay_colours(np.linspace(0, 1, 201)))
    assert (np.diff(brightness) <= 0).all()
    assert (np.diff(brightness[::4]) < 0).all()


def test_overlay_is_clipped_to_its_scale() -> None:
    np.testing.assert_array_equal(overlay_colours([-1.0, 2.0]), overlay_colours([0.0, 1.0]))


def test_force_colours_the_face_where_it_is(tiny_rig: FaceRig) -> None:
    vertices, faces = tiny_rig.neutral.double().numpy(), tiny_rig.faces.numpy()
    level = np.zeros(len(vertices))
    level[vertices[:, 0] > 4] = 1.0  # the subject's left, to the right in the picture
    with FaceRenderer([vertices], faces, height=120) as renderer:
        plain, coloured = renderer.picture(vertices), renderer.picture(vertices, level)
    assert plain.shape == coloured.shape
    assert plain.dtype == np.uint8
    assert (plain[0] == 255).all()
    changed = np.abs(plain.astype(int) - coloured).sum(-1) > 30
    half = plain.shape[1] // 2
    assert changed[:, half:].mean() > 0.2
    assert not changed[:, :half].any()


def test_the_face_is_drawn_as_it_stands(tiny_rig: FaceRig) -> None:
    lying = dataclasses.replace(
        tiny_rig,
        neutral=tiny_rig.neutral[:, [0, 2, 1]] * torch.tensor([1, -1, 1]),
        blendshapes=tiny_rig.blendshapes[..., [0, 2, 1]] * torch.tensor([1, -1, 1]),
        identity=torch.empty(0),
        identity_names=(),
    )
    pictures = []
    for rig in (tiny_rig, lying):
        vertices = rig.neutral.double().numpy()
        with FaceRenderer([vertices], rig.faces.numpy(), 120, rig.axes) as renderer:
            pictures.append(renderer.picture(vertices))
    np.testing.assert_array_equal(*pictures)


def test_frame_holds_every_face_it_is_made_for(tiny_rig: FaceRig) -> None:
    neutral, faces = tiny_rig.neutral.double().numpy(), tiny_rig.faces.numpy()
    low = neutral - [0, 8, 0]
    with FaceRenderer([neutral, low], faces, height=120) as renderer:
        for vertices in (neutral, low):
            image = renderer.picture(vertices)
            assert (image[[0, -1]] == 255).all()
            assert (image[:, [0, -1]] == 255).all()
            assert (image < 250).any()


def test_identifiers_become_names_and_sides() -> None:
    assert split_identifier("zygomaticus_major_left") == ("zygomaticus major", "left")
    assert split_identifier("digastric") == ("digastric", "both")


def test_strongest_muscles_come_first_with_both_sides() -> None:
    assert curves().strongest(5) == [("a b", {"left": 0, "right": 1}), ("c", {"both": 2})]
    assert curves().strongest(1) == [("a b", {"left": 0, "right": 1})]
    reference = np.zeros((30, 3))
    reference[:, 2] = 1.0
    assert dataclasses.replace(curves(), reference=reference).strongest(1) == [("c", {"both": 2})]


def test_curves_share_one_scale_and_shade_the_gap() -> None:
    face = FacePicture(np.full((40, 30, 3), 200, np.uint8), 0.4, "here")
    figure = forces_figure(curves(), face, 2.0, "unit of the bar", "title")
    rows = [axes for axes in figure.findobj(matplotlib.axes.Axes) if axes.get_ylabel() in ("A b", "C")]
    assert len(rows) == 2
    assert len({axes.get_ylim() for axes in rows}) == 1
    for axes in rows:
        (span,) = axes.patches
        left, right = span.get_x(), span.get_x() + span.get_width()
        assert (left, right) == (pytest.approx(2.5 / 25), pytest.approx(5.5 / 25))
    words = {text.get_text() for text in figure.findobj(matplotlib.text.Text)}
    assert {
        "title",
        "here",
        "unit of the bar",
        "subject's left",
        "subject's right",
        "unpaired",
        "not measured",
    } <= words


def test_drawing_changes_no_global_state(report: CaptureForces, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    draw_forces(report, tmp_path / "forces.png")
    assert dict(matplotlib.rcParams) == before


def test_forces_picture(report: CaptureForces, tmp_path: Path) -> None:
    draw_forces(report, tmp_path / "forces.png")
    assert_picture(tmp_path / "forces.png", 1500)


def test_forces_picture_of_a_face_at_rest(tiny_rig: FaceRig, clip: FaceSequence, tmp_path: Path) -> None:
    still = dataclasses.replace(clip, coefficients=torch.zeros_like(clip.coefficients))
    draw_forces(analyse(still, tiny_rig), tmp_path / "forces.png")
    assert_picture(tmp_path / "forces.png", 1500)


def test_performance_picture(report: CaptureForces, tmp_path: Path) -> None:
    truth = torch.from_numpy(report.strength)
    draw_performance(report, truth, {"onset": 0.2, "apex": 0.8, "offset": 1.4}, tmp_path / "demo.png", "title")
    assert_picture(tmp_path / "demo.png", 1500)


@pytest.mark.slow
def test_contact_sheet_of_chosen_and_of_all_shapes(tiny_rig: FaceRig, tmp_path: Path) -> None:
    draw_shapes(tiny_rig, tmp_path / "two.png", "tiny", ["JawOpen", "mouthSmileLeft"])
    calls: list[tuple[int, int]] = []
    draw_shapes(tiny_rig, tmp_path / "all.png", "tiny", progress=lambda done, total: calls.append((done, total)))
    assert_picture(tmp_path / "two.png", 900)
    assert_picture(tmp_path / "all.png", 900)
    assert calls == [(i, 9) for i in range(1, 10)]
    with pytest.raises(ValueError, match="'jawSideways'"):
        draw_shapes(tiny_rig, tmp_path / "none.png", "tiny", ["jawSideways"])
