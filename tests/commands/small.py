"""What the tests of these commands share."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from biomechau.cli import main

UNITS = ["6", "7", "10", "12"]
# A model of a few hundred weights, two epochs.
SMALL = ["--hidden", "16", "--head-hidden", "8", "--context", "1", "--num-frames", "16", "--batch-size", "4"]
SMALL += ["--epochs", "2", "--accelerator", "cpu"]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_error(capsys: pytest.CaptureFixture[str], arguments: list[str], *words: str) -> None:
    """Exit code 2, nothing on stdout, one line on stderr that holds the words."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("biomechau: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
