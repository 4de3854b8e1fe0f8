"""The table of benchmark cases. All float32."""

from __future__ import annotations

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
        letters = {"num_sequences": "S", "num_frames": "T", "in_channels": "C", "out_channels": "C'"}
        sizes = [f"{letters.get(name, name)}={value}" for name, value in self.sizes.items()]
        return " ".join([self.op, f"N={self.num_vertices}", *sizes])

    def at(self, num_vertices: int | None = None, **sizes: Any) -> Case:
        """The same case at other sizes."""
        return replace(self, num_vertices=num_vertices or self.num_vertices, sizes={**self.sizes, **sizes})

    def problem(self, path: Path | None = None) -> Problem:
        """Its inputs, on the face of the rig at ``path`` or the built-in one."""
        return PROBLEMS[self.op](face(self.num_vertices, path), **self.sizes)


def _batch(num_sequences: int, num_frames: int) -> dict[str, int]:
    return {"num_sequences": num_sequences, "num_frames": num_frames}


_USUAL_PROJECTION = {
    "P": "torch: P F, then B",
    "P, B": "torch: dense product",
    "nothing": "torch: P F, then B",
}
_GPU_BATCH = 1024, 32

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
    Case("chebyshev_conv", FACE, {"num_frames": 32, "in_channels": 3, "out_channels": 16}, "PyG: ChebConv"),
    Case("chebyshev_conv", FACE, {"num_frames": 32, "in_channels": 16, "out_channels": 16}, "PyG: ChebConv"),
    *(
        Case("force_projection", ALL, {**_batch(*_GPU_BATCH), "learned": learned}, usual, gpu=True)
        for learned, usual in _USUAL_PROJECTION.items()
    ),
    Case("generalized_mass", ALL, {"num_sequences": 1024}, "torch: loop of products", gpu=True),
    Case("explicit_rollout", FACE, _batch(*_GPU_BATCH), "torchdiffeq: euler", gpu=True),
    Case("implicit_rollout", FACE, _batch(*_GPU_BATCH), "torch: solve each step", gpu=True),
    Case("decoder", FACE, _batch(*_GPU_BATCH), "torch: solve each step", gpu=True),
)
