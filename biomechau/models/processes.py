"""The batch of all processes that train together."""

from __future__ import annotations

from torch import distributed


def whole_batch(count: int) -> tuple[int, slice]:
    """Sequences of all processes' batch, and which of them are this process's, if each has ``count``.

    Process r of P has those at r, r + P, ... What is random is drawn for the whole batch, and each process takes its
    own: so any number of processes draws what one would, provided that all have the same random state.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        return count, slice(None)
    processes = distributed.get_world_size()
    return count * processes, slice(distributed.get_rank(), None, processes)
