"""The tiny rig with its muscles, and models of it in double precision."""

from __future__ import annotations

import pytest

from biomechau.rig.distribution import Distribution
from biomechau.rig.face_rig import FaceRig
from biomechau.rig.muscles import Muscles


@pytest.fixture(scope="session")
def tiny_distribution(tiny_rig: FaceRig) -> Distribution:
    """P of the muscles that the tiny rig shows (M = 8, as many as shapes)."""
    return Distribution.from_rig(tiny_rig, Muscles.facs().match(tiny_rig.names).muscles)


@pytest.fixture(scope="session")
def ict_distribution(ict_rig: FaceRig) -> Distribution:
    """P of the ICT face area (M = 35)."""
    return Distribution.from_rig(ict_rig)
