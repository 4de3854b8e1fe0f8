"""Whatever the compiled module is called with, it runs or raises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_arguments_changed_by_chance(isa: str) -> None:
    command = [sys.executable, "-m", "ops.core_fuzz", "0", "4000", isa]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert run.returncode == 0, f"{run.returncode}\n{run.stdout[-1000:]}\n{run.stderr[-2000:]}"
    assert run.stdout.splitlines()[-1].startswith("done")
