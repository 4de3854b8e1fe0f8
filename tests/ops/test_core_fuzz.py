"""Whatever the compiled module is called with, it runs or raises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from biomechau import _core

_NEWEST = _core.supported_isas()[-1]
_MANY = [pytest.param(isa, 4000, marks=pytest.mark.slow) for isa in _core.supported_isas()]


@pytest.mark.parametrize(("isa", "calls"), [(_NEWEST, 1000), *_MANY])
def test_arguments_changed_by_chance(isa: str, calls: int) -> None:
    command = [sys.executable, "-m", "ops.core_fuzz", "0", str(calls), isa]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert run.returncode == 0, f"{run.returncode}\n{run.stdout[-1000:]}\n{run.stderr[-2000:]}"
    assert run.stdout.splitlines()[-1].startswith("done")
