"""``biomechau animate`` and ``biomechau rig export``: what they write, and how they fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands.small import assert_error
from corpus.tables import write_table
from rig.test_gltf import arrays

from biomechau import animate, read_sequence
from biomechau.cli import main
from biomechau.corpus import read_blendshape_table
from biomechau.physics import FaceDynamics, PhysicsConfig
from biomechau.rig import Distribution, FaceRig
from biomechau.rig.gltf_export import MISSING_EXPORT
from biomechau.rig.names import ARKIT_SHAPES

LEFT, RIGHT = "zygomaticus_major_left", "zygomaticus_major_right"


def smile(fps: float, count: int) -> np.ndarray:
    """(T,) from 0 to 0.8 and back."""
    return 0.8 * np.sin(np.pi * np.arange(count) / (count - 1)) ** 2


def write_smile(path: Path, fps: float = 25.0, count: int = 40) -> str:
    """The same force left and right, at rest in the first frame."""
    rows = [[n, f"{n / fps:.6f}", f"{force:.6f}", f"{force:.6f}"] for n, force in enumerate(smile(fps, count))]
    return str(write_table(path, ["frame", "timestamp", LEFT, RIGHT], rows))


@pytest.fixture
def forces(tmp_path: Path) -> str:
    return write_smile(tmp_path / "forces.csv")


def expected(rig: FaceRig, fps: float = 25.0, count: int = 40) -> tuple[FaceDynamics, torch.Tensor]:
    """The motion of the smile by ``animate``."""
    with pytest.warns(UserWarning, match="no moving shapes"):
        dynamics = FaceDynamics(rig, Distribution.from_rig(rig), PhysicsConfig(fps=fps))
    force = torch.zeros(count, dynamics.num_muscles)
    force[:, [dynamics.muscles.names.index(name) for name in (LEFT, RIGHT)]] = torch.tensor(smile(fps, count))[
        :, None
    ].float()
    return dynamics, animate(dynamics, force)


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 30.0, 50.0, 60.0, 120.0])
def test_a_table_of_live_link_face_is_read_back(
    tiny_rig: FaceRig, rig_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], fps: float
) -> None:
    forces, out = write_smile(tmp_path / "forces.csv", fps), tmp_path / "new" / "face.csv"
    assert main(["animate", forces, "--rig", rig_file, "--out", str(out)]) == 0
    said, warned = capsys.readouterr()
    assert said == f"wrote {out}: 40 frames at {fps:.4g} fps\n"
    assert warned == ""
    dynamics, motion = expected(tiny_rig, fps)
    sequence = read_blendshape_table(out)
    header = out.read_text().splitlines()[0].split(",")
    assert len(header) == 63
    assert header[:2] == ["Timecode", "BlendshapeCount"]
    assert header[2:54] == [name[0].upper() + name[1:] for name in ARKIT_SHAPES]
    assert header[-1] == "RightEyeRoll"
    # The first frame is at rest, and still a frame with a face.
    assert sequence.valid.all()
    assert sequence.dropped == ()
    assert sequence.fps == pytest.approx(fps, rel=2e-3)
    np.testing.assert_allclose(sequence.timestamp, np.arange(40) / fps, atol=2e-5)
    for name, channel in (("mouthSmile_L", "MouthSmileLeft"), ("jawOpen", "JawOpen")):
        found = sequence.coefficients[:, sequence.channels.index(channel)]
        torch.testing.assert_close(found, motion[:, dynamics.shape_names.index(name)], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_gain_and_mirror_change_the_next_analysis(rig_file: str, forces: str, tmp_path: Path) -> None:
    def asymmetry(*options: str) -> float:
        out, result = str(tmp_path / "face.csv"), tmp_path / "result"
        assert main(["animate", forces, "--rig", rig_file, "--out", out, *options]) == 0
        assert main(["forces", out, "--rig", rig_file, "--out", str(result)]) == 0
        return json.loads((result / "summary.json").read_text())["asymmetry_index"]["total"]

    half = f"--gain={LEFT}=0.5"
    assert asymmetry() == pytest.approx(0, abs=1e-3)
    assert asymmetry(half) == pytest.approx(-1 / 3, abs=0.02)
    once = tmp_path / "once.csv"
    rows = [[f"{n / 25:.6f}", f"{0.5 * force:.6f}", f"{force:.6f}"] for n, force in enumerate(smile(25, 40))]
    forces = str(write_table(once, ["timestamp", LEFT, RIGHT], rows))
    assert asymmetry("--mirror") == pytest.approx(1 / 3, abs=0.02)
    # The gain is that of the side after the exchange.
    assert asymmetry("--mirror", half) == pytest.approx(0, abs=1e-3)


def test_glb_moves_as_the_model(tiny_rig: FaceRig, rig_file: str, forces: str, tmp_path: Path) -> None:
    pytest.importorskip("pygltflib")
    out = tmp_path / "face.glb"
    assert main(["animate", forces, "--rig", rig_file, "--out", str(out)]) == 0
    gltf, array = arrays(out)
    dynamics, motion = expected(tiny_rig)
    (animation,) = gltf.animations
    (channel,), (sampler,) = animation.channels, animation.samplers
    assert (channel.target.path, gltf.nodes[channel.target.node].mesh) == ("weights", 0)
    np.testing.assert_allclose(array(sampler.input)[:, 0], np.arange(40) / 25, atol=1e-6)
    weights = array(sampler.output).reshape(40, tiny_rig.num_shapes)
    (primitive,) = gltf.meshes[0].primitives
    targets = np.stack([array(target["POSITION"]) for target in primitive.targets])
    moved = array(primitive.attributes.POSITION) + np.einsum("tk,kna->tna", weights, targets)
    # In metres, of centimetres.
    np.testing.assert_allclose(moved, 0.01 * (tiny_rig.neutral + dynamics.deform(motion)), atol=1e-5)
    np.testing.assert_allclose(100 * moved, tiny_rig.neutral + dynamics.deform(motion), atol=1e-5)
    assert FaceRig.from_gltf(out).names == tiny_rig.names


def test_obj_sequence_is_read_back(tiny_rig: FaceRig, rig_file: str, forces: str, tmp_path: Path) -> None:
    out = tmp_path / "meshes"
    assert main(["animate", forces, "--rig", rig_file, "--out", str(out), "--fps", "50"]) == 0
    assert len(list(out.iterdir())) == 79
    assert main(["animate", forces, "--rig", rig_file, "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [f"frame_{n:06}.obj" for n in range(40)]
    sequence = read_sequence(out, tiny_rig, 25.0)
    dynamics, motion = expected(tiny_rig)
    smiling = sequence.channels.index("mouthSmile_L")
    found = sequence.coefficients[:, smiling]
    torch.testing.assert_close(found, motion[:, dynamics.shape_names.index("mouthSmile_L")], atol=1e-3, rtol=0)


def test_video_shows_the_face(rig_file: str, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    pytest.importorskip("pyvista")
    forces, out = write_smile(tmp_path / "forces.csv", count=9), tmp_path / "face.mp4"
    assert main(["animate", forces, "--rig", rig_file, "--out", str(out)]) == 0
    with av.open(str(out)) as container:
        pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 25
    assert len(pictures) == 9
    assert pictures[0].shape[0] == 720
    assert pictures[0].std() > 20
    # Frame 5 is near the apex, frame 1 has hardly moved.
    assert np.abs(pictures[5] - pictures[0]).mean() > 3 * np.abs(pictures[1] - pictures[0]).mean()


def test_moments_are_interpolated_and_empty_rows_told(
    rig_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_table(tmp_path / "made.csv", ["timestamp", LEFT], [[0, 0], [1, 0.5], [2, ""]])
    out = tmp_path / "face.csv"
    assert main(["animate", str(path), "--rig", rig_file, "--out", str(out)]) == 0
    said, warned = capsys.readouterr()
    assert said == f"wrote {out}: 51 frames at 25 fps\n"
    assert "note: rows without forces: 1 of 3; they hold the forces of the row before" in warned
    assert float(read_blendshape_table(out).coefficients.max()) == pytest.approx(0.5, abs=0.01)


def test_forces_of_other_physics_are_warned_of(
    rig_file: str, forces: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = {"physics": {**PhysicsConfig(f0=2.0).to_json(), "fps": 60.0}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    command = ["animate", forces, "--rig", rig_file, "--out", str(tmp_path / "face.csv")]
    assert main(command) == 0
    assert "summary.json says that the forces were made with --f0 2.0\n" in capsys.readouterr().err
    assert main([*command, "--f0", "2"]) == 0
    assert capsys.readouterr().err == ""


def test_errors_name_what_is_wrong(
    rig_file: str, forces: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "face.csv")
    base = ["animate", forces, "--rig", rig_file, "--out"]
    assert_error(capsys, [*base, str(tmp_path / "face.fbx")], "face.fbx", ".csv (Live Link Face), .glb, .mp4, or a")
    assert_error(capsys, [*base, out, "--gain", "zygomaticus=0.5"], "'zygomaticus': no muscle of the rig")
    assert_error(capsys, [*base, out, "--gain", LEFT], "--gain must be MUSCLE=FACTOR", LEFT)
    assert_error(capsys, [*base, out, "--gain", f"{LEFT}=a"], "--gain must be MUSCLE=FACTOR")
    assert_error(capsys, [*base, out, "--gain", f"{LEFT}=-1"], f"gain of {LEFT} must be finite and not negative")
    assert_error(capsys, [*base, out, "--gain", f"{LEFT}=1", "--gain", f"{LEFT}=2"], "given twice")
    assert_error(capsys, [*base, out, "--fps", "0"], "fps")
    strong = write_table(tmp_path / "strong.csv", ["timestamp", LEFT], [[n / 25, 500] for n in range(9)])
    assert_error(capsys, ["animate", str(strong), "--rig", rig_file, "--out", out], "expected at most 10", "frame 0")
    other = write_table(tmp_path / "other.csv", ["timestamp", "risorius_left"], [[n / 25, 0.5] for n in range(9)])
    words = ("other.csv:2: column risorius_left: the rig has no shapes for this muscle", "mouthStretch_L")
    assert_error(capsys, ["animate", str(other), "--rig", rig_file, "--out", out], *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forces.csv", "other.csv", "strong.csv"]


def test_export_of_a_rig_is_imported(
    tiny_rig: FaceRig, rig_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pygltflib")
    out, back = tmp_path / "new" / "face.glb", tmp_path / "back.safetensors"
    assert main(["rig", "export", rig_file, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}: 99 vertices, 8 shapes\n"
    assert main(["rig", "import", str(out), "--out", str(back)]) == 0
    assert "16 cm wide, 20 cm tall" in capsys.readouterr().out
    torch.testing.assert_close(FaceRig.load(back).neutral, tiny_rig.neutral, atol=1e-5, rtol=0)
    assert main(["rig", "import", str(out), "--out", str(back), "--scale", "1"]) == 0
    torch.testing.assert_close(100 * FaceRig.load(back).neutral, tiny_rig.neutral, atol=1e-5, rtol=0)
    capsys.readouterr()
    assert_error(capsys, ["rig", "import", str(out), "--out", str(back), "--neutral", "a"], "--neutral is for folders")
    assert_error(capsys, ["rig", "export", rig_file, "--out", str(tmp_path / "face.obj")], "ends in .glb")


def test_without_pygltflib_the_extra_is_named(
    rig_file: str, forces: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., None]
) -> None:
    monkeypatch.setattr("biomechau.rig.gltf_export.export_available", lambda: False)
    out = tmp_path / "face.glb"
    fails("animate", forces, "--rig", rig_file, "--out", out, words=MISSING_EXPORT)
    fails("rig", "export", rig_file, "--out", out, words=MISSING_EXPORT)
    assert "biomechau[export]" in MISSING_EXPORT
    assert not out.exists()
