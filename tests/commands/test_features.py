"""``biomechau corpus features`` and ``corpus train-features``, and what is trained, tested and predicted with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from commands.small import SMALL, UNITS, read_csv
from models.backbones import save_resnet

from biomechau.cli import main
from biomechau.corpus import Corpus, Fold
from biomechau.corpus.face_tracks import Face
from biomechau.corpus.simulator import SimulationConfig, write_simulated_corpus
from biomechau.corpus.tracking import Tracker
from biomechau.rig import FaceRig
from biomechau.training import Run, open_runs
from biomechau.training.video_features import crop_face

pytest.importorskip("pyvista")
GIVEN = [*SMALL, "--epochs", "1", "--action-units", *UNITS]
NET = ["--image-size", "32", "--features", "8", "--epochs", "1", "--batch-size", "16"]


def call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 subjects with a sequence of 48 frames, and their pictures."""
    path = tmp_path_factory.mktemp("corpora") / "corpus"
    config = SimulationConfig(
        subjects=6, sequences=1, frames=48, coarse_vertices=100, seed=1, images=True, image_size=32
    )
    write_simulated_corpus(FaceRig.builtin(1000), path, config)
    return path


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_resnet(tmp_path_factory.mktemp("backbones") / "tiny-resnet")


@pytest.fixture(scope="module")
def pretrained(plain: Path, resnet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With features of a ResNet."""
    path = shutil.copytree(plain, tmp_path_factory.mktemp("pretrained") / "corpus")
    assert call("corpus", "features", path, "--images", path / "images", "--backbone", resnet) == 0
    return path


@pytest.fixture(scope="module")
def own(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With features of a net for each of two folds."""
    path = shutil.copytree(plain, tmp_path_factory.mktemp("own") / "corpus")
    assert call("corpus", "train-features", path, "--num-folds", 2, *NET) == 0
    return path


@pytest.fixture(scope="module")
def run(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the image head, one of three folds."""
    path = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", "--corpus", pretrained, "--out", path, "--head", "image", "--fold", 1, *GIVEN) == 0
    return path


def test_features_of_a_pretrained_backbone(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("corpus", "info", pretrained, "--json") == 0
    (features,) = json.loads(capsys.readouterr().out)["image_features"].values()
    assert (features["name"], features["size"], features["sequences"]) == ("tiny-resnet", 16, 6)
    assert call("corpus", "info", pretrained) == 0
    assert "16 by tiny-resnet, of 6 sequences" in capsys.readouterr().out
    assert call("corpus", "check", pretrained) == 0


def test_a_run_knows_its_backbone(run: Path, pretrained: Path) -> None:
    one = Run.open(run / "fold1")
    assert one.backbone == Corpus.open(pretrained).backbone
    assert one.config.detector.num_image_features == 16
    card = json.loads((run / "fold1" / "protocol.json").read_text())["images"]
    assert (card["backbone"]["name"], card["frames_without_picture"]) == ("tiny-resnet", 0)


@pytest.mark.slow
def test_evaluate_and_predict_with_images(run: Path, pretrained: Path, tmp_path: Path) -> None:
    assert call("evaluate", "--run", run, "--corpus", pretrained, "--out", tmp_path / "scores") == 0
    assert json.loads((tmp_path / "scores" / "evaluation.json").read_text())["mean_f1"] is not None
    out = tmp_path / "prediction"
    assert call("predict", pretrained, "--sequence", "S001_T1", "--run", run, "--out", out) == 0
    assert len(read_csv(out / "action_units.csv")) == 48


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracker that finds one face, as large as the picture, in all pictures but the fifth."""

    @contextmanager
    def landmarker(model: Path | None, most_faces: int) -> Iterator[Tracker]:
        times: list[int] = []

        def track(picture: np.ndarray, milliseconds: int) -> list[Face]:
            times.append(milliseconds)
            half = 0.5 / 1.3
            return [] if len(times) == 5 else [Face((0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half), [0.1] * 52)]

        yield track

    monkeypatch.setattr("biomechau.corpus.tracking.face_landmarker", landmarker)


@pytest.mark.slow
@pytest.mark.usefixtures("tracked")
def test_pictures_of_a_new_video_are_read_in_one_pass(
    run: Path, pretrained: Path, resnet: Path, tmp_path: Path, fails: Callable[..., None]
) -> None:
    video = pretrained / "images" / "S001_T1"
    given = ["predict", video, "--run", run, "--recorded-fps", 25, "--out"]
    assert call(*given, tmp_path / "video", "--backbone", resnet) == 0
    assert call("predict", pretrained, "--sequence", "S001_T1", "--run", run, "--out", tmp_path / "corpus") == 0
    found, expected = (read_csv(tmp_path / name / "action_units.csv") for name in ("video", "corpus"))
    assert len(found) == len(expected) == 48
    for unit in UNITS:
        column = f"AU{int(unit):02d}"
        assert found[4][column] == ""
        far = [n for n in range(48) if abs(n - 4) > 4]  # a head may see the frames around
        values = np.array([[float(rows[n][column]) for n in far] for rows in (found, expected)])
        np.testing.assert_allclose(values[0], values[1], atol=1e-5)
    fails(*given, tmp_path / "a", words=("lies in a folder: name it with --backbone",))
    other = save_resnet(tmp_path / "other", seed=1)
    fails(*given, tmp_path / "a", "--backbone", other, words=("not the backbone of", "expected"))
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("tracked")
def test_each_fold_reads_its_own_backbone(own: Path, tmp_path: Path) -> None:
    assert call("train", "--corpus", own, "--out", tmp_path / "run", "--head", "image", "--num-folds", 2, *GIVEN) == 0
    given = ["predict", own / "images" / "S001_T1", "--run", tmp_path / "run", "--recorded-fps", 25, "--out"]
    assert call(*given, tmp_path / "video", "--backbone", own) == 0
    assert call("predict", own, "--sequence", "S001_T1", "--run", tmp_path / "run", "--out", tmp_path / "corpus") == 0
    found, expected = (read_csv(tmp_path / name / "action_units.csv") for name in ("video", "corpus"))
    column = f"AU{int(UNITS[0]):02d}"
    far = [n for n in range(48) if abs(n - 4) > 4]
    values = np.array([[float(rows[n][column]) for n in far] for rows in (found, expected)])
    np.testing.assert_allclose(values[0], values[1], atol=1e-5)


def test_a_backbone_belongs_to_a_video(run: Path, pretrained: Path, resnet: Path, fails: Callable[..., None]) -> None:
    names = np.array(["jawOpen"])
    np.savez(resnet.parent / "take.npz", coefficients=np.zeros((9, 1), "f4"), names=names, fps=25)
    given = ["predict", resnet.parent / "take.npz", "--run", run]
    fails(*given, words=("needs image features, which take does not have; use a video",))
    fails(*given, "--backbone", resnet, words=("--backbone belongs to a video",))


def test_the_square_around_a_face() -> None:
    picture = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
    np.testing.assert_array_equal(crop_face(picture, (0.3, 0.2, 0.5, 0.6)), picture[2:7, 6:11])
    outside = crop_face(picture, (-0.5, 0.0, 0.5, 1.0))  # 26 pixels around (0, 5)
    assert outside.shape == (26, 26, 3)
    np.testing.assert_array_equal(outside[8:18, 13:], picture[:, :13])
    np.testing.assert_array_equal(outside[8:18, 0], picture[:, 0])
    assert crop_face(picture, (0.5, 0.5, 0.5, 0.5)).shape == (1, 1, 3)
    assert crop_face(picture, (-1e9, 0.0, 1e9, 1.0)).shape == (40, 40, 3)


def test_features_added_later_leave_runs_valid(plain: Path, resnet: Path, tmp_path: Path) -> None:
    path = shutil.copytree(plain, tmp_path / "corpus", ignore=shutil.ignore_patterns("images"))
    assert call("train", "--corpus", path, "--out", tmp_path / "run", "--fold", 1, *GIVEN) == 0
    before = torch.load(tmp_path / "run" / "fold1" / "best.ckpt", weights_only=True)["state_dict"]
    assert call("corpus", "features", path, "--images", plain / "images", "--backbone", resnet) == 0
    one = Run.open(tmp_path / "run" / "fold1")
    assert one.trained_on(Corpus.open(path))
    assert call("evaluate", "--run", tmp_path / "run", "--corpus", path, "--out", tmp_path / "scores") == 0
    assert call("train", "--corpus", path, "--out", tmp_path / "again", "--fold", 1, *GIVEN) == 0
    after = torch.load(tmp_path / "again" / "fold1" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_another_backbone_cannot_test_a_run(
    run: Path, pretrained: Path, tmp_path: Path, fails: Callable[..., None]
) -> None:
    path = shutil.copytree(pretrained, tmp_path / "corpus")
    other = save_resnet(tmp_path / "other", seed=1)
    given = ["corpus", "features", path, "--images", path / "images", "--backbone", other]
    fails(*given, words=("has image features of another backbone: name tiny-resnet, not other", "--replace"))
    larger = save_resnet(tmp_path / "tiny-resnet", size=48)
    fails(*given[:-1], larger, words=("another backbone: preprocessing with image_size [32, 32], not [48, 48]",))
    assert call(*given, "--replace") == 0
    words = ("no image features of the backbone that the detector was trained with", "tiny-resnet", "found other")
    fails("evaluate", "--run", run, "--corpus", path, "--out", tmp_path / "scores", words=words)
    fails("predict", path, "--sequence", "S001_T1", "--run", run, "--out", tmp_path / "prediction", words=words)


def test_a_head_with_images_needs_some(plain: Path, tmp_path: Path, fails: Callable[..., None]) -> None:
    for head in ("image", "physics_image"):
        words = ("has no image features", "biomechau corpus features")
        fails("train", "--corpus", plain, "--out", tmp_path / "run", "--head", head, *GIVEN, words=words)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_frames_without_picture_are_masked_and_their_cells_empty(
    plain: Path, resnet: Path, run: Path, tmp_path: Path, fails: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(plain, tmp_path / "corpus")
    broken = path / "images" / "S002_T1" / "000011.png"
    broken.write_bytes(broken.read_bytes()[:90])
    given = ["corpus", "features", path, "--images", path / "images", "--backbone", resnet]
    fails(*given, words="000011.png: not a picture that can be read")
    assert call(*given, "--skip-faulty") == 0
    assert "000011.png: not a picture that can be read" in capsys.readouterr().err
    assert call("predict", path, "--sequence", "S002_T1", "--run", run, "--out", tmp_path / "out") == 0
    rows = read_csv(tmp_path / "out" / "action_units.csv")
    assert [row["frame"] for row in rows if not row["AU12"]] == [rows[10]["frame"]]


def test_each_fold_has_a_net_that_never_saw_its_test_subjects(own: Path) -> None:
    corpus = Corpus.open(own)
    assert "image_features" not in corpus.tensor_names
    assert [features.folder.name for features in corpus.feature_cache.sets] == ["fold1", "fold2"]
    seen = [set(features.card.subjects) for features in corpus.feature_cache.sets]
    assert [len(subjects) for subjects in seen] == [3, 3]
    assert seen[0] | seen[1] == set(corpus.subjects)
    first = Fold(tuple(sorted(seen[0]))[:2], tuple(sorted(seen[0]))[2:], tuple(sorted(seen[1])))
    assert corpus.of_fold(first).backbone == corpus.feature_cache.sets[0].card
    with pytest.raises(ValueError, match="trained on other subjects than those of this fold"):
        corpus.of_fold(Fold(first.train, first.test[:1], (*first.validation, *first.test[1:])))


@pytest.mark.slow
def test_train_and_test_with_a_net_a_fold(own: Path, tmp_path: Path, fails: Callable[..., None]) -> None:
    given = ["train", "--corpus", own, "--head", "physics_image", *GIVEN]
    assert call(*given, "--out", tmp_path / "run", "--num-folds", 2) == 0
    runs = open_runs(tmp_path / "run")
    for run, features in zip(runs.values(), Corpus.open(own).feature_cache.sets, strict=True):
        assert run.backbone == features.card
        assert not {*run.fold.test} & {*features.card.subjects}
    assert call("evaluate", "--run", tmp_path / "run", "--corpus", own, "--out", tmp_path / "scores") == 0
    assert call("predict", own, "--sequence", "S001_T1", "--run", tmp_path / "run", "--out", tmp_path / "out") == 0
    fails(*given, "--out", tmp_path / "other", words="use the same fold options")
    assert not (tmp_path / "other").exists()


def test_trained_features_are_kept_and_gone_on_with(own: Path, tmp_path: Path, fails: Callable[..., None]) -> None:
    path = shutil.copytree(own, tmp_path / "corpus")
    first = path / "image_features" / "fold1"
    lost = first / "S004_T1.safetensors"
    features, weights = lost.read_bytes(), (first / "backbone" / "backbone.safetensors").stat().st_mtime_ns
    lost.unlink()
    assert call("corpus", "train-features", path, "--num-folds", 2, *NET) == 0
    assert lost.read_bytes() == features
    assert (first / "backbone" / "backbone.safetensors").stat().st_mtime_ns == weights
    words = "of a fold with other subjects"
    fails("corpus", "train-features", path, "--num-folds", 2, "--fold-seed", 1, *NET, words=words)


def test_a_trained_net_serves_other_corpora(own: Path, plain: Path, tmp_path: Path) -> None:
    path = shutil.copytree(plain, tmp_path / "corpus")
    with (path / "corpus.json").open("a") as file:
        file.write(" ")  # another corpus to whoever compares digests
    backbone = own / "image_features" / "fold1" / "backbone"
    assert call("corpus", "features", path, "--images", path / "images", "--backbone", backbone) == 0
    corpus = Corpus.open(path)
    assert corpus.backbone == Corpus.open(own).feature_cache.sets[0].card
    # Nobody here has been seen by it, whatever their names.
    assert corpus.of_fold(Fold(("S001", "S002"), ("S003",), ("S004",))) is corpus


def test_both_kinds_do_not_mix(
    own: Path, pretrained: Path, resnet: Path, tmp_path: Path, fails: Callable[..., None]
) -> None:
    given = ["corpus", "features", own, "--images", own / "images", "--backbone", resnet]
    fails(*given, words=("is not empty and does not have image features of one backbone", "--replace"))
    fails("corpus", "train-features", pretrained, *NET, words="contains image features of one backbone for all folds")


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command, words in (
        ("features", ["--images", "--backbone", "microsoft/resnet-50", "--skip-faulty", "--replace", "--device"]),
        ("train-features", ["--num-folds", "--epochs", "--image-size", "--skip-faulty"]),
    ):
        assert call("corpus", command, "--help") == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words)
    assert call("simulate", "--help") == 0
    assert "--image-size" in capsys.readouterr().out
