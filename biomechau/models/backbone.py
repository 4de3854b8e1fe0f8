"""Image backbones: frozen networks that turn pictures into features (Eq. 11)."""

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
        """Name, revision and preprocessing."""
        ...

    def features(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Features (n, D) float32 on the CPU of n pictures (H, W, 3) of any sizes, red, green, blue."""
        ...


def load_backbone(
    name: str | Path, revision: str | None = None, device: str | torch.device = "cpu", progress: bool = False
) -> Backbone:
    """Load a vision backbone from the Hugging Face Hub or from a folder.

    Args:
        name: on the Hub, such as ``microsoft/resnet-50``, or a folder that ``save_pretrained`` of ``transformers`` or
            :meth:`TrainedBackbone.save` wrote.
        revision: branch, tag or commit on the Hub.
        device: to run on.
        progress: show the progress of the download on stderr.

    Raises:
        ImportError: ``transformers`` is not installed.
        ValueError: there is no such backbone, its safetensors weights are missing or incomplete, or it is no vision
            model.
    """
    from biomechau.models.image_backbone import DESCRIPTION, TrainedBackbone

    if (Path(name) / DESCRIPTION).is_file():
        return TrainedBackbone.load(name, device)
    from biomechau.models._pretrained_backbone import PretrainedBackbone

    return PretrainedBackbone(str(name), revision, device, progress)
