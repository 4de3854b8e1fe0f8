"""Peers side by side: agreement first, then interleaved times, then the GPU's own time and memory.

A peer that is wrong, that raises or that runs out of memory is a row that says so, never the end of a run.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from gpu_times import graph_times
from machine import synchronize
from peers import PEERS, REFERENCES, Peer, Runnable
from problems import Problem
from torch import Tensor

# Largest error against float64 over the largest entry, at which a peer still computes the same thing in float32. Masses
# of real faces have condition numbers of some ten thousands, so solving with them costs digits; the gradient of a
# convolution's weights sums over all vertices of all frames.
TOLERANCE = {
    "force_projection": 2e-5,
    "generalized_mass": 2e-5,
    "explicit_rollout": 3e-4,
    "implicit_rollout": 1e-3,
    "decoder": 1e-3,
    "chebyshev_conv": 5e-5,
}
MODES = ("forward", "both")
_SAMPLE = 1e-3  # seconds that a sample lasts at least, so that the clock and the loop do not show
# Seconds of calls before each sample: until then the waiting threads of the peer before may still keep a core busy, and
# threads that slept may have been woken on one core, where they wait for each other until the system spreads them.
_WARM = 30e-3
_FEWEST = 3


@dataclass
class Times:
    """Seconds per call of a peer in one mode, one figure a round."""

    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, _, high = quantiles(self.samples, n=4, method="inclusive")
        return low, high


@dataclass
class Entry:
    """A peer on a problem.

    Attributes:
        name: the peer.
        why_not: the reason why it has no times, or None.
        failed: whether that reason is an error, and not merely that the peer does not apply here.
        runnable: the prepared calls.
        error: largest error of outputs and gradients against float64, over the largest entry.
        times: by mode, on the host's clock.
        gpu: time on the GPU by mode, warm and with a flushed L2 cache, where it can be measured.
        no_gpu_times: the reason why such a time is missing.
        memory: peak growth of memory in one call beyond outputs and gradients, by mode [bytes], where it is measured.
    """

    name: str
    why_not: str | None = None
    failed: bool = False
    runnable: Runnable | None = None
    error: float | None = None
    times: dict[str, Times] = field(default_factory=dict)
    gpu: dict[str, tuple[Times, Times]] = field(default_factory=dict)
    no_gpu_times: str = ""
    memory: dict[str, float | None] = field(default_factory=dict)

    def fail(self, reason: str) -> None:
        """Leaves the reason instead of times."""
        self.why_not, self.failed, self.runnable = reason, True, None
        self.times.clear()


def _quiet(_: str) -> None:
    """Says nothing."""


def prepare(
    op: str,
    problem: Problem,
    wanted: Callable[[Peer], bool] = lambda peer: True,
    say: Callable[[str], None] = _quiet,
) -> list[Entry]:
    """Makes every peer ready and compares its results with those of float64; ``say`` is told each step."""
    torch.compiler.reset()
    peers = list(filter(wanted, PEERS[op]))
    entries = [Entry(peer.name) for peer in peers]
    say("reference in float64")
    reference = Entry("reference")
    expected: list[Tensor] = []
    with as_row(reference):
        expected = _results(REFERENCES[op](problem.to(torch.float64)))
    for peer, entry in zip(peers, entries, strict=True):
        if reference.failed:
            entry.fail(f"not checked, the reference in float64 failed: {reference.why_not}")
            continue
        with as_row(entry):
            entry.why_not = peer.missing(problem)
            if entry.why_not:
                continue
            say(f"{peer.name}: {'compiling and ' if peer.compiled else ''}checking")
            runnable = peer.prepare(problem)
            runnable.forward()
            entry.error = max(map(_error, _results(runnable), expected))
            if entry.error <= TOLERANCE[op]:
                entry.runnable = runnable
            else:
                entry.fail(f"wrong by {entry.error:.1e}, expected at most {TOLERANCE[op]:.0e}")
    return entries


@contextlib.contextmanager
def as_row(entry: Entry) -> Iterator[None]:
    """Whatever an entry raises becomes its reason."""
    try:
        yield
    except Exception as error:
        entry.fail(_reason(error))
    if entry.failed and torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # after an illegal access every call raises
            torch.cuda.empty_cache()


def _reason(error: Exception) -> str:
    """The error on one line that fits a table."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}".replace("|", "/")


