"""The tiny rig with its muscles, and batches of its motion."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from biomechau.physics import FaceDynamics
from biomechau.rig import Distribution, FaceRig, Muscles


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test draws the same numbers, in whatever order the tests run."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_distribution(tiny_rig: FaceRig) -> Distribution:
    """P of the muscles that the tiny rig shows (M = 8, as many as shapes)."""
    return Distribution.from_rig(tiny_rig, Muscles.facs().match(tiny_rig.names).muscles)


@pytest.fixture(scope="session")
def tiny_dynamics(tiny_rig: FaceRig, tiny_distribution: Distribution) -> FaceDynamics:
    """The default physics of the tiny rig, float32."""
    return FaceDynamics(tiny_rig, tiny_distribution)


@pytest.fixture
def tiny_batch() -> dict[str, Tensor]:
    """4 smooth sequences of 12 frames, K' = 8, labels of 3 units that follow the coefficients, image features."""
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(12) / 12
    phase, peak = torch.rand(2, 4, 1, 8, generator=generator)
    c = peak * (0.5 - 0.5 * torch.cos(2 * math.pi * (0.5 * time[:, None] + phase)))
    return {
        "coefficients": c,
        "labels": (c[..., [0, 2, 4]] > c[..., [0, 2, 4]].median()).to(torch.int8),
        "image_features": torch.randn(4, 12, 5, generator=generator),
    }
