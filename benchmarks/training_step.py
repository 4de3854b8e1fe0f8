"""A training step of the detector: how long its parts take, with the kernels and with their plain-torch twins.

    python benchmarks/training_step.py [--rig FaceXModel] [--threads 2] [--out benchmarks/results]

A step is a batch of 12 windows of 32 frames: forward, losses, backward, clipping and AdamW. Kernels and twins take
turns in one process; their losses over the first steps, from the same weights, are compared.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from faces import FACE, face, rig_path
from machine import OtherLoad, description, keep_freed_memory, limit_threads
from report import write
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from biomechau import Distribution, FaceRig
from biomechau.models import Detector, DetectorConfig, LossWeights
from biomechau.ops import _backend

WINDOWS, FRAMES = 12, 32
PARTS = ("forward", "losses", "backward", "optimizer")
CASES = {
    "coefficients (default)": DetectorConfig(),
    "meshes, 1,200 vertices": DetectorConfig(source="mesh"),
    "meshes, all vertices": DetectorConfig(source="mesh", num_input_vertices=None, filters=(16, 16, 16, 32)),
}
BACKENDS = ("kernels", "reference")
_COMPARED = 5  # steps
_FEWEST = 3  # rounds
_DOMINANT = 8  # ops that are listed


@dataclass(eq=False)
class Step:
    """A detector in training on one batch."""

    detector: Detector
    batch: dict[str, Tensor]

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.detector.parameters(), 3e-3, weight_decay=1e-4)

    @classmethod
    def of(cls, config: DetectorConfig, rig: FaceRig) -> Step:
        """Of random weights and smooth random motion, the same in every call."""
        torch.manual_seed(0)
        detector = Detector(rig, Distribution.from_rig(rig), config)
        num_shapes, num_units = detector.dynamics.num_shapes, len(config.action_units)
        moments = torch.linspace(0, 1, FRAMES)[:, None]
        phase, speed, size = torch.rand(3, WINDOWS, 1, num_shapes)
        c = 0.3 * size * (1 + torch.sin(6 * speed * moments + 6 * phase))
        batch = {
            "coefficients": c,
            "labels": torch.randint(0, 2, (WINDOWS, FRAMES, num_units)),
            "valid": torch.ones(WINDOWS, FRAMES, dtype=torch.bool),
        }
        if detector.encoder is not None:
            basis = detector.dynamics.blendshapes[:, detector.encoder.vertices]
            batch["displacements"] = torch.tensordot(c, basis, 1)
        detector.fit_statistics([c], [batch["displacements"]] if "displacements" in batch else None)
        return cls(detector.train(), batch)

    def run(self) -> tuple[float, tuple[float, ...]]:
        """The loss, and the seconds of each of ``PARTS``."""
        moments = [time.perf_counter()]
        output = self.detector(self.batch)
        moments.append(time.perf_counter())
        loss, _ = self.detector.loss(self.batch, output, LossWeights())
        moments.append(time.perf_counter())
        self.optimizer.zero_grad()
        loss.backward()
        moments.append(time.perf_counter())
        torch.nn.utils.clip_grad_norm_(self.detector.parameters(), 1.0)
        self.optimizer.step()
        moments.append(time.perf_counter())
        return float(loss.detach()), tuple(end - start for start, end in pairwise(moments))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rig", type=Path, help="FaceXModel folder or rig file of ICT-FaceKit")
    parser.add_argument("--out", type=Path, help="folder for the results, such as benchmarks/results")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the processor")
    parser.add_argument("--seconds", type=float, default=10.0, help="to spend on the timing of a case")
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    keep_freed_memory()
    load, shown = OtherLoad(), face(FACE, rig_path(arguments.rig))
    header = {
        "command": shlex.join(["python", "benchmarks/training_step.py", *sys.argv[1:]]),
        **description(torch.device("cpu")),
        "face": str(shown),
    }
    tables = [line for name, config in CASES.items() for line in measured(name, config, shown.rig, arguments.seconds)]
    header["other processes"] = str(load)
    lines = [
        "# A training step",
        "",
        *(f"- {name}: {value}" for name, value in header.items()),
        "",
        " ".join(__doc__.split("\n\n")[2].split()),
        *tables,
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        print("written:", *write(arguments.out, "training_step", {"md": text}))


def measured(name: str, config: DetectorConfig, rig: FaceRig, seconds: float) -> list[str]:
    """The table of a case, in Markdown."""
    steps = {backend: Step.of(config, rig) for backend in BACKENDS}
    losses: dict[str, list[float]] = {}
    for backend, step in steps.items():
        with running(backend):
            torch.manual_seed(1)  # of the dropout
            losses[backend] = [step.run()[0] for _ in range(_COMPARED)]
    difference = max(abs(a - b) / abs(b) for a, b in zip(*losses.values(), strict=True))
    times: dict[str, list[tuple[float, ...]]] = {backend: [] for backend in BACKENDS}
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or len(times["kernels"]) < _FEWEST:
        for backend, step in steps.items():
            with running(backend):
                times[backend].append(step.run()[1])
    totals = {backend: median(map(sum, rounds)) for backend, rounds in times.items()}
    rows = []
    for backend, rounds in times.items():
        parts = " | ".join(f"{1e3 * median(column):.1f}" for column in zip(*rounds, strict=True))
        total = totals[backend]
        rows.append(f"| {backend} | {parts} | {1e3 * total:.1f} | {WINDOWS * FRAMES / total:,.0f} |")
    return [
        "",
        f"## {name}",
        "",
        f"| | {' | '.join(f'{part} [ms]' for part in PARTS)} | step [ms] | frames/s |",
        f"|---{'|---:' * (len(PARTS) + 2)}|",
        *rows,
        "",
        f"{totals['reference'] / totals['kernels']:.1f} times as many frames per second with the kernels, "
        f"{len(times['kernels'])} rounds. Losses of the first {_COMPARED} steps differ by at most {difference:.0e} of "
        "their value. What dominates with the kernels, by its own time:",
        "",
        *dominant(steps["kernels"]),
    ]


def dominant(step: Step) -> list[str]:
    """The ops that a step spends most in, as torch's profiler sees them."""
    with running("kernels"), profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(_FEWEST):
            step.run()
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        f"- {event.self_cpu_time_total / total:.0%} `{event.key}`, {event.count // _FEWEST} calls a step"
        for event in events[:_DOMINANT]
    ]


@contextmanager
def running(backend: str) -> Iterator[None]:
    """With the kernels, or their twins, as the environment variable BIOMECHAU_BACKEND would choose."""
    before, _backend._backend = _backend._backend, backend
    try:
        yield
    finally:
        _backend._backend = before


if __name__ == "__main__":
    main()
