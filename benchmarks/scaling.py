"""How our time grows with each size and shrinks with threads, and how the kernels live beside torch's threads."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

import torch
from cases import Case
from faces import FACE
from machine import OtherLoad, description
from measure import MODES, interleave, prepare
from report import OURS
from torch.utils.data import DataLoader, Dataset

_MODE = {"forward": "f", "both": "f+b"}
_ROUNDS = 31

Call = Callable[[], Any]


@dataclass(frozen=True)
class Study:
    """An op over four values of one size, the other sizes large enough that this one's share of the work leads."""

    case: Case
    size: str
    values: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        """Op and size."""
        return f"{self.case.op} {self.size}"

    def cases(self) -> list[Case]:
        """The case at each value."""
        return [self.case.at(**{self.size: value}) for value in self.values]


def _batch(num_sequences: int, num_frames: int) -> dict[str, int]:
    return {"num_sequences": num_sequences, "num_frames": num_frames}


_VERTICES = (3_000, 6_000, 12_000, 24_000)
_MASS = Case("generalized_mass", FACE, {"num_sequences": 8})
_EXPLICIT = Case("explicit_rollout", FACE, _batch(8, 64))
_IMPLICIT = Case("implicit_rollout", FACE, _batch(64, 32))
_DECODER = Case("decoder", FACE, _batch(64, 32))
_CONVOLUTION = Case("chebyshev_conv", FACE, {"num_frames": 16, "in_channels": 16, "out_channels": 16})
_CONSTANT = Case("force_projection", FACE, {**_batch(64, 32), "learned": "nothing"})
STUDIES = (
    Study(Case("force_projection", FACE, {**_batch(1, 8), "learned": "P"}), "num_vertices", _VERTICES),
    Study(_CONSTANT, "num_sequences", (64, 128, 256, 512)),
    Study(_CONSTANT, "num_frames", (32, 64, 128, 256)),
    Study(_MASS, "num_vertices", _VERTICES),
    Study(_MASS, "num_sequences", (32, 64, 128, 256)),
    Study(_EXPLICIT, "num_sequences", (8, 16, 32, 64)),
    Study(_EXPLICIT, "num_frames", (64, 128, 256, 512)),
    Study(_IMPLICIT, "num_sequences", (64, 128, 256, 512)),
    Study(_IMPLICIT, "num_frames", (32, 64, 128, 256)),
    Study(_DECODER, "num_sequences", (64, 128, 256, 512)),
    Study(_DECODER, "num_frames", (32, 64, 128, 256)),
    Study(_CONVOLUTION, "num_vertices", _VERTICES),
    Study(_CONVOLUTION, "num_frames", (8, 16, 32, 64)),
)


def scaling_report(studies: list[Study], device: torch.device, path: Path | None, command: str) -> str:
    """Markdown of all that is measured here. Sizes of N are those of the built-in face."""
    load = OtherLoad()
    header = {"command": command, **description(device)}
    lines = ["# Scaling", "", *[f"- {name}: {value}" for name, value in header.items()], ""]
    lines += ["Time over four sizes, and the exponent of a power law fitted to it.", ""]
    lines += ["| op, size | | " + " | ".join(f"{i}." for i in range(1, 5)) + " | exponent |", "|---" * 7 + "|"]
    for study in studies:
        meanwhile = OtherLoad()
        times = growth(study, device, None if study.size == "num_vertices" else path)
        busy = meanwhile.busy()
        for mode in MODES:
            power = _BUSY if busy else f"{exponent(study.values, times[mode]):.2f}"
            cells = [f"{1e3 * t:.3g} ms at {value}" for value, t in zip(study.values, times[mode], strict=True)]
            lines.append(f"| {study.name} | {_MODE[mode]} | {' | '.join(cells)} | {power} |")
    if device.type == "cpu":
        cases = {study.case.op: study.case for study in studies}.values()
        calls = {case.name: _ours(case, path) for case in cases}
        for title, function in (("threads", threads), ("beside torch", beside_torch), ("workers", workers)):
            meanwhile = OtherLoad()
            rows = [function(name, call) for name, call in calls.items()]
            if meanwhile.busy():
                rows = [{**row, **{key: _BUSY for key in row if key in _RATIOS}} for row in rows]
            lines += ["", _TITLES[title], "", "| case | " + " | ".join(list(rows[0])[1:]) + " |"]
            lines += ["|---" * len(rows[0]) + "|"]
            lines += [
                f"| {' | '.join(f'{x:.3g}' if isinstance(x, float) else str(x) for x in row.values())} |"
                for row in rows
            ]
    lines += ["", f"Other processes took {load}."]
    return "\n".join(lines) + "\n"


