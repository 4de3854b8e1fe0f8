"""Backbones: what turns pictures into image features (Eq. 11), fixed while a detector is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.image_features import BackboneCard


class Backbone(Protocol):
    """z2d = F(I) (Eq. 11)."""

    @property
    def card(self) -> BackboneCard:
        """What it is."""
        ...

    def features(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Features (n, D) float32 on the CPU of n pictures (H, W, 3) of any sizes, red, green, blue."""
        ...


def load_backbone(
    name: str | Path, revision: str | None = None, device: str | torch.device = "cpu", progress: bool = False
) -> Backbone:
    """A vision backbone of the Hugging Face Hub, or of a folder.

    Args:
        name: on the Hub, as ``microsoft/resnet-50``; or a folder with what ``save_pretrained`` of ``transformers``
            writes, or with a backbone trained by :func:`biomechau.training.train_image_backbone`.
        revision: a branch, tag or commit of the Hub.
        device: to run on.
        progress: show the progress of downloading and loading on stderr.

    Raises:
        ImportError: ``transformers`` is not installed.
        ValueError: there is no such backbone, it has no safetensors weights, lacks some of them, or is no vision model.
    """
    from biomechau.models.image_backbone import DESCRIPTION, TrainedBackbone

    if (Path(name) / DESCRIPTION).is_file():
        return TrainedBackbone.load(name, device)
    from biomechau.models._pretrained_backbone import PretrainedBackbone

    return PretrainedBackbone(str(name), revision, device, progress)
