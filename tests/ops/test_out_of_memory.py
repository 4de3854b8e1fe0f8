"""A kernel without memory for its scratch raises MemoryError; the process lives, and the next call is right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import ctypes, os, sys
import torch
from ops.cases import results_of
from ops.kernel_cases import kernel_cases
from biomechau import _core

memory = ctypes.CDLL(os.environ["LD_PRELOAD"])
memory.allocations.restype = ctypes.c_long
_core.select_isa(sys.argv[1])
torch.set_num_threads(int(sys.argv[2]))
for name, (function, inputs) in kernel_cases(torch.float32, large=sys.argv[2] != "1").items():
    before = memory.allocations()
    expected = results_of(function, inputs)
    count = memory.allocations() - before
    assert count > 0 or name.startswith("distribute_forces"), f"{name} takes no scratch memory"
    for number in sorted({0, 1, count // 4, count // 2, 3 * count // 4, count - 1} & set(range(count))):
        memory.fail_allocation(ctypes.c_long(number))
        try:
            results_of(function, inputs)
        except MemoryError as error:
            assert "no memory for its scratch" in str(error), error
        else:
            raise AssertionError(f"{name}: allocation {number} of {count} failed, and nobody said so")
        finally:
            memory.fail_allocation(ctypes.c_long(-1))
    for actual, right in zip(results_of(function, inputs), expected, strict=True):
        assert torch.equal(actual, right), name
    print(name, count)
print("done")
"""


@pytest.fixture(scope="module")
def failing_new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs LD_PRELOAD and a C++ compiler (set CXX)")
    library = tmp_path_factory.mktemp("failing_new") / "failing_new.so"
    source = Path(__file__).with_name("failing_new.cpp")
    subprocess.run([compiler, "-std=c++17", "-shared", "-fPIC", source, "-o", library], check=True)
    return library


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_allocations_of_every_kernel_may_fail(isa: str, threads: int, failing_new: Path) -> None:
    command = [sys.executable, "-c", _PROGRAM, isa, str(threads)]
    environment = {**os.environ, "LD_PRELOAD": str(failing_new)}
    tests = Path(__file__).parents[1]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tests, check=False)
    assert run.returncode == 0, f"{run.stdout[-300:]}\n{run.stderr[-2000:]}"
    assert run.stdout.endswith("done\n")
