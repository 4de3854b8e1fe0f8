"""The benchmark cases under pytest-benchmark, ours and the twin: ``pytest benchmarks``."""

from __future__ import annotations

from typing import Any

import pytest
from cases import CASES, Case
from faces import rig_path
from measure import prepare
from report import OURS


@pytest.mark.parametrize("mode", ["forward", "both"])
@pytest.mark.parametrize("name", [OURS, "twin"])
@pytest.mark.parametrize("case", [case for case in CASES if not case.gpu], ids=lambda case: case.name)
def test_case(benchmark: Any, case: Case, name: str, mode: str) -> None:
    benchmark.group = f"{case.name} {mode}"
    [entry] = prepare(case.op, case.problem(rig_path(None)), lambda peer: peer.name == name)
    assert entry.runnable is not None
    benchmark.pedantic(getattr(entry.runnable, mode), rounds=15, warmup_rounds=2)