_BUSY = "machine busy"
_RATIOS = ("speed-up", "ratio")
_TITLES = {
    "threads": "One thread and all of them, forward and backward, in turn.",
    "beside torch": "A torch matrix product and our op, forward and backward: each alone, then call by call in turn.",
    "workers": "Our op in two DataLoader workers, which torch limits to one thread each, against one thread alone.",
}


def growth(study: Study, device: torch.device, path: Path | None) -> dict[str, list[float]]:
    """Median seconds of each size, by mode."""
    entries = []
    for case in study.cases():
        [entry] = prepare(case.op, case.problem(path).to(device), lambda peer: peer.name == OURS)
        entry.name = case.name
        entries.append(entry)
    interleave(entries, device, seconds=6.0)
    return {mode: [entry.times[mode].median for entry in entries] for mode in MODES}


def exponent(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """p of the fit seconds ~ size^p."""
    return linear_regression([math.log(size) for size in sizes], [math.log(t) for t in seconds]).slope


def _ours(case: Case, path: Path | None) -> Call:
    """A call of our op, forward and backward."""
    [entry] = prepare(case.op, case.problem(path), lambda peer: peer.name == OURS)
    assert entry.runnable is not None
    return entry.runnable.both


def threads(name: str, call: Call) -> dict[str, Any]:
    """Seconds with one thread and with all."""
    most = torch.get_num_threads()
    times: dict[int, list[float]] = {1: [], most: []}
    for _ in range(_ROUNDS):
        for count, samples in times.items():
            torch.set_num_threads(count)
            call()
            samples.append(_seconds(call))
    torch.set_num_threads(most)
    one, all_ = median(times[1]), median(times[most])
    return {"case": name, "1 thread [ms]": 1e3 * one, f"{most} threads [ms]": 1e3 * all_, "speed-up": one / all_}


def beside_torch(name: str, call: Call) -> dict[str, Any]:
    """Seconds of torch and of ours, alone and in turn. Each has an OpenMP runtime with waiting threads of its own."""
    a = torch.rand(512, 512)
    product = a.clone()

    def torch_call() -> None:
        torch.mm(a, a, out=product)

    def both() -> None:
        torch_call()
        call()

    samples: dict[str, list[float]] = {"torch": [], "ours": [], "both": []}
    for _ in range(_ROUNDS):
        for kind, function in (("torch", torch_call), ("ours", call), ("both", both)):
            function()
            samples[kind].append(min(_seconds(function) for _ in range(3)))
    alone, turn = median(samples["torch"]) + median(samples["ours"]), median(samples["both"])
    return {"case": name, "alone, summed [ms]": 1e3 * alone, "in turn [ms]": 1e3 * turn, "ratio": turn / alone}


class _Calls(Dataset):  # type: ignore[type-arg]
    """Items that time calls of an op in whatever process asks for them."""

    def __init__(self, call: Call, count: int) -> None:
        self.call, self.count = call, count

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[float, float, int]:
        """Seconds per call, processors used, torch's threads."""
        self.call()
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(self.count):
            self.call()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        return wall / self.count, processor / wall, torch.get_num_threads()


def workers(name: str, call: Call) -> dict[str, Any]:
    """Seconds per call in two workers at once and in this process with one thread."""
    most = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = median(_seconds(call) for _ in range(_ROUNDS))
    torch.set_num_threads(most)
    items = list(
        DataLoader(_Calls(call, max(1, int(0.2 / alone))), batch_size=None, num_workers=min(2, os.cpu_count() or 1))
    )
    inside = median(item[0] for item in items)
    return {
        "case": name,
        "1 thread alone [ms]": 1e3 * alone,
        "in a worker [ms]": 1e3 * inside,
        "ratio": inside / alone,
        "processors a worker uses": max(item[1] for item in items),
        "torch's threads in a worker": max(item[2] for item in items),
    }


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
