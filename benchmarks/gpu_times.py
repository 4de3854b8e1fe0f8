"""How long a call keeps the GPU busy, whatever the host does: CUDA events around replays of a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_ROUNDS = 21
_SAMPLE = 1e-3  # seconds of replays between two events, warm
# Bytes that are written to flush the L2 cache. Larger than any L2, and long enough that the replay is queued meanwhile.
_FLUSHED = 2**28


def graph_times(call: Callable[[], Any]) -> tuple[list[float], list[float]]:
    """Seconds per call on the GPU, one figure a round: warm, and with a flushed L2 cache.

    Raises:
        RuntimeError: the call waits for the GPU or cannot be captured in a graph.
    """
    graph = _captured(call)
    _elapsed(graph)
    replays = max(1, round(_SAMPLE / max(_elapsed(graph), 1e-7)))
    warm = [_elapsed(graph, replays) for _ in range(_ROUNDS)]
    other = torch.empty(_FLUSHED, dtype=torch.uint8, device="cuda")
    flushed = []
    for _ in range(_ROUNDS):
        other.zero_()
        flushed.append(_elapsed(graph))
    return warm, flushed


def _captured(call: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    """The call's kernels as a graph. A call that waits for the GPU is refused first: it would spoil a capture."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    before = torch.cuda.get_sync_debug_mode()
    with torch.cuda.stream(side):
        call()
        torch.cuda.set_sync_debug_mode("error")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def _elapsed(graph: torch.cuda.CUDAGraph, replays: int = 1) -> float:
    """Seconds per replay."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(replays):
        graph.replay()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / replays
