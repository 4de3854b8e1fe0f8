"""The benchmark cases under pytest-benchmark, ours and the twin: ``pytest benchmarks``, then ``-m large``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from cases import CASES, Case
from faces import FACE, rig_path
from measure import Entry, prepare
from report import OURS

ON_CPU = {case.id: case for case in CASES if not case.gpu}


def is_large(case: Case) -> bool:
    """Whether its twin takes more than a few seconds."""
    many = case.op == "generalized_mass" and case.sizes["num_sequences"] > 8
    return case.num_vertices > FACE or many or case.sizes.get("in_channels", 0) > 3


@lru_cache(maxsize=1)  # both modes of a peer come one after the other
def entry(case: str, name: str) -> Entry:
    """The peer of that name, compared with float64."""
    [found] = prepare(ON_CPU[case].op, ON_CPU[case].problem(rig_path(None)), lambda peer: peer.name == name)
    return found


@pytest.mark.parametrize("mode", ["forward", "both"])
@pytest.mark.parametrize("name", [OURS, "twin"])
@pytest.mark.parametrize(
    "case", [pytest.param(id, marks=[pytest.mark.large] * is_large(case)) for id, case in ON_CPU.items()]
)
def test_case(benchmark: Any, case: str, name: str, mode: str) -> None:
    benchmark.group = f"{case}-{mode}"
    found = entry(case, name)
    assert found.runnable is not None, found.why_not
    benchmark.pedantic(getattr(found.runnable, mode), rounds=15, warmup_rounds=2)
