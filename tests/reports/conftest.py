"""A short capture of the tiny rig, and the report of its forces."""

from __future__ import annotations

import pytest
import torch

from biomechau.analysis import CaptureForces, analyse
from biomechau.corpus import FaceSequence
from biomechau.rig import FaceRig

_AMPLITUDES = {"mouthSmile_L": 0.9, "mouthSmile_R": 0.3, "jawOpen": 0.5}


@pytest.fixture(scope="session")
def clip(tiny_rig: FaceRig) -> FaceSequence:
    """A one-sided smile with the mouth open, from rest to rest: 40 frames at 25 fps, all 8 shapes as channels."""
    time = torch.arange(40, dtype=torch.float64) / 25
    bump = 0.5 - 0.5 * torch.cos(2 * torch.pi * time / time[-1])
    amplitude = torch.tensor([_AMPLITUDES.get(name, 0.0) for name in tiny_rig.names], dtype=torch.float64)
    return FaceSequence(
        name="clip",
        coefficients=(bump[:, None] * amplitude).float(),
        channels=tiny_rig.names,
        timestamp=time,
        valid=torch.ones(40, dtype=torch.bool),
        fps=25.0,
        source="test",
    )


@pytest.fixture(scope="session")
def report(tiny_rig: FaceRig, clip: FaceSequence) -> CaptureForces:
    """The forces of the clip."""
    return analyse(clip, tiny_rig)
