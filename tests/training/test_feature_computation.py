"""Image features of a corpus: computed once, cached, resumed, and refused where they do not belong together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus.corpora import write_three
from PIL import Image
from safetensors.torch import load, save

from biomechau.corpus import Corpus, Fold, Windows
from biomechau.corpus.image_features import BackboneCard
from biomechau.locks import locked_folder
from biomechau.rig import FaceRig
from biomechau.training import compute_image_features
from biomechau.training.backbone_training import LabelledPictures, train_fold_features, train_image_backbone
from biomechau.training.training_config import ImageTrainingConfig

LENGTHS = {"F001_T1": 12, "F001_T2": 9, "M002_T1": 5}


class Colour:
    """A backbone whose features are the mean colour."""

    def __init__(self, **changes: object) -> None:
        card = BackboneCard("mean colour", "1", 3, {"image_size": [8, 8]})
        self.card = replace(card, **changes)  # type: ignore[arg-type]
        self.seen = 0

    def features(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        self.seen += len(pictures)
        return torch.tensor(np.stack([picture.mean((0, 1)) for picture in pictures]), dtype=torch.float32)


@pytest.fixture
def corpus(tiny_rig: FaceRig, tmp_path: Path) -> Corpus:
    """Three sequences, and a picture of every frame: red tells the frame, green the sequence."""
    write_three(tmp_path / "corpus", tiny_rig)
    for green, (id, frames) in enumerate(LENGTHS.items()):
        (tmp_path / "images" / id).mkdir(parents=True)
        for frame in range(frames):
            Image.new("RGB", (8, 8), (frame, 10 * green, 0)).save(tmp_path / "images" / id / f"{frame}.png")
    return Corpus.open(tmp_path / "corpus")


@pytest.fixture
def images(corpus: Corpus) -> Path:
    return corpus.path.parent / "images"


def labelled(corpus: Corpus, id: str) -> int:
    """The last frame with a known label."""
    return int(corpus[id].label_mask.any(1).nonzero()[-1])


def test_every_frame_gets_those_of_its_own_picture(corpus: Corpus, images: Path) -> None:
    before = (corpus.path / "corpus.json").read_bytes()
    calls: list[tuple[int, int]] = []
    report = compute_image_features(
        corpus, images, Colour(), batch_size=5, progress=lambda done, total: calls.append((done, total))
    )
    assert report.faults == ()
    assert calls[-1] == (26, 26)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    found = Corpus.open(corpus.path)
    assert (found.num_image_features, found.backbone) == (3, Colour().card)
    for green, sequence in enumerate(found):
        features = torch.zeros(len(sequence), 3)
        features[:, 0], features[:, 1] = torch.arange(len(sequence)), 10 * green
        assert torch.equal(sequence.image_features, features)  # type: ignore[arg-type]
        assert sequence.image_valid.all()  # type: ignore[union-attr]
    # What runs know the corpus by.
    assert (corpus.path / "corpus.json").read_bytes() == before


def test_a_stop_is_gone_on_with(corpus: Corpus, images: Path) -> None:
    class Stopped(Colour):
        def features(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
            if self.seen >= 12:
                raise KeyboardInterrupt
            return super().features(pictures)

    with pytest.raises(KeyboardInterrupt):
        compute_image_features(corpus, images, Stopped(), batch_size=4)
    half = Corpus.open(corpus.path)
    assert "image_features" not in half.tensor_names
    assert half["F001_T1"].image_features is None
    assert half.feature_cache.sets[0].missing(half.ids) == ("F001_T2", "M002_T1")
    again = Colour()
    compute_image_features(half, images, again)
    assert again.seen == 14
    assert "image_features" in Corpus.open(corpus.path).tensor_names


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "mean hue"}, "name mean colour, not mean hue"),
        ({"revision": "2"}, "revision 1, not 2"),
        ({"preprocessing": {"image_size": [16, 16]}}, r"preprocessing with image_size \[8, 8\], not \[16, 16\]"),
    ],
)
def test_features_of_two_backbones_are_refused(corpus: Corpus, images: Path, changes: dict, words: str) -> None:
    compute_image_features(corpus, images, Colour())
    other = Colour(**changes)
    with pytest.raises(ValueError, match=f"has image features of another backbone: {words}; --replace"):
        compute_image_features(corpus, images, other)
    assert other.seen == 0
    assert Corpus.open(corpus.path).backbone == Colour().card
    compute_image_features(corpus, images, other, replace=True)
    assert other.seen == 26
    assert Corpus.open(corpus.path).backbone == other.card
    assert sorted(path.name for path in corpus.path.iterdir()) == [
        "corpus.json", "image_features", "rig.safetensors", "sequences",
    ]  # fmt: skip


def test_a_labelled_frame_without_picture(corpus: Corpus, images: Path) -> None:
    frame = labelled(corpus, "F001_T2")
    (images / "F001_T2" / f"{frame}.png").unlink()
    backbone = Colour()
    words = rf"1 sequence: F001_T2: 1 labelled frames have no picture in .* \({frame}\) \(--skip-faulty"
    with pytest.raises(ValueError, match=words):
        compute_image_features(corpus, images, backbone)
    assert backbone.seen == 0
    assert not (corpus.path / "image_features").exists()
    report = compute_image_features(corpus, images, backbone, skip_faulty=True)
    assert len(report.faults) == 1
    assert "F001_T2" in report.faults[0]
    sequence = Corpus.open(corpus.path)["F001_T2"]
    assert sequence.image_valid.tolist() == [n != frame for n in range(9)]  # type: ignore[union-attr]
    assert (sequence.image_features[frame] == 0).all()  # type: ignore[index]


def test_a_frame_without_label_needs_no_picture(corpus: Corpus, images: Path) -> None:
    frame = int((~corpus["F001_T1"].label_mask.any(1)).nonzero()[0])
    (images / "F001_T1" / f"{frame}.png").unlink()
    assert compute_image_features(corpus, images, Colour()).faults == ()
    assert not Corpus.open(corpus.path)["F001_T1"].image_valid[frame]  # type: ignore[index]


def test_a_corrupt_picture(corpus: Corpus, images: Path) -> None:
    path = images / "F001_T2" / "4.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"F001_T2.4.png: not a picture that can be read"):
        compute_image_features(corpus, images, Colour())
    assert Corpus.open(corpus.path).feature_cache.sets[0].missing(corpus.ids) == ("F001_T2", "M002_T1")
    report = compute_image_features(corpus, images, Colour(), skip_faulty=True)
    assert "4.png" in report.faults[0]
    assert Corpus.open(corpus.path)["F001_T2"].image_valid.tolist() == [n != 4 for n in range(9)]  # type: ignore[union-attr]


def test_a_video_that_cannot_be_read(corpus: Corpus, images: Path) -> None:
    shutil.rmtree(images / "M002_T1")
    (images / "M002_T1.avi").write_bytes(b"RIFF no video")
    with pytest.raises(ValueError, match=r"M002_T1.avi: not a video that can be read"):
        compute_image_features(corpus, images, Colour())
    report = compute_image_features(corpus, images, Colour(), skip_faulty=True)
    assert "M002_T1.avi" in report.faults[0]
    assert not Corpus.open(corpus.path)["M002_T1"].image_valid.any()  # type: ignore[union-attr]


def test_windows_mask_frames_without_picture(corpus: Corpus, images: Path) -> None:
    shutil.rmtree(images / "M002_T1")
    compute_image_features(corpus, images, Colour(), skip_faulty=True)
    found = Corpus.open(corpus.path)
    (window,) = Windows(found, ["M002_T1"], 8)
    assert not window["valid"].any()
    assert not window["label_mask"].any()
    assert (window["image_features"] == 0).all()
    (unseen,) = Windows(found, ["M002_T1"], 8, optional=())
    assert unseen["valid"][:5].equal(found["M002_T1"].valid)


def test_features_that_are_not_finite(corpus: Corpus, images: Path) -> None:
    class Broken(Colour):
        def features(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
            return super().features(pictures) / 0

    with pytest.raises(ValueError, match="F001_T1: mean colour .* not finite"):
        compute_image_features(corpus, images, Broken())


def test_broken_caches_are_named(corpus: Corpus, images: Path) -> None:
    compute_image_features(corpus, images, Colour())
    folder = corpus.path / "image_features"
    file = folder / "F001_T1.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:40])
    with pytest.raises(ValueError, match="F001_T1.safetensors: not a complete safetensors file"):
        Corpus.open(corpus.path)["F001_T1"]
    shutil.copy(folder / "F001_T2.safetensors", file)
    with pytest.raises(ValueError, match=r"F001_T1.safetensors: tensor image_features: expected .* \(12, 3\), found"):
        Corpus.open(corpus.path)["F001_T1"]
    tensors = load(whole)
    tensors["image_features"][2, 1] = torch.nan
    file.write_bytes(save(tensors))
    with pytest.raises(ValueError, match=r"F001_T1.safetensors: tensor image_features is not finite: nan at \[2, 1\]"):
        Corpus.open(corpus.path)["F001_T1"]
    file.write_bytes(whole)
    description = json.loads((folder / "features.json").read_text())
    for changed, words in (
        ({**description, "corpus_sha256": "0" * 64}, "features of another corpus"),
        ({**description, "version": 2}, "of version 1 expected, found 2"),
        ({**description, "backbone": {"name": "x"}}, "a backbone's card has the fields"),
        ([], "not image features"),
    ):
        (folder / "features.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=f"features.json: .*{words}"):
            Corpus.open(corpus.path)


def test_nothing_else_is_removed(corpus: Corpus, images: Path) -> None:
    with pytest.raises(FileExistsError, match="has other files than image features"):
        compute_image_features(corpus, images, Colour(), corpus.path / "sequences", replace=True)
    with pytest.raises(FileExistsError, match="is not empty and does not have image features"):
        compute_image_features(corpus, images, Colour(), corpus.path / "sequences")
    assert len(list((corpus.path / "sequences").iterdir())) == 3


def test_what_a_kill_leaves_is_in_nobodys_way(corpus: Corpus, images: Path) -> None:
    folder = corpus.path / "image_features"
    for replaced in (False, True):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "fold1").mkdir(parents=True)
        (folder / "fold1" / ".features.json.123.partial").write_text("{")
        (folder / ".features.json.123.partial").write_text("{")
        if not replaced:
            (folder / "fold1" / ".features.json.123.partial").unlink()
            (folder / "fold1").rmdir()
        compute_image_features(corpus, images, Colour(), replace=replaced)
        names = {"features.json", *(f"{id}.safetensors" for id in corpus.ids)}
        assert {path.name for path in folder.iterdir()} == names


def test_training_of_a_backbone_that_diverges(corpus: Corpus, images: Path) -> None:
    pictures = LabelledPictures(torch.zeros(8, 3, 16, 16, dtype=torch.uint8), torch.ones(8, 3, dtype=torch.int8))
    config = ImageTrainingConfig(image_size=16, batch_size=4, epochs=2, learning_rate=1e30)
    fold = Fold(("F001",), ("M002",), ("M003",))
    with pytest.raises(ValueError, match=r"diverged: \S+ is not finite in epoch \d of 2, .*step"):
        train_image_backbone(corpus, fold, pictures, pictures, config)


def test_two_trainings_of_features_in_one_corpus(corpus: Corpus, images: Path) -> None:
    fold = Fold(("F001",), ("M002",), ("M002",))
    with (
        locked_folder(corpus.path, "busy"),
        pytest.raises(BlockingIOError, match="another process is training image features here"),
    ):
        train_fold_features(corpus, {1: fold}, images)


def test_features_in_the_sequences_themselves(tiny_rig: FaceRig, corpus: Corpus, images: Path, tmp_path: Path) -> None:
    from corpus.corpora import make_sequence, write

    own = Corpus.open(write(tmp_path / "own", tiny_rig, make_sequence(tiny_rig, image_features=torch.rand(12, 4))))
    assert (own.num_image_features, own.backbone) == (4, None)
    with pytest.raises(ValueError, match="its sequences already contain image features"):
        compute_image_features(own, images, Colour())
