"""The table of benchmark cases. All float32."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from faces import ALL, FACE, face
from problems import PROBLEMS, Problem


@dataclass(frozen=True)
class Case:
    """An op at a size.

    Attributes:
        op: a key of ``problems.PROBLEMS`` and of ``peers.PEERS``.
        num_vertices: N.
        sizes: the other arguments of the problem.
        usual: the peer that people would write first.
        gpu: whether it is run on GPUs only.
    """

    op: str
    num_vertices: int
    sizes: dict[str, Any] = field(default_factory=dict)
    usual: str = ""
    gpu: bool = False

    @property
    def name(self) -> str:
        """Such as ``generalized_mass N=9409 S=8``."""
        sizes = [f"{_LETTERS.get(name, name)}={value}" for name, value in self.sizes.items()]
        return " ".join([self.op, f"N={self.num_vertices}", *sizes])

    @property
    def id(self) -> str:
        """The name without spaces and signs, such as ``generalized_mass-N9409-S8``."""
        return re.sub(r"\W+", "-", self.name.replace(", ", "+").replace("=", "").replace("C'", "to")).strip("-")

    def at(self, num_vertices: int | None = None, **sizes: Any) -> Case:
        """The same case at other sizes."""
        return replace(self, num_vertices=num_vertices or self.num_vertices, sizes={**self.sizes, **sizes})

    def small(self) -> Case:
        """The same case on the smallest built-in face, for trying things out."""
        sizes = {name: min(self.sizes[name], 4) for name in ("num_sequences", "num_frames") if name in self.sizes}
        return self.at(1000, **sizes)

    def problem(self, path: Path | None = None) -> Problem:
        """Its inputs, on the face of the rig at ``path`` or the built-in one."""
        return PROBLEMS[self.op](face(self.num_vertices, path), **self.sizes)


_LETTERS = {"num_sequences": "S", "num_frames": "T", "in_channels": "C", "out_channels": "C'"}


def _batch(num_sequences: int, num_frames: int) -> dict[str, int]:
    return {"num_sequences": num_sequences, "num_frames": num_frames}


_USUAL_PROJECTION = {
    "P": "torch: P F, then B",
    "P, B": "torch: dense product",
    "nothing": "torch: P F, then B",
}


def _convolution(num_vertices: int, num_frames: int, in_channels: int, out_channels: int, gpu: bool = False) -> Case:
    sizes = {"num_frames": num_frames, "in_channels": in_channels, "out_channels": out_channels}
    return Case("chebyshev_conv", num_vertices, sizes, "PyG: ChebConv", gpu)


_CHANNELS = (3, 16), (16, 16), (16, 32)  # of the mesh encoder's convolutions
_GPU_BATCH = 1024, 32
_TRAINING_FRAMES = 12 * 32  # a training batch: windows times frames

CASES: tuple[Case, ...] = (
    *(
        Case("force_projection", n, {**_batch(8, 32), "learned": learned}, usual)
        for learned, usual in _USUAL_PROJECTION.items()
        for n in (FACE, ALL)
    ),
    *(
        Case("generalized_mass", n, {"num_sequences": count}, "torch: loop of products")
        for n in (FACE, ALL)
        for count in (1, 8, 64)
    ),
    Case("explicit_rollout", FACE, _batch(8, 32), "torchdiffeq: euler"),
    Case("explicit_rollout", FACE, _batch(1, 256), "torchdiffeq: euler"),
    Case("implicit_rollout", FACE, _batch(64, 32), "torch: solve each step"),
    Case("decoder", FACE, _batch(64, 32), "torch: solve each step"),
    *(_convolution(n, 32, *channels) for n in (FACE, ALL) for channels in _CHANNELS),
    *(_convolution(FACE, _TRAINING_FRAMES, *channels, gpu=True) for channels in _CHANNELS),
    *(
        Case("force_projection", ALL, {**_batch(*_GPU_BATCH), "learned": learned}, usual, gpu=True)
        for learned, usual in _USUAL_PROJECTION.items()
    ),
    Case("generalized_mass", ALL, {"num_sequences": 1024}, "torch: loop of products", gpu=True),
    Case("explicit_rollout", FACE, _batch(*_GPU_BATCH), "torchdiffeq: euler", gpu=True),
    Case("implicit_rollout", FACE, _batch(*_GPU_BATCH), "torch: solve each step", gpu=True),
    Case("decoder", FACE, _batch(*_GPU_BATCH), "torch: solve each step", gpu=True),
)


def chosen_cases(patterns: str, gpu: bool, small: bool = False) -> list[Case]:
    """The cases whose names match (``matches``), those for GPUs only if asked for; small ones without repetition."""
    found = [case for case in CASES if matches(case.name, patterns) and (gpu or not case.gpu)]
    return list({case.name: case for case in (map(Case.small, found) if small else found)}.values())


def matches(name: str, patterns: str) -> bool:
    """Whether a name contains one of the patterns, if there are any, and none of those with a minus."""
    parts = [part.strip() for part in patterns.split(",") if part.strip()]
    unwanted = [part[1:] for part in parts if part.startswith("-")]
    chosen = [part for part in parts if not part.startswith("-")]
    return not any(part in name for part in unwanted) and (not chosen or any(part in name for part in chosen))
