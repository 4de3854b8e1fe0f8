"""Times become a grid only where there are frames enough for it."""

from __future__ import annotations

import pytest
import torch

from biomechau.corpus.resampling import check_frame_numbers, check_span, even_grid


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            [0, 0.04, 1e8, 1e8 + 0.04],
            r"frame 2: 2,499,999,999 frames at 25 per second, 1e\+08 s, after the frame before",
        ),
        ([0, 1e300], "frame 1: .* after the frame before it, expected at most 100,000"),
        ([0, 3999, 7998, 11997, 15996], "frame 4: a span of 399,900 frames .* of which 5 are there"),
    ],
)
def test_times_too_far_apart_are_refused(times: list[float], message: str) -> None:
    timestamp = torch.tensor(times, dtype=torch.float64)
    with pytest.raises(ValueError, match=message) as refused:
        check_span(timestamp, 25.0)
    assert len(str(refused.value)) < 200
    with pytest.raises(ValueError, match=message):
        even_grid(timestamp, 25.0)


def test_recordings_with_pauses_are_kept() -> None:
    minutes = torch.tensor([0.0, 0.04, 900.0, 900.04], dtype=torch.float64)
    assert len(even_grid(minutes, 25.0)) == 22502
    slow = torch.arange(3600, dtype=torch.float64)  # an hour at one frame per second
    assert len(even_grid(slow, 60.0)) == 3599 * 60 + 1


def test_the_place_of_a_gap_is_named() -> None:
    with pytest.raises(ValueError, match=r"^labels.csv:7: 9,999,998 frames after"):
        check_frame_numbers(torch.tensor([1, 2, 10_000_000]), lambda index: f"labels.csv:{index + 5}")
