"""A small convolutional backbone trained from scratch, for pictures that no pretrained one suits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from biomechau.corpus.image_features import BackboneCard
from biomechau.corpus.picture_file import MISSING_PILLOW
from biomechau.file_errors import reason
from biomechau.files import staged_directory
from biomechau.finite import check_finite
from biomechau.json_file import read_json_object

FORMAT = "biomechau-image-backbone"
VERSION = 1
DESCRIPTION, WEIGHTS = "backbone.json", "backbone.safetensors"
NAME = "small convolutional net trained on the corpus"
_AROUND = 9  # side of the square around a pixel in which contrast is normalised [pixels]
_LEAST_SPREAD = 0.02  # added to the spread, so that noise in plain areas is not amplified [full scale]


class ImageBackbone(nn.Module):
    """Four strided convolutions and a dense layer, z2d = F(I) (Eq. 11); about 200,000 weights.

    A picture is resized to ``image_size`` pixels per side, and its grey values are replaced by their local contrast,
    (grey - mean) / spread over the pixels around each. That removes exposure and most of skin and light, by which a net
    this small would recognise the few people it is trained on. Each stage halves the sides: convolution (3 x 3), batch
    normalisation, ReLU. The dense layer knows where in the picture something is, which pooling would discard.

    Args:
        image_size: side of the input pictures, a multiple of 16 [pixels].
        size: D, number of features.
        channels: of the four stages.

    Raises:
        ValueError: an image size that is not a multiple of 16, or a size below 1.
    """

    def __init__(
        self, image_size: int = 64, size: int = 64, channels: tuple[int, int, int, int] = (16, 32, 64, 96)
    ) -> None:
        super().__init__()
        if image_size < 16 or image_size % 16:
            raise ValueError(f"image_size must be a multiple of 16, got {image_size}")
        if size < 1 or min(channels) < 1 or len(channels) != 4:
            raise ValueError(f"size and the four channels must be at least 1, got {size} and {channels}")
        self.image_size = image_size
        self.size = size
        self.channels = tuple(channels)
        stages: list[nn.Module] = []
        for before, after in zip((1, *channels), channels, strict=False):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            stages += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        self.stages = nn.Sequential(*stages)
        self.dense = nn.Sequential(nn.Flatten(), nn.Linear(channels[-1] * (image_size // 16) ** 2, size), nn.ReLU())

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures (n, 3, image_size, image_size) uint8 or float in [0, 255] to features (n, D)."""
        return self.dense(self.stages(_local_contrast(pixels.float().mean(1, keepdim=True) / 255)))


class TrainedBackbone:
    """A trained, frozen :class:`ImageBackbone`; implements :class:`biomechau.models.Backbone`.

    Args:
        net: the trained net.
        subjects: training and validation subjects.
        corpus_sha256: of the description of their corpus.
        device: to run on.
    """

    def __init__(
        self, net: ImageBackbone, subjects: Sequence[str], corpus_sha256: str, device: str | torch.device = "cpu"
    ) -> None:
        self._weights = save({name: x.detach().cpu().contiguous().clone() for name, x in net.state_dict().items()})
        self._net = net.to(device).eval().requires_grad_(False)
        self._device = device
        self.card = BackboneCard(
            name=NAME,
            revision=f"sha256:{hashlib.sha256(self._weights).hexdigest()}",
            size=net.size,
            preprocessing={"image_size": 2 * [net.image_size], "local_contrast": _AROUND},
            subjects=tuple(subjects),
            corpus_sha256=corpus_sha256,
        )

    @torch.inference_mode()
    def features(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Features (n, D) float32 on the CPU of n pictures (H, W, 3) of any sizes, red, green, blue."""
        pixels = torch.stack([resized(picture, self._net.image_size) for picture in pictures])
        return self._net(pixels.to(self._device)).float().cpu().clone()

    def save(self, folder: str | Path) -> None:
        """Write ``backbone.json`` and ``backbone.safetensors``.

        Raises:
            OSError: the folder cannot be written.
        """
        net = self._net
        with staged_directory(folder) as stage:
            (stage / WEIGHTS).write_bytes(self._weights)
            description = {
                "format": FORMAT,
                "version": VERSION,
                "image_size": net.image_size,
                "size": net.size,
                "channels": list(net.channels),
                "card": self.card.to_json(),
            }
            (stage / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> TrainedBackbone:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: not a complete backbone of this version; the message names the file.
            OSError: a file cannot be read.
        """
        path = Path(folder) / DESCRIPTION
        values = read_json_object(path)
        if (values.get("format"), values.get("version")) != (FORMAT, VERSION):
            raise ValueError(f"{path}: not an image backbone of version {VERSION}")
        try:
            card = BackboneCard.from_json(values["card"])
            net = ImageBackbone(values["image_size"], values["size"], tuple(values["channels"]))
            weights = load((path.parent / WEIGHTS).read_bytes())
            net.load_state_dict(weights)
            found = cls(net, card.subjects, str(card.corpus_sha256), device)
            if difference := card.difference(found.card):
                raise ValueError(f"{WEIGHTS} does not belong to it: {difference}")
        except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"{path}: not a complete image backbone: {reason(error)}") from error
        check_finite(path.parent / WEIGHTS, weights)
        return found


def _local_contrast(grey: Tensor) -> Tensor:
    """(grey - mean) / spread over the square around each pixel, of pictures (n, 1, S, S) in [0, 1]."""

    def mean(x: Tensor) -> Tensor:
        return functional.avg_pool2d(functional.pad(x, 4 * (_AROUND // 2,), mode="reflect"), _AROUND, stride=1)

    detail = grey - mean(grey)
    return detail / (mean(detail.square()).sqrt() + _LEAST_SPREAD)


def resized(picture: NDArray[np.uint8], side: int) -> Tensor:
    """A picture (H, W, 3) as (3, side, side) uint8, with anti-aliasing.

    Raises:
        ImportError: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(MISSING_PILLOW) from error
    image = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