def _results(runnable: Runnable) -> list[Tensor]:
    result = runnable.both()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # Warp works on a stream of its own
    outputs, grads = runnable.tensors(result)
    return [tensor.detach().cpu().clone() for tensor in (*outputs, *grads)]


def _error(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        raise ValueError(f"expected shape {tuple(expected.shape)}, found {tuple(found.shape)}")
    return float((found.double() - expected).abs().max() / expected.abs().max())


def interleave(
    entries: list[Entry],
    device: torch.device,
    seconds: float,
    most_rounds: int = 101,
    say: Callable[[str], None] = _quiet,
) -> None:
    """Times all peers in turn, round after round, in both modes.

    Before each sample, the peer is called untimed for a while: it wakes its threads and finds its data in cache, and
    those of the peer before have gone to sleep. A peer that has used its share of the time sits out, but each has 3
    samples.
    """
    for mode in MODES:
        running = [entry for entry in entries if entry.runnable]
        say(f"timing {len(running)} peers, {mode}")
        share = seconds / len(MODES) / max(len(running), 1)
        calls, spent = {}, dict.fromkeys((entry.name for entry in running), 0.0)
        for entry in running:
            entry.times[mode] = Times()
            with as_row(entry):
                calls[entry.name] = _calls(getattr(entry.runnable, mode), device)
        for round_ in range(most_rounds):
            waiting = [e for e in running if e.runnable and (round_ < _FEWEST or spent[e.name] < share)]
            if not waiting:
                break
            for entry in waiting:
                start = time.perf_counter()
                with as_row(entry):
                    sample = _sample(getattr(entry.runnable, mode), calls[entry.name], device)
                    entry.times[mode].samples.append(sample)
                spent[entry.name] += time.perf_counter() - start


def time_on_gpu(entry: Entry) -> None:
    """The GPU's own time of each mode, where a call works in torch's stream and never waits for the GPU."""
    if entry.runnable is None or not entry.runnable.in_stream:
        return
    for mode in MODES:
        try:
            warm, flushed = graph_times(getattr(entry.runnable, mode))
            entry.gpu[mode] = Times(warm), Times(flushed)
        except Exception as error:  # the host's clock is all there is
            entry.no_gpu_times = _reason(error)


def _calls(function: Callable[[], Any], device: torch.device) -> int:
    """How many calls make a sample."""
    best = min(_sample(function, 1, device) for _ in range(3))
    return max(1, round(_SAMPLE / best))


def _sample(function: Callable[[], Any], calls: int, device: torch.device) -> float:
    """Seconds per call, once warm."""
    start = time.perf_counter()
    while True:
        function()
        synchronize(device)
        if time.perf_counter() - start >= _WARM:
            break
    start = time.perf_counter()
    for _ in range(calls):
        function()
    synchronize(device)
    return (time.perf_counter() - start) / calls


def memory(entry: Entry, device: torch.device) -> None:
    """Peak memory of one call beyond its outputs and gradients.

    On a GPU what torch's allocator counts; on the CPU the growth of the resident set, everything included, after freed
    memory went back to the system (Linux only).
    """
    assert entry.runnable is not None
    for mode in MODES:
        call = getattr(entry.runnable, mode)
        call()
        growth, results = (_cuda_growth if device.type == "cuda" else _resident_growth)(call)
        kept = sum(getattr(leaf, "nbytes", 0) for leaf in _leaves(results))
        entry.memory[mode] = None if growth is None else max(0.0, growth - kept)


def _leaves(results: Any) -> list[Any]:
    if isinstance(results, dict):
        results = list(results.values())
    if isinstance(results, (tuple, list)):
        return [leaf for part in results for leaf in _leaves(part)]
    return [results]


def _cuda_growth(call: Callable[[], Any]) -> tuple[float, Any]:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    results = call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before, results


def _resident_growth(call: Callable[[], Any]) -> tuple[float | None, Any]:
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = _status("VmRSS")
        results = call()
        return _status("VmHWM") - before, results
    except OSError:
        return None, None


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024.0 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}")
