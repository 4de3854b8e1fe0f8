"""Windows of a decoded motion."""

from __future__ import annotations

import pytest

from biomechau.physics.rollout_windows import rollout_windows


def test_each_window_starts_where_the_one_before_ends() -> None:
    assert rollout_windows(7, 4).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_left_over_frames_are_in_a_window_that_reaches_back() -> None:
    assert rollout_windows(6, 4).tolist() == [[0, 1, 2, 3], [2, 3, 4, 5]]


@pytest.mark.parametrize("num_frames", range(2, 40))
def test_every_frame_but_the_first_is_decoded(num_frames: int) -> None:
    for length in (2, 3, 16, 100):
        windows = rollout_windows(num_frames, length)
        assert windows.shape[1] == min(length, num_frames)
        assert windows[:, 1:].unique().tolist() == list(range(1, num_frames))


def test_a_single_frame_cannot_be_decoded() -> None:
    with pytest.raises(ValueError, match="at least 2 frames in windows of at least 2, got 1 and 16"):
        rollout_windows(1, 16)
