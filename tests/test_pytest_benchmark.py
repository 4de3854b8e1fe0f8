"""What users of ``pytest benchmarks`` do with pytest-benchmark, with the configuration of this repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_benchmark")

TOP = Path(__file__).parents[1]

CASES = """
import pytest

def test_quick(benchmark):
    benchmark.pedantic(int, rounds=1)

@pytest.mark.large
def test_slow(benchmark):
    benchmark.pedantic(int, rounds=1)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two benchmarks beside the configuration of the real ones."""
    shutil.copy(TOP / "pyproject.toml", tmp_path / "pyproject.toml")
    (tmp_path / "test_cases.py").write_text(CASES)
    return tmp_path


def run(folder: Path, *options: str) -> tuple[int, str]:
    """Exit status and output."""
    command = [sys.executable, "-m", "pytest", "test_cases.py", "-p", "no:cacheprovider", *options]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_large_ones_are_left_out_unless_asked_for(folder: Path) -> None:
    for options, chosen in (((), "1 passed, 1 deselected"), (("-m", "large"), "1 passed, 1 deselected")):
        code, output = run(folder, *options)
        assert (code, chosen in output) == (0, True), output
        assert ("test_slow" in output) == bool(options)


@pytest.mark.slow
def test_comparing_with_nothing_with_oneself_and_with_another_machine(folder: Path) -> None:
    code, output = run(folder, "--benchmark-compare")
    assert code == 0, output
    assert "Can't compare" in output
    code, output = run(folder, "--benchmark-autosave")
    assert code == 0, output
    [saved] = folder.glob(".benchmarks/*/*.json")
    code, output = run(folder, "--benchmark-compare")
    assert code == 0, output
    assert "machine_info is different" not in output
    data = json.loads(saved.read_text())
    data["machine_info"]["node"] = "another"
    saved.write_text(json.dumps(data))
    code, output = run(folder, "--benchmark-compare")
    assert code == 0, output
    assert "machine_info is different" in output


def test_saving_when_nothing_is_selected(folder: Path) -> None:
    code, output = run(folder, "--benchmark-autosave", "-k", "nothing")
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED, output
    assert "Not saving anything" in output
    assert "INTERNALERROR" not in output
