"""Inverse dynamics of a capture, and its summary."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from biomechau.analysis import CaptureForces, analyse
from biomechau.corpus import FaceSequence
from biomechau.physics import InverseOptions, PhysicsConfig
from biomechau.reports.output import to_json
from biomechau.rig import FaceRig, Muscles
from biomechau.rig.distribution import muscle_displacements


@pytest.fixture(scope="module")
def vector_report(tiny_rig: FaceRig, clip: FaceSequence) -> CaptureForces:
    return analyse(clip, tiny_rig, PhysicsConfig(force="vector"))


def column(report: CaptureForces, identifier: str) -> np.ndarray:
    return report.strength[:, report.identifiers.index(identifier)]


def test_forces_follow_the_muscles_that_move(report: CaptureForces) -> None:
    smile = report.coefficients[:, report.dynamics.shape_names.index("mouthSmile_L")].numpy()
    assert np.corrcoef(column(report, "zygomaticus_major_left"), smile)[0, 1] > 0.9
    assert column(report, "zygomaticus_major_left").max() == pytest.approx(0.9, rel=0.15)
    assert column(report, "digastric").max() == pytest.approx(0.5, rel=0.15)
    assert column(report, "frontalis_medialis_left").max() < 0.05


def test_the_strongest_frame_leads_the_apex(report: CaptureForces) -> None:
    # Damped skin follows its force by 2 zeta / w0 = 0.1 s; the apex is frame 19 or 20.
    assert 15 <= report.strongest_frame <= 18
    assert report.strongest_frame == report.strength.sum(1).argmax()


def test_a_frame_that_was_not_captured_is_never_the_strongest(tiny_rig: FaceRig, clip: FaceSequence) -> None:
    valid = clip.valid.clone()
    valid[15:25] = False
    report = analyse(dataclasses.replace(clip, valid=valid), tiny_rig)
    summary = report.summary()
    assert not report.sequence.valid[15:25].any()
    assert report.sequence.valid[report.strongest_frame]
    assert set(range(15, 25)) <= set(summary["frames"]["filled"])
    kept = column(report, "zygomaticus_major_left")[report.sequence.valid.numpy()]
    assert summary["muscles"]["zygomaticus_major_left"]["peak"] == pytest.approx(kept.max())
    assert summary["muscles"]["zygomaticus_major_left"]["mean"] == pytest.approx(kept.mean())


def test_the_capture_is_resampled_to_the_rate_of_the_model(tiny_rig: FaceRig, clip: FaceSequence) -> None:
    report = analyse(clip, tiny_rig, PhysicsConfig(fps=50))
    assert report.sequence.fps == 50
    assert len(report.strength) == len(report.sequence) == 79


def test_summary_says_which_side_is_stronger(report: CaptureForces) -> None:
    index = report.summary()["ratio_of_sums"]
    assert index["zygomaticus_major"] == pytest.approx(0.5, abs=0.08)
    assert set(index) == {"frontalis_medialis", "corrugator_supercilii", "zygomaticus_major"}


def test_summary_survives_json(report: CaptureForces) -> None:
    summary = report.summary()
    assert json.loads(to_json(summary)) == summary
    assert summary["physics"]["law"] == "elastic"
    assert summary["frames"]["count"] == 40
    assert 0 <= summary["residual_share"] < 0.1
    assert summary["rank"] == summary["unknowns"] == 8
    assert summary["null_space_dimension"] == 0
    assert "zygomaticus_minor_left" in summary["muscles_left_out"]
    assert any("levator_palpebrae_left" in warning for warning in summary["warnings"])


def test_a_muscle_whose_channel_is_absent_is_marked(tiny_rig: FaceRig, clip: FaceSequence) -> None:
    kept = [i for i, name in enumerate(clip.channels) if name != "jawOpen"]
    channels = (*(clip.channels[i] for i in kept), "TongueOut")
    coefficients = torch.cat([clip.coefficients[:, kept], clip.coefficients[:, :1]], 1)
    summary = analyse(dataclasses.replace(clip, coefficients=coefficients, channels=channels), tiny_rig).summary()
    assert summary["channels"]["missing_shapes"] == ["jawOpen"]
    assert summary["channels"]["unused"] == ["TongueOut"]
    assert not summary["muscles"]["digastric"]["measured"]
    assert summary["muscles"]["incisivii_labii"]["measured"]


def test_a_face_at_rest_has_no_forces(tiny_rig: FaceRig, clip: FaceSequence) -> None:
    report = analyse(dataclasses.replace(clip, coefficients=torch.zeros_like(clip.coefficients)), tiny_rig)
    assert (report.strength == 0).all()
    assert set(report.summary()["ratio_of_sums"].values()) == {None}
    still = "no shape moves by 0.01: forces of a face at rest say little"
    assert still in report.warnings
    held = dataclasses.replace(clip, coefficients=torch.full_like(clip.coefficients, 0.4))
    assert still in analyse(held, tiny_rig).warnings
    assert still not in analyse(clip, tiny_rig).warnings


def test_a_filter_that_does_nothing_and_forces_that_explain_little_are_told(
    tiny_rig: FaceRig, clip: FaceSequence
) -> None:
    left_out = analyse(clip, tiny_rig, options=InverseOptions(cutoff=12.4)).warnings  # of a small rig
    found = analyse(clip, tiny_rig, options=InverseOptions(cutoff=12.5)).warnings
    told = "the cutoff of 12.5 Hz is not below half the frame rate, 12.5 Hz: nothing is smoothed"
    assert found == (*left_out, told)
    found = analyse(clip, tiny_rig, options=InverseOptions(sparsity=1000)).warnings
    assert found == (*left_out, "the forces explain 0% of the motion of the muscles' shapes: they are in doubt")


def test_coefficients_far_outside_their_range_are_in_doubt(tiny_rig: FaceRig, clip: FaceSequence) -> None:
    assert not any("in doubt" in warning for warning in analyse(clip, tiny_rig).warnings)
    for factor, words in ((5.0, "those of blendshapes from 0 to 1"), (-1.0, "coefficients go from -")):
        found = analyse(dataclasses.replace(clip, coefficients=factor * clip.coefficients), tiny_rig)
        assert any(words in warning for warning in found.warnings)


def test_channels_that_drive_nothing_are_an_error(tiny_rig: FaceRig, clip: FaceSequence) -> None:
    foreign = dataclasses.replace(clip, channels=tuple(f"x{i}" for i in range(8)))
    with pytest.raises(ValueError, match="clip: none of its 8 channels drives a shape"):
        analyse(foreign, tiny_rig)


def test_too_few_frames_are_an_error(tiny_rig: FaceRig, clip: FaceSequence) -> None:
    with pytest.raises(ValueError, match="at least 3 frames at 2 fps, found 2"):
        analyse(dataclasses.replace(clip, timestamp=clip.timestamp / 2), tiny_rig, PhysicsConfig(fps=2))


def test_options_and_muscles_are_passed_on(tiny_rig: FaceRig, clip: FaceSequence) -> None:
    smile = Muscles(muscle for muscle in Muscles.facs() if muscle.name == "zygomaticus_major")
    calls: list[tuple[int, int]] = []
    report = analyse(
        clip,
        tiny_rig,
        options=InverseOptions(sparsity=0.2),
        muscles=smile,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert report.identifiers == smile.names
    assert report.summary()["inverse"]["sparsity"] == 0.2
    assert calls
    assert report.warnings == ()


def test_vector_forces_are_measured_by_their_length(vector_report: CaptureForces) -> None:
    forces = vector_report.result.forces.double().numpy()
    assert forces.shape == (40, 8, 3)
    np.testing.assert_allclose(vector_report.strength, np.sqrt((forces**2).sum(-1)))
    assert vector_report.summary()["unknowns"] == 24


def test_vertex_force_of_one_fibre_muscle_is_its_own_shape(report: CaptureForces) -> None:
    forces = torch.zeros(8)
    forces[report.identifiers.index("digastric")] = 2.0
    shape = muscle_displacements(report.rig, report.distribution.muscles)[report.identifiers.index("digastric")]
    expected = 2.0 * (2 * np.pi * 3.0) ** 2 * shape.norm(dim=-1)
    reached = report.distribution.dense()[:, report.identifiers.index("digastric")] > 0
    np.testing.assert_allclose(report.vertex_force(forces), torch.where(reached, expected, 0.0), rtol=1e-5)


def test_vertex_force_of_vectors_is_equation_1(vector_report: CaptureForces) -> None:
    forces = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    expected = vector_report.distribution.dense() @ (forces * vector_report.dynamics.force_scale[:, None])
    np.testing.assert_allclose(vector_report.vertex_force(forces), expected.norm(dim=-1), rtol=1e-4, atol=1e-6)
    assert "per vertex" in vector_report.vertex_force_unit


def test_vertices_are_the_captured_face(report: CaptureForces, tiny_rig: FaceRig) -> None:
    expected = tiny_rig.neutral + torch.tensordot(report.sequence.coefficients[20], tiny_rig.blendshapes, 1)
    np.testing.assert_allclose(report.vertices(20), expected, atol=1e-4)


def test_newton_names_its_own_unit(tiny_rig: FaceRig, clip: FaceSequence) -> None:
    assert "frame²" in analyse(clip, tiny_rig, PhysicsConfig.paper()).force_unit


def test_long_gaps_are_not_solved_for_and_change_nothing_beside_them(tiny_rig: FaceRig, clip: FaceSequence) -> None:
    later = dataclasses.replace(clip, timestamp=clip.timestamp + clip.timestamp[-1] + 600.0)
    both = dataclasses.replace(
        clip,
        coefficients=torch.cat([clip.coefficients, later.coefficients]),
        timestamp=torch.cat([clip.timestamp, later.timestamp]),
        valid=torch.cat([clip.valid, later.valid]),
        pose=torch.cat([clip.pose, later.pose]),
    )
    alone, found = analyse(clip, tiny_rig), analyse(both, tiny_rig)
    assert len(found.sequence) > 15000
    assert found.result.iterations < 3 * alone.result.iterations
    shown = found.strength[found.sequence.valid.numpy()]
    # The motion is smoothed across the edges of the gap, and the face does not start at rest there.
    np.testing.assert_allclose(shown[5:30], alone.strength[5:30], atol=0.02)
    away = torch.arange(len(clip) + 40, len(found.sequence) - len(clip) - 40)
    assert (found.strength[away] == 0).all()
