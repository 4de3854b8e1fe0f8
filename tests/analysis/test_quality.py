"""Quality of frames: 1 where nothing speaks against them, 0 without a face, between beside gaps and at full scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from biomechau.analysis._quality import frame_quality
from biomechau.corpus import FaceSequence


def _sequence(coefficients: torch.Tensor, valid: torch.Tensor | None = None) -> FaceSequence:
    count = len(coefficients)
    return FaceSequence(
        name="x",
        coefficients=coefficients,
        channels=tuple(f"shape{k}" for k in range(coefficients.shape[1])),
        timestamp=torch.arange(count, dtype=torch.float64) / 25,
        valid=torch.ones(count, dtype=torch.bool) if valid is None else valid,
        fps=25.0,
    )


def test_a_plain_recording_is_trusted() -> None:
    c = torch.full((20, 3), 0.4)
    quality = frame_quality(_sequence(c), np.full(20, 5.0), np.zeros(20))
    np.testing.assert_array_equal(quality, 1.0)


def test_lost_frames_are_zero_and_their_neighbours_are_doubted() -> None:
    valid = torch.ones(20, dtype=torch.bool)
    valid[8:11] = False
    quality = frame_quality(_sequence(torch.full((20, 2), 0.4), valid), np.full(20, 5.0), None)
    np.testing.assert_array_equal(quality[8:11], 0.0)
    np.testing.assert_allclose(quality[[7, 11]], 0.7)  # 0.04 s of 0.1 away
    np.testing.assert_allclose(quality[[6, 12]], 0.9)
    np.testing.assert_array_equal(quality[[0, 5, 13, 19]], 1.0)


def test_full_scores_and_residuals_lower_it() -> None:
    c = torch.tensor([[0.0, 0.0], [1.0, 0.5], [1.0, 1.0], [0.3, 0.2]])
    motion, residual = np.array([0.1, 4.0, 4.0, 4.0]), np.array([0.05, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(frame_quality(_sequence(c), motion, residual), [0.95, 2 / 3, 0.5, 0.75])


def test_the_tracker_is_believed_when_it_doubts() -> None:
    sequence = replace(_sequence(torch.full((3, 2), 0.4)), confidence=torch.tensor([1.0, 0.5, 0.0]))
    np.testing.assert_allclose(frame_quality(sequence, np.ones(3), None), [1.0, 0.5, 0.0])
