"""What is kept of a sequence to play it back: the coarse face, its forces, what they leave unexplained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from biomechau.corpus import FaceSequence
from biomechau.physics import PhysicsConfig
from biomechau.reports.face_scene import FaceScene
from biomechau.reports.forces_report import ForcesReport, analyse
from biomechau.reports.replay import Replay
from biomechau.rig import FaceRig


@pytest.mark.parametrize("config", [PhysicsConfig(), PhysicsConfig(force="vector"), PhysicsConfig.paper()])
def test_a_scene_has_the_forces_of_the_face(tiny_rig: FaceRig, clip: FaceSequence, config: PhysicsConfig) -> None:
    report = analyse(clip, tiny_rig, config)
    found = FaceScene.of(report).vertex_force(report.forces)
    for frame in (3, 20):
        np.testing.assert_allclose(found[frame], report.vertex_force(report.forces[frame]), rtol=2e-4, atol=1e-3)


def test_a_coarse_scene_has_vertices_and_motion_of_the_rig() -> None:
    rig = FaceRig.builtin(1000)
    coefficients = torch.zeros(10, rig.num_shapes)
    coefficients[:, rig.names.index("jawOpen")] = torch.linspace(0, 1, 10)
    time = torch.arange(10, dtype=torch.float64) / 25
    report = analyse(
        FaceSequence("jaw", coefficients, rig.names, time, torch.ones(10, dtype=torch.bool), 25.0, "test"), rig
    )
    scene = FaceScene.of(report, 400)
    own = int(scene.faces.max()) + 1
    assert 390 <= own <= 410
    place = torch.cdist(scene.neutral[:own].double(), rig.neutral.double()).argmin(1)
    assert len(place.unique()) == own
    torch.testing.assert_close(scene.neutral[:own], rig.neutral[place].float())
    torch.testing.assert_close(scene.blendshapes[:, :own], report.dynamics.blendshapes[:, place])
    # The mouth is backed by vertices of its own, whose rim is that of the face, and which no muscle colours.
    assert len(scene.backing) > 5
    assert int(scene.backing.min()) >= own
    assert not scene.fields[:, own:].any()
    rims = scene.backing[:, :2].unique()
    assert torch.cdist(scene.neutral[rims], scene.neutral[:own]).amin(1).max() < 1e-6


def test_the_residual_is_what_the_forces_do_not_move(report: ForcesReport) -> None:
    replay = report.replay()
    assert replay.motion is not None
    assert replay.residual is not None
    seen = report.result.coefficients
    vertices = report.dynamics.deform(seen[20]).double()
    square = (report.rig.vertex_masses.double()[:, None] * vertices.square()).sum()
    assert float(replay.motion[20]) == pytest.approx(10 * float(square.sqrt()), rel=1e-4)
    assert float(replay.residual[0]) == 0
    # The muscles explain this smile.
    assert float(replay.residual.max()) < 0.1 * float(replay.motion.max())


def test_the_residual_of_the_law_without_springs_stays_bounded(tiny_rig: FaceRig, clip: FaceSequence) -> None:
    replay = analyse(clip, tiny_rig, PhysicsConfig.paper()).replay()
    assert replay.motion is not None
    assert replay.residual is not None
    assert float(replay.residual.max()) < float(replay.motion.max())


def test_what_is_written_is_read(report: ForcesReport, tmp_path: Path) -> None:
    replay = report.replay()
    replay.save(tmp_path / "replay.safetensors")
    found = Replay.load(tmp_path / "replay.safetensors")
    for name in ("name", "identifiers", "action_units", "force_unit", "vertex_force_unit", "residual_of"):
        assert getattr(found, name) == getattr(replay, name)
    for name in ("timestamp", "valid", "coefficients", "forces", "motion", "residual"):
        assert torch.equal(getattr(found, name), getattr(replay, name))
    assert found.probabilities is None
    for name, tensor in replay.scene.tensors().items():
        assert torch.equal(getattr(found.scene, name), tensor)
    (tmp_path / "other").write_text("")
    assert (tmp_path / "replay.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert found.asymmetry()["zygomaticus_major"] == pytest.approx(0.5, abs=0.1)


def test_broken_files_are_refused_by_name(report: ForcesReport, tmp_path: Path) -> None:
    path = tmp_path / "replay.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="replay.safetensors: not a safetensors file"):
        Replay.load(path)
    save_file({"timestamp": torch.zeros(3)}, path, {"format": "other"})
    with pytest.raises(ValueError, match="expected 'biomechau-replay', version '1', found 'other', version None"):
        Replay.load(path)
    save_file({"timestamp": torch.zeros(3)}, path, {"format": "biomechau-replay", "version": "1", "about": "{}"})
    with pytest.raises(ValueError, match="not a whole biomechau-replay"):
        Replay.load(path)
