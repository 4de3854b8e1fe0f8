"""The model behind benchmarks/cuda_predictions.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

if not (Path(__file__).parents[1] / "benchmarks" / "cuda_predictions.py").is_file():
    pytest.skip("benchmarks are not here (they are not part of the package)", allow_module_level=True)

import cuda_predictions
from cuda_model import (
    elastic_before,
    elastic_steps,
    inverses_after,
    inverses_before,
    kept_runs,
    kernel,
    mass_after,
)
from cuda_predictions import Prediction, table


def test_a_kernel_takes_the_longest_of_three_times() -> None:
    assert kernel(528 * 1.9e9 * 0.7) == pytest.approx(1)
    assert kernel(1, through_l2=11e12, memory=4.3e12) == pytest.approx(2)
    assert kernel(1, through_l2=5.5e12, memory=8.6e12) == pytest.approx(2)


def test_runs_without_a_product_are_left_out() -> None:
    """The 36 pairs of 8 shapes are two runs."""
    shapes = torch.zeros(8, 40, 3)
    assert kept_runs(shapes) == 0
    shapes[0, 3] = 1  # in one of three tiles of vertices, in one run
    assert kept_runs(shapes) == pytest.approx(1 / 3)
    shapes[:] = 1
    assert kept_runs(shapes) == 2


def test_less_work_takes_less_time() -> None:
    assert elastic_steps(64, 32, 55, 196) < elastic_steps(64, 32, 55, elastic_before(55))
    assert inverses_after(1024, 55) < inverses_after(1024, 57) < inverses_before(1024, 55)
    assert mass_after(64, 9_409, 55, 20) < mass_after(64, 9_409, 55, 49) < mass_after(128, 9_409, 55, 49)


def test_the_table_says_that_nothing_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIOMECHAU_TEST_DATA", raising=False)
    monkeypatch.setattr(cuda_predictions, "predictions", lambda face: [Prediction("mass", 2e-6, 1e-6, "table", 3e-6)])
    assert cuda_predictions.main(["--out", str(tmp_path / "table.md")]) == 0
    text = (tmp_path / "table.md").read_text()
    assert "Predicted, never measured" in text
    assert table([Prediction("mass", 2e-6, 1e-6, "table", 3e-6)])[-1] in text
    assert "| mass | 2 | 1 | 3 | table |" in text
