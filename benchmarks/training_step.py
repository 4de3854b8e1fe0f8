"""A training step of the detector: how long its parts take, with the kernels and with their plain-torch twins.

    python benchmarks/training_step.py [--rig FaceXModel] [--threads 2] [--device cuda] [--out benchmarks/results]

A step is a batch of 12 windows of 32 frames: forward, losses, backward, clipping and AdamW. Kernels and twins take
turns in one process; their losses over the first steps, from the same weights, are compared.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from faces import FACE, face, rig_path
from machine import OtherLoad, description, keep_freed_memory, limit_threads, synchronize
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
    def of(cls, config: DetectorConfig, rig: FaceRig, device: torch.device, windows: int) -> Step:
        """Of random weights and smooth random motion, the same in every call."""
        torch.manual_seed(0)
        detector = Detector(rig, Distribution.from_rig(rig), config)
        num_shapes, num_units = detector.dynamics.num_shapes, len(config.action_units)
        moments = torch.linspace(0, 1, FRAMES)[:, None]
        phase, speed, size = torch.rand(3, windows, 1, num_shapes)
        c = 0.3 * size * (1 + torch.sin(6 * speed * moments + 6 * phase))
        batch = {
            "coefficients": c,
            "labels": torch.randint(0, 2, (windows, FRAMES, num_units)),
            "valid": torch.ones(windows, FRAMES, dtype=torch.bool),
        }
        if detector.encoder is not None:
            basis = detector.dynamics.blendshapes[:, detector.encoder.vertices]
            batch["displacements"] = torch.tensordot(c, basis, 1)
        detector.fit_statistics([c], [batch["displacements"]] if "displacements" in batch else None)
        return cls(detector.train().to(device), {name: tensor.to(device) for name, tensor in batch.items()})

    def run(self) -> tuple[float, tuple[float, ...]]:
        """The loss, and the seconds of each of ``PARTS``. On a GPU each part waits for it."""
        moments = [self._now()]
        output = self.detector(self.batch)
        moments.append(self._now())
        loss, _ = self.detector.loss(self.batch, output, LossWeights())
        moments.append(self._now())
        self.optimizer.zero_grad()
        loss.backward()
        moments.append(self._now())
        torch.nn.utils.clip_grad_norm_(self.detector.parameters(), 1.0)
        self.optimizer.step()
        moments.append(self._now())
        return float(loss.detach()), tuple(end - start for start, end in pairwise(moments))

    def _now(self) -> float:
        synchronize(self.batch["labels"].device)
        return time.perf_counter()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rig", type=Path, help="FaceXModel folder or rig file of ICT-FaceKit")
    parser.add_argument("--out", type=Path, help="folder for the results, such as benchmarks/results")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the processor")
    parser.add_argument("--seconds", type=float, default=10.0, help="to spend on the timing of a case")
    parser.add_argument("--small", action="store_true", help="one window on the smallest built-in face")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    keep_freed_memory()
    device = torch.device(arguments.device)
    shown = face(1000, arguments.rig) if arguments.small else face(FACE, rig_path(arguments.rig))
    header = {
        "command": shlex.join(["python", "benchmarks/training_step.py", *sys.argv[1:]]),
        **description(device),
        "face": str(shown),
    }
    name = "training_step" if device.type == "cpu" else f"training_step-{device.type}"
    load, tables = OtherLoad(), list[str]()
    for title, config in CASES.items():
        print(f"  {title}", file=sys.stderr, flush=True)
        make = partial(Step.of, config, shown.rig, device, 1 if arguments.small else WINDOWS)
        tables += measured(title, make, arguments.seconds)
        header["other processes"] = str(load)
        lines = ["# A training step", "", *(f"- {key}: {value}" for key, value in header.items()), ""]
        text = "\n".join([*lines, " ".join(__doc__.split("\n\n")[2].split()), *tables]) + "\n"
        if arguments.out:
            write(arguments.out, name, text)
    print(text)
    if arguments.out:
        print("written:", arguments.out / f"{name}.md")


def measured(name: str, make: Callable[[], Step], seconds: float) -> list[str]:
    """The table of a case, in Markdown."""
    load = OtherLoad()
    steps = {backend: make() for backend in BACKENDS}
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
        total, frames = totals[backend], steps[backend].batch["valid"].numel()
        rows.append(f"| {backend} | {parts} | {1e3 * total:.1f} | {frames / total:,.0f} |")
    ratio = f"{totals['reference'] / totals['kernels']:.1f} times as many frames per second with the kernels"
    if load.busy():
        ratio = "The machine was busy: no ratio"
    return [
        "",
        f"## {name}",
        "",
        f"| | {' | '.join(f'{part} [ms]' for part in PARTS)} | step [ms] | frames/s |",
        f"|---{'|---:' * (len(PARTS) + 2)}|",
        *rows,
        "",
        f"{ratio}, {len(times['kernels'])} rounds. Losses of the first {_COMPARED} steps differ by at most "
        f"{difference:.0e} of their value. What dominates with the kernels, by its own time:",
        "",
        *dominant(steps["kernels"]),
    ]


def dominant(step: Step) -> list[str]:
    """The ops that a step spends most in, as torch's profiler sees them."""
    on_gpu = step.batch["labels"].is_cuda
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with running("kernels"), profile(activities=activities) as profiler:
        for _ in range(_FEWEST):
            step.run()

    def spent(event: Any) -> float:
        return event.self_device_time_total if on_gpu else event.self_cpu_time_total

    events = sorted(profiler.key_averages(), key=spent, reverse=True)
    total = sum(map(spent, events))
    return [
        f"- {spent(event) / total:.0%} `{event.key}`, {event.count // _FEWEST} calls a step"
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
