"""Pictures of simulated people."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from biomechau.corpus import Corpus, CorpusWriter
from biomechau.corpus.picture_file import read_picture
from biomechau.corpus.simulator import SimulationConfig, simulate, write_simulated_corpus
from biomechau.corpus.simulator._portraits import PortraitCamera
from biomechau.corpus.simulator._scene import Markings, Scene
from biomechau.rig import FaceRig

pytest.importorskip("pyvista")
# Displays of the table: with them everyone moves within eight frames.
CONFIG = SimulationConfig(
    subjects=2, sequences=2, frames=8, coarse_vertices=100, images=True, image_size=48, displays="table"
)


def scene() -> Scene:
    return Scene.draw(np.random.default_rng(0), np.random.default_rng(1))


@pytest.fixture(scope="module")
def rig() -> FaceRig:
    return FaceRig.builtin(1000)


@pytest.fixture(scope="module")
def corpus(rig: FaceRig, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = tmp_path_factory.mktemp("corpora") / "corpus"
    write_simulated_corpus(rig, path, CONFIG)
    return Corpus.open(path)


def pictures(corpus: Corpus, id: str) -> np.ndarray:
    return np.stack([read_picture(path) for path in sorted((corpus.path / "images" / id).iterdir())])


def test_a_picture_of_every_frame(corpus: Corpus) -> None:
    assert corpus.provenance["simulation"]["images"] is True
    assert sorted(path.name for path in (corpus.path / "images").iterdir()) == sorted(corpus.ids)
    for sequence in corpus:
        folder = corpus.path / "images" / sequence.id
        assert sorted(path.name for path in folder.iterdir()) == [f"{n:06}.png" for n in range(1, 9)]
        assert pictures(corpus, sequence.id).shape == (8, 48, 48, 3)


def test_a_face_fills_the_picture_and_moves(corpus: Corpus) -> None:
    for id in corpus.ids:
        seen = pictures(corpus, id).astype(float)
        background = seen[0, 0, 0]
        face = np.abs(seen - background).sum(-1) > 20
        assert 0.3 < face.mean() < 0.95
        assert face[:, 16:32, 16:32].mean() > 0.9
        assert np.abs(seen[-1] - seen[0]).max() > 20


def test_people_look_different_and_keep_their_look(corpus: Corpus) -> None:
    skin = {id: pictures(corpus, id)[:, 12:16, 20:28].mean((0, 1, 2)) for id in corpus.ids}
    assert np.abs(skin["S001_T1"] - skin["S001_T2"]).max() < 25
    assert np.abs(skin["S001_T1"] - skin["S002_T1"]).max() > 40


def test_the_same_seed_takes_the_same_pictures(corpus: Corpus, rig: FaceRig, tmp_path: Path) -> None:
    write_simulated_corpus(rig, tmp_path / "again", CONFIG)
    for path in sorted((corpus.path / "images").rglob("*.png")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(corpus.path)).read_bytes()


def test_nothing_else_changes_with_them(rig: FaceRig) -> None:
    config = replace(CONFIG, meshes=True)
    for seen, unseen in zip(simulate(rig, config), simulate(rig, replace(config, images=False)), strict=True):
        assert unseen.vertices is None
        for name in ("coefficients", "labels", "muscle_forces", "vertices_residual"):
            assert torch.equal(getattr(seen, name), getattr(unseen, name)), name


def test_a_camera_sees_the_face_without_the_trackers_noise(rig: FaceRig) -> None:
    """From frame to frame a true vertex moves far less than one that the tracked coefficients move."""
    config = replace(CONFIG, frames=32, sequences=1)
    for sequence in simulate(rig, config):
        assert sequence.vertices is not None
        assert sequence.vertices.shape == (32, 1000, 3)
        tracked = torch.tensordot(sequence.coefficients, rig.blendshapes, 1)
        # Second differences: motion is smooth, noise is not.
        jitter = [x.diff(n=2, dim=0).square().mean().item() for x in (sequence.vertices, tracked)]
        assert jitter[0] < 0.3 * jitter[1]


def test_brows_lips_and_eyes_are_where_they_belong() -> None:
    rig = FaceRig.builtin(5000)
    markings, positions = Markings.of_rig(rig), rig.neutral.numpy()
    brows, lips, whites = (positions[weight > 0.5] for weight in (markings.brows, markings.lips, markings.whites))
    assert brows[:, 1].min() > whites[:, 1].max() > whites[:, 1].min() > lips[:, 1].max()
    for part in (brows, whites, lips):
        assert len(part) > 20
        assert abs(part[:, 0].mean()) < 0.1


def test_a_mesh_without_holes_has_skin_alone(tiny_rig: FaceRig) -> None:
    view = scene()
    np.testing.assert_array_equal(Markings.of_rig(tiny_rig).colours(view), np.tile(view.skin, (99, 1)))
    with PortraitCamera(tiny_rig, 32) as camera:
        camera.set_scene(view)
        assert np.ptp(camera.picture(tiny_rig.neutral.double().numpy())) > 30


def test_more_light_from_the_side_it_comes_from(rig: FaceRig) -> None:
    vertices = rig.neutral.double().numpy()
    view = replace(scene(), yaw=0.0, pitch=0.0, roll=0.0, shift=np.zeros(2), strength=0.8)
    with PortraitCamera(rig, 48) as camera:
        for side in (-1.0, 1.0):  # +x is to the right in the picture
            camera.set_scene(replace(view, light=np.array([side, 0.0, 1.0]) / np.sqrt(2)))
            picture = camera.picture(vertices).astype(float)
            left, right = picture[20:40, 14:22].mean(), picture[20:40, 26:34].mean()
            assert (right > left + 5) == (side > 0)


def test_without_pyvista(rig: FaceRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(ImportError, match=r'pip install "biomechau\[viz\]"'):
        write_simulated_corpus(rig, tmp_path / "corpus", CONFIG)
    assert not (tmp_path / "corpus").exists()


def test_options_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"image_size must be an integer in \[32, 1024\], got 16"):
        SimulationConfig(image_size=16)
    with pytest.raises(TypeError, match="images must be a bool, got int"):
        SimulationConfig(images=1)  # type: ignore[arg-type]


def test_what_is_put_beside_a_corpus_comes_with_it(rig: FaceRig, corpus: Corpus, tmp_path: Path) -> None:
    writer = CorpusWriter(tmp_path / "corpus", corpus.rig, corpus.action_units, 25.0, muscles=corpus.muscles)
    with pytest.raises(RuntimeError, match="inside the writer's with block"):
        writer.folder  # noqa: B018
    with writer:
        (writer.folder / "notes.txt").write_text("beside")
        writer.add(corpus["S001_T1"])
    assert (tmp_path / "corpus" / "notes.txt").read_text() == "beside"
