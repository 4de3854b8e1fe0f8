"""SimulationConfig: every option of a simulated corpus in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

from tyro.conf import FlagCreatePairsOff

# Smallest and largest value of each option, both allowed.
_RANGES: dict[str, tuple[float, float]] = {
    "subjects": (1, 10_000),
    "sequences": (1, 1_000),
    "frames": (8, 10_000),
    "fps": (10, 240),
    "hardness": (0, 4),
    "seed": (0, 2**32 - 1),
    "coarse_vertices": (100, 5_000),
    "label_rate": (0.2, 1.5),
    "image_size": (32, 1_024),
}


@dataclass(frozen=True)
class SimulationConfig:
    """Size and difficulty of a simulated corpus.

    Raises:
        ValueError: a value outside its range, or not a number of its kind.
    """

    # people, 1 to 10,000
    subjects: int = 36
    # recordings of each subject, 1 to 1,000
    sequences: int = 6
    # frames of each recording, 8 to 10,000
    frames: int = 96
    # frames per second, 10 to 240 [1/s]
    fps: float = 25.0
    # scale of what makes people different and the tracker noisy, 0 to 4; 0 leaves little noise
    hardness: float = 2.0
    # seed of everything random, 0 to 4,294,967,295
    seed: int = 0
    # vertices of the mass-spring face, 100 to 5,000
    coarse_vertices: int = 1200
    # how often the coders see action units, as a multiple of the rates of BP4D, 0.2 to 1.5: below 1 they ask for more
    label_rate: float = 1.0
    # store meshes too, which are more than their coefficients: the person's own shapes and 20 % of their identity;
    # takes 6 bytes per vertex and frame, 1.2 GB for 9,409 vertices and the default size
    meshes: FlagCreatePairsOff[bool] = False
    # render a picture of every frame, as a camera sees the person without the tracker's errors, into
    # images/<sequence>/000001.png, ...; needs the viz extra
    images: FlagCreatePairsOff[bool] = False
    # side of the pictures, 32 to 1,024 [pixels]
    image_size: int = 128

    def __post_init__(self) -> None:
        for name, (lowest, highest) in _RANGES.items():
            value = getattr(self, name)
            kind, what = (Real, "number") if name in ("fps", "hardness", "label_rate") else (Integral, "whole number")
            if isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value):
                raise ValueError(f"{name} must be a {what}, got {value!r}")
            if not lowest <= float(value) <= highest:
                raise ValueError(f"{name} must lie in [{lowest}, {highest}], got {value}")
            object.__setattr__(self, name, float(value) if kind is Real else round(float(value)))
        for name in ("meshes", "images"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
