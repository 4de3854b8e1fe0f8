"""Fixtures of the recordings: a short scripted performance of the tiny rig."""

import pytest
import torch
from torch import Tensor

from biomechau.rig import FaceRig


@pytest.fixture
def coefficients(tiny_rig: FaceRig) -> Tensor:
    return torch.rand(5, tiny_rig.num_shapes, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def vertices(tiny_rig: FaceRig, coefficients: Tensor) -> Tensor:
    return tiny_rig.neutral + torch.einsum("tk,kna->tna", coefficients, tiny_rig.blendshapes)
