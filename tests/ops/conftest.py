"""Every op test runs with poisoned memory: what a kernel leaves unwritten is NaN."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    assert torch.empty(0).new_empty(3).isnan().all(), "fresh memory is not poisoned"
    yield
    torch.use_deterministic_algorithms(False)
