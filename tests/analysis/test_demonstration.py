"""The scripted performance and how its recovery is measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biomechau.analysis.demonstration import PERFORMANCE, demonstrate, performance, recover
from biomechau.rig import Muscles


def test_performance_is_smooth_bounded_and_ends_at_rest() -> None:
    forces = performance(Muscles.facs().names, fps=100)
    assert forces.dtype == torch.float32
    assert forces.shape == (800, len(Muscles.facs()))
    assert forces.min() == 0
    assert forces.max() <= 1
    assert (forces[[0, -1]] == 0).all()
    # A jump would show as a difference of order 1; the fastest smooth rise, 0.9 in 0.3 s, as 0.045.
    assert forces.diff(dim=0).abs().max() < 0.05


def test_every_muscle_of_the_script_exists() -> None:
    names = Muscles.facs().names
    acting = [name for name, peak in zip(names, performance(names, 25).amax(0), strict=True) if peak > 0]
    for expression in PERFORMANCE:
        for name in expression.forces:
            assert any(identifier in (name, f"{name}_left", f"{name}_right") for identifier in acting), name


def test_a_bare_name_moves_both_sides_and_a_side_only_its_own() -> None:
    forces = performance(("frontalis_medialis_left", "frontalis_medialis_right", "buccinator_right"), 25)
    assert (forces[:, 0] == forces[:, 1]).all()
    assert forces[:, 0].any()
    assert not forces[:, 2].any()


def test_recover_measures_shape_and_size() -> None:
    time = np.linspace(0, 3, 50)
    truth = np.stack([np.sin(time), np.sin(time), np.sin(time), 0 * time], 1)
    found = np.stack([np.sin(time), 0.5 * np.sin(time), 0 * time, 0.1 * np.sin(time)], 1)
    exact, half, missed, resting = recover(truth, found, ("a", "b", "c", "d"))
    assert (exact.correlation, exact.relative_error) == (pytest.approx(1), pytest.approx(0))
    assert (half.correlation, half.relative_error) == (pytest.approx(1), pytest.approx(0.5))
    assert (missed.correlation, missed.relative_error) == (0.0, pytest.approx(1))
    assert (resting.correlation, resting.relative_error, resting.peak) == (None, None, 0.0)
    assert resting.recovered_peak == pytest.approx(found[:, 3].max())


def test_demonstration_recovers_its_forces() -> None:
    demonstration = demonstrate(num_vertices=1000)
    assert demonstration.median("correlation") > 0.98
    assert demonstration.median("relative_error") < 0.15
    assert demonstration.truth.shape == demonstration.found.result.forces.shape
    assert all(row.recovered_peak < 0.2 for row in demonstration.recoveries if row.correlation is None)
    assert demonstration.summary()["muscles"]["digastric"]["correlation"] > 0.98
    assert len(demonstration.moments) == 6


def test_the_seed_decides_the_noise() -> None:
    first, again, other = (demonstrate(1000, seed).found.coefficients for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_noise_is_that_of_the_summary() -> None:
    demonstration = demonstrate(1000)
    at_rest = demonstration.found.coefficients[:5]
    assert float(at_rest.std()) == pytest.approx(demonstration.summary()["noise"], rel=0.3)
