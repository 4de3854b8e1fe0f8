"""Small randomly initialised vision models, saved as users' are."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil


def save_resnet(folder: Path, seed: int = 0, size: int = 32) -> Path:
    """16 features; pictures of ``size`` pixels a side."""
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ResNetModel(config).save_pretrained(folder)
    ConvNextImageProcessorPil(size={"shortest_edge": size}).save_pretrained(folder)
    return folder


def save_vit(folder: Path) -> Path:
    """A classifier, whose weights have no pooling."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTForImageClassification(ViTConfig(**sizes, image_size=32, patch_size=16)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
