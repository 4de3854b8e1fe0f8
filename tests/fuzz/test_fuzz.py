"""Every reader under mutated inputs: right, or one error that names the file, within 2 GB.

``pytest -m slow tests/fuzz --fuzz-inputs 40000`` makes the run long: it is the number of inputs of each reader.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
def test_broken_inputs_are_refused_by_name(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    inputs = pytestconfig.getoption("--fuzz-inputs")
    environment = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fuzz.worker", "0", str(inputs)]
    # From its own folder: -m puts the folder it starts in first, and a checkout has no compiled core.
    found = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [line for line in lines if "fault" in line] == []
    assert found.returncode == 0, found.stderr[-2000:]
    # No test at all if nothing is refused, or nothing read.
    assert len(lines) >= 25
    for line in lines:
        assert line["inputs"] == inputs
        assert line["right"] < inputs
    assert sum(line["right"] for line in lines) > 0.05 * inputs * len(lines)
