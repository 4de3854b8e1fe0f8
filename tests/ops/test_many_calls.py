"""Calls of several threads with other sizes each, and of one thread a thousand times."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from ops.cases import results_of
from ops.kernel_cases import kernel_cases
from torch import Tensor

Case = tuple[Callable[..., Any], dict[str, Tensor | None]]


def every_op(large: bool) -> dict[str, Case]:
    """One case of each op and kind, the first that there is."""
    found: dict[str, Case] = {}
    for name, case in kernel_cases(torch.float32, large).items():
        kind = name.split(",")[0] + (", packed" if "packed" in name else "")
        found.setdefault(kind, case)
    return found


def test_two_threads_call_every_op_with_other_sizes() -> None:
    """Scratch memory, thread pools and what is kept with packed blendshapes belong to a call or a thread."""
    small, large = every_op(False), every_op(True)
    calls = [case for name in small for case in (small[name], large[name])]
    expected = [results_of(*case) for case in calls]

    def run(order: range) -> list[tuple[int, list[Tensor]]]:
        return [(at, results_of(*calls[at])) for at in order]

    count = len(calls)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(run, [range(count), range(count - 1, -1, -1)]):
            for at, results in found:
                for one, other in zip(results, expected[at], strict=True):
                    assert torch.equal(one, other), f"call {at}"


class _Mallinfo(ctypes.Structure):
    """The answer of mallinfo2: blocks in use are mapped (hblkhd) or of its arenas (uordblks)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


def _in_use() -> int:
    """Bytes that this process has taken from malloc and not given back."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    gc.collect()
    info = mallinfo()
    return info.uordblks + info.hblkhd


def _counts() -> bool:
    """Whether the allocator tells; that of a sanitizer says 0."""
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallinfo2") and _in_use() > 0


counts_memory = pytest.mark.skipif(not _counts(), reason="asks the allocator of glibc")


def _growth(call: Callable[[], object], warm: int, times: int) -> float:
    """Bytes a call keeps, after those that fill pools and caches: the least of three counts, as others allocate too."""
    for _ in range(warm):
        call()
    counts = []
    for _ in range(3):
        before = _in_use()
        for _ in range(times):
            call()
        counts.append((_in_use() - before) / times)
    return min(counts)


@counts_memory
def test_the_count_sees_what_is_kept() -> None:
    kept: list[Tensor] = []
    assert _growth(lambda: kept.append(torch.zeros(1000)), 10, 100) > 3000


@pytest.mark.slow
@counts_memory
@pytest.mark.parametrize("name", every_op(False))
def test_a_thousand_calls_keep_nothing(name: str) -> None:
    """Less than the smallest tensor each."""
    function, inputs = every_op(False)[name]
    assert _growth(lambda: results_of(function, inputs), 100, 1000) < 50


@pytest.mark.slow
@counts_memory
def test_new_objects_are_let_go() -> None:
    """What is made once keeps what it was used with as long as that lives, not longer."""

    def once() -> None:
        for function, inputs in every_op(False).values():
            function(**inputs)

    assert _growth(once, 10, 50) < 500
