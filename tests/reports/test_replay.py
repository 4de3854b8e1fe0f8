"""What is kept of a sequence to play it back: the coarse face, its forces, what they leave unexplained."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from biomechau.analysis import CaptureForces, analyse
from biomechau.corpus import FaceSequence
from biomechau.physics import PhysicsConfig
from biomechau.reports._face_scene import FaceScene
from biomechau.reports._html_page import Shown, page
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


def test_the_residual_is_what_the_forces_do_not_move(report: CaptureForces) -> None:
    replay = Replay.of_forces(report)
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
    replay = Replay.of_forces(analyse(clip, tiny_rig, PhysicsConfig.paper()))
    assert replay.motion is not None
    assert replay.residual is not None
    assert float(replay.residual.max()) < float(replay.motion.max())


def test_what_is_written_is_read(report: CaptureForces, tmp_path: Path) -> None:
    replay = Replay.of_forces(report)
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
    assert found.ratio_of_sums()["zygomaticus_major"] == pytest.approx(0.5, abs=0.1)


def test_deviations_and_what_is_not_determined(report: CaptureForces, tmp_path: Path) -> None:
    result = dataclasses.replace(report.result, deviation=torch.full_like(report.forces, 0.2))
    told = dataclasses.replace(report, result=result, undetermined=("zygomaticus_major_left",))
    Replay.of_forces(told).save(tmp_path / "replay.safetensors")
    found = Replay.load(tmp_path / "replay.safetensors").thinned(2)
    assert found.undetermined == ("zygomaticus_major_left",)
    assert found.deviation is not None
    assert torch.equal(found.deviation, result.deviation[::2])
    script = re.search(r'id="data">(.*?)</script>', page("", [], [], [Shown(found)]), re.DOTALL)
    assert script
    data = json.loads(script[1])
    (sequence,) = data["sequences"]
    bands = np.frombuffer(zlib.decompress(base64.b64decode(sequence["bands"]["data"])), "<f4")
    assert bands == pytest.approx(np.full(20 * len(found.identifiers), 1.645 * 0.2), rel=1e-6)
    assert {muscle["name"] for muscle in sequence["muscles"] if muscle["detail"]} == {"zygomaticus major"}


def test_broken_files_are_refused_by_name(report: CaptureForces, tmp_path: Path) -> None:
    path = tmp_path / "replay.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="replay.safetensors: not a complete safetensors file"):
        Replay.load(path)
    save_file({"timestamp": torch.zeros(3)}, path, {"format": "other"})
    with pytest.raises(ValueError, match="expected 'biomechau-replay', version '1', found 'other', version None"):
        Replay.load(path)
    save_file({"timestamp": torch.zeros(3)}, path, {"format": "biomechau-replay", "version": "1", "about": "{}"})
    with pytest.raises(ValueError, match="not a whole biomechau-replay"):
        Replay.load(path)


def test_a_tensor_that_does_not_fit_is_named(report: CaptureForces, tmp_path: Path) -> None:
    path = tmp_path / "replay.safetensors"
    Replay.of_forces(report).save(path)
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    broken = tensors["forces"].clone()
    broken[3, 1] = torch.nan
    beyond = tensors["scene.faces"].clone()
    beyond[0, 0] = 10**9
    for name, tensor, message in (
        ("forces", broken, r"tensor forces is not finite at \[3, 1\]"),
        ("scene.faces", beyond, "tensor scene.faces has vertex indices beyond the"),
        (
            "coefficients",
            tensors["coefficients"][:, 1:],
            r"tensor coefficients has shape \(40, 7\), expected \(40, 8\)",
        ),
        ("valid", tensors["valid"].float(), "tensor valid is torch.float32, expected torch.bool"),
        ("motion", None, "expected the tensors forces, motion and residual, or none of them"),
        ("timestamp", None, "missing tensor timestamp"),
        ("deviation", torch.full_like(tensors["forces"], -1), "tensor deviation must not be negative"),
        ("labels", torch.zeros(40, 1, dtype=torch.int8), r"tensor labels has shape \(40, 1\), expected \(40, 0\)"),
    ):
        changed = {key: value.contiguous() for key, value in {**tensors, name: tensor}.items() if value is not None}
        save_file(changed, path, metadata)
        with pytest.raises(ValueError, match=rf"replay\.safetensors: not a whole biomechau-replay: {message}"):
            Replay.load(path)


def test_what_is_no_regular_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "replay.safetensors").symlink_to("/dev/null")
    with pytest.raises(ValueError, match=r"replay\.safetensors: expected a regular file"):
        Replay.load(tmp_path / "replay.safetensors")


def test_a_thinned_replay_has_every_nth_frame(report: CaptureForces) -> None:
    replay = Replay.of_forces(report)
    thin = replay.thinned(3)
    assert len(thin.timestamp) == 14
    for name in ("timestamp", "valid", "coefficients", "forces", "motion", "residual"):
        assert torch.equal(getattr(thin, name), getattr(replay, name)[::3])
    assert thin.probabilities is None
