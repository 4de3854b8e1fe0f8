"""Every op test runs with poisoned memory: what a kernel leaves unwritten is NaN. And where CUDA kernels run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cuda_emulation import emulated
from ops.cases import ISAS
from ops.cuda import Emulation, Gpu, missing_gpu

from biomechau import _core

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch asks for it where results must be reproducible


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the emulation needs minutes of compiling."""
    for item in items:
        if "emulation" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    assert torch.empty(0).new_empty(3).isnan().all(), "fresh memory is not poisoned"
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that the CPU kernels can run with here; by default the newest."""
    before = _core.isa()
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)


@pytest.fixture(scope="session")
def emulated_core(request: pytest.FixtureRequest) -> Path:
    """The compiled core with emulated CUDA kernels, built once for each state of the sources."""
    if reason := emulated.missing():
        pytest.skip(f"cannot build the CUDA emulation: {reason}")
    cache = getattr(request.config, "cache", None)  # absent when the plugin is switched off
    return emulated.build(cache.mkdir("cuda_emulation") if cache else Path(tempfile.mkdtemp()))


@pytest.fixture
def emulation(emulated_core: Path, monkeypatch: pytest.MonkeyPatch) -> Emulation:
    return Emulation(emulated_core, monkeypatch)


@pytest.fixture
def real_gpu() -> Gpu:
    if reason := missing_gpu():
        pytest.skip(reason)
    return Gpu()


@pytest.fixture(params=[pytest.param("emulated", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.cuda)])
def gpu(request: pytest.FixtureRequest) -> Gpu:
    return request.getfixturevalue({"emulated": "emulation", "cuda": "real_gpu"}[request.param])
