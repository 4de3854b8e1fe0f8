"""Backbones: a pretrained one read from a folder, and a small one of our own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from models.backbones import save_resnet, save_vit

from biomechau.corpus.image_features import BackboneCard
from biomechau.models import ImageBackbone, TrainedBackbone, load_backbone

PICTURES = [np.random.default_rng(n).integers(0, 256, (40 + n, 50, 3)).astype(np.uint8) for n in range(3)]


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_resnet(tmp_path_factory.mktemp("backbones") / "tiny-resnet")


def test_a_folder_of_a_resnet(resnet: Path) -> None:
    from transformers import AutoModel

    backbone = load_backbone(resnet)
    card = backbone.card
    assert (card.name, card.size, card.subjects) == ("tiny-resnet", 16, ())
    assert card.preprocessing["image_size"] == [32, 32]
    assert card.revision.startswith("sha256:")
    assert BackboneCard.from_json(json.loads(json.dumps(card.to_json()))) == card
    features = backbone.features(PICTURES)
    assert (features.shape, features.dtype) == ((3, 16), torch.float32)
    assert not features.requires_grad
    # The model's own pooling, of a picture that needs no resizing: 32 / 0.875 = 36 pixels, the middle 32 of them.
    picture = PICTURES[0][:36, :36]
    pixels = torch.from_numpy(picture[2:34, 2:34]).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(backbone.card.preprocessing[name])[:, None, None] for name in ("image_mean", "image_std"))
    model = AutoModel.from_pretrained(resnet).eval()
    with torch.no_grad():
        expected = model((pixels - mean) / std).pooler_output[:, :, 0, 0]
    torch.testing.assert_close(backbone.features([picture]), expected, atol=1e-5, rtol=1e-4)


def test_features_depend_on_no_other_picture(resnet: Path) -> None:
    backbone = load_backbone(resnet)
    one_by_one = torch.cat([backbone.features([picture]) for picture in PICTURES])
    torch.testing.assert_close(backbone.features(PICTURES), one_by_one, atol=1e-6, rtol=1e-5)


def test_weights_without_a_pooling_are_averaged(tmp_path: Path) -> None:
    """AutoModel would make the pooling of such weights up, another one each time."""
    folder = save_vit(tmp_path / "vit")
    first, second = load_backbone(folder), load_backbone(folder)
    assert first.card.preprocessing["pooling"] == "mean"
    assert torch.equal(first.features(PICTURES), second.features(PICTURES))


def test_other_weights_are_another_revision(resnet: Path, tmp_path: Path) -> None:
    first, second = load_backbone(resnet).card, load_backbone(save_resnet(tmp_path / "tiny-resnet", seed=1)).card
    assert first.difference(second).startswith("revision sha256:")
    third = load_backbone(save_resnet(tmp_path / "sized", size=64)).card
    assert first.difference(third).startswith("name tiny-resnet, not sized")
    assert first.difference(first) == ""


def test_what_is_no_backbone(resnet: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a vision backbone with safetensors weights"):
        load_backbone(tmp_path)
    pickled = shutil.copytree(resnet, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickled: not a vision backbone with safetensors weights"):
        load_backbone(pickled)
    cut = shutil.copytree(resnet, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:100])
    with pytest.raises(ValueError, match="cut: not a vision backbone with safetensors weights"):
        load_backbone(cut)


def test_weights_that_lack_a_layer(resnet: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(resnet, tmp_path / "less")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "convolution.weight" in name)
    save_file({n: x for n, x in tensors.items() if n != name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="its weights lack 1 tensors of the model, such as .*convolution.weight"):
        load_backbone(folder)


def test_without_transformers(resnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r'pip install "biomechau\[image\]"'):
        load_backbone(resnet)


def trained(seed: int = 0) -> TrainedBackbone:
    torch.manual_seed(seed)
    return TrainedBackbone(ImageBackbone(32, 8, (4, 4, 4, 4)), ("anna", "ben"), "0" * 64)


def test_a_trained_backbone_comes_back(tmp_path: Path) -> None:
    backbone = trained()
    backbone.save(tmp_path / "backbone")
    again = load_backbone(tmp_path / "backbone")
    assert again.card == backbone.card
    assert again.card.subjects == ("anna", "ben")
    assert torch.equal(again.features(PICTURES), backbone.features(PICTURES))
    assert backbone.features(PICTURES).shape == (3, 8)


def test_exposure_does_not_matter_much() -> None:
    backbone = trained()
    dark = backbone.features([picture // 2 for picture in PICTURES])
    features = backbone.features(PICTURES)
    assert (dark - features).abs().max() < 0.05 * features.std()


def test_a_trained_backbone_that_is_not_whole(tmp_path: Path) -> None:
    trained(0).save(tmp_path / "a")
    trained(1).save(tmp_path / "b")
    shutil.copy(tmp_path / "b" / "backbone.safetensors", tmp_path / "a")
    with pytest.raises(ValueError, match=r"backbone.json: .* does not belong to it: revision"):
        load_backbone(tmp_path / "a")
    (tmp_path / "b" / "backbone.json").write_text("{}")
    with pytest.raises(ValueError, match="backbone.json: not an image backbone of version 1"):
        load_backbone(tmp_path / "b")


def test_sizes_out_of_range() -> None:
    with pytest.raises(ValueError, match="image_size must be a multiple of 16, got 40"):
        ImageBackbone(40)
    with pytest.raises(ValueError, match="size and the four channels must be at least 1"):
        ImageBackbone(32, 0)
