"""FaceSequence: what it refuses, gaps, and resampling."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from biomechau.corpus import FaceSequence
from biomechau.corpus.face_sequence import find_dropped


def _sequence(times: Tensor, curve: Callable[[Tensor], Tensor], fps: float, pose: Tensor | None = None) -> FaceSequence:
    """One channel that follows a curve, and a second that is 1 minus it."""
    values = curve(times)
    return FaceSequence(
        name="made",
        coefficients=torch.stack([values, 1 - values], 1).float(),
        channels=("jawOpen", "mouthClose"),
        timestamp=times,
        valid=torch.ones(len(times), dtype=torch.bool),
        fps=fps,
        dropped=find_dropped(times, fps),
        pose=torch.empty(0) if pose is None else pose,
        pose_channels=() if pose is None else ("HeadYaw",),
    )


def _times(num_frames: int, fps: float) -> Tensor:
    return torch.arange(num_frames, dtype=torch.float64) / fps


def _tone(frequency: float) -> Callable[[Tensor], Tensor]:
    return lambda times: 0.5 + 0.5 * torch.sin(2 * math.pi * frequency * times)


BROKEN: dict[str, tuple[dict[str, object], type[Exception], str]] = {
    "dtype": ({"coefficients": torch.zeros(4, 2).double()}, TypeError, "coefficients must be torch.float32"),
    "frames": ({"coefficients": torch.zeros(3, 2)}, ValueError, r"timestamp must have shape \(3,\), got \(4,\)"),
    "channels": ({"channels": ("jawOpen",)}, ValueError, r"coefficients must have shape \(4, 1\)"),
    "valid": ({"valid": torch.ones(4)}, TypeError, "valid must be torch.bool"),
    "time-dtype": ({"timestamp": torch.arange(4.0)}, TypeError, "timestamp must be torch.float64"),
    "time-falls": ({"timestamp": torch.tensor([0, 1, 1, 2]).double()}, ValueError, "does not increase after frame 1"),
    "time-nan": ({"timestamp": torch.tensor([0, 1, math.nan, 2]).double()}, ValueError, "not finite in frame 2"),
    "pose": ({"pose": torch.zeros(4, 2)}, ValueError, r"pose must have shape \(4, 0\)"),
    "frame-dtype": ({"frame": torch.arange(4.0)}, TypeError, "frame must be torch.int64"),
    "frame-falls": ({"frame": torch.tensor([3, 5, 5, 6])}, ValueError, "frame does not increase after frame 1"),
    "fps": ({"fps": 0.0}, ValueError, "fps must be positive, got 0"),
    "nan": (
        {"coefficients": torch.tensor([[0, 0], [0, 0], [0, math.nan], [0, 0]])},
        ValueError,
        "coefficient mouthClose is not finite in frame 2",
    ),
}


@pytest.mark.parametrize(("change", "error", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_sequence_is_refused(change: dict[str, object], error: type[Exception], message: str) -> None:
    sequence = _sequence(_times(4, 30), _tone(1), 30)
    with pytest.raises(error, match=message):
        replace(sequence, **change)  # pyright: ignore[reportArgumentType]


def test_sequence_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        _sequence(_times(0, 30), _tone(1), 30)


def test_frames_that_are_not_valid_may_hold_anything() -> None:
    sequence = _sequence(_times(4, 30), _tone(1), 30)
    coefficients = sequence.coefficients.clone()
    coefficients[2] = math.nan
    valid = torch.tensor([True, True, False, True])
    resampled = replace(sequence, coefficients=coefficients, valid=valid).resample(30)
    assert resampled.valid.all()
    assert torch.isfinite(resampled.coefficients).all()


def test_dropped_frames_are_found_from_times() -> None:
    times = torch.tensor([0, 1.02, 2, 5.01, 6, 7.4, 9]).double() / 60
    assert find_dropped(times, 60) == ((2, 2), (5, 1))
    assert _sequence(times, _tone(1), 60).num_dropped == 3


def test_resampling_to_its_own_rate_changes_nothing() -> None:
    sequence = _sequence(_times(50, 60), _tone(3), 60, pose=torch.rand(50, 1))
    same = sequence.resample(60)
    torch.testing.assert_close(same.coefficients, sequence.coefficients, atol=1e-6, rtol=0)
    torch.testing.assert_close(same.pose, sequence.pose, atol=1e-6, rtol=0)
    torch.testing.assert_close(same.timestamp, sequence.timestamp)
    assert same.valid.all()


@pytest.mark.parametrize(("fps", "new_fps"), [(60, 25), (60, 30), (60, 29.97), (59.94, 25), (30, 25), (30, 12.5)])
def test_slow_motion_survives_a_lower_rate(fps: float, new_fps: float) -> None:
    sequence = _sequence(_times(int(4 * fps) + 1, fps), _tone(1.5), fps)
    slow = sequence.resample(new_fps)
    assert len(slow) == int(float(sequence.timestamp[-1]) * new_fps + 1e-6) + 1
    assert slow.fps == new_fps
    torch.testing.assert_close(slow.timestamp, _times(len(slow), new_fps))
    expected = _tone(1.5)(slow.timestamp).float()
    inner = slice(10, -10)  # the filter needs some frames on both sides
    assert (slow.coefficients[inner, 0] - expected[inner]).abs().max() < 0.02


def test_fast_motion_is_filtered_and_not_folded() -> None:
    """20 Hz at 60 fps would come back as 5 Hz at 25 fps if every 2.4th frame were taken."""
    slow = _sequence(_times(601, 60), _tone(20), 60).resample(25)
    assert (slow.coefficients[20:-20, 0] - 0.5).abs().max() < 0.01


def test_resampled_channels_keep_their_range() -> None:
    step = _sequence(_times(240, 60), lambda times: (times > 2).double(), 60).resample(25)
    assert step.coefficients.min() >= 0
    assert step.coefficients.max() <= 1
    assert step.coefficients[0, 0] == pytest.approx(0, abs=0.02)
    assert step.coefficients[-1, 0] == pytest.approx(1, abs=0.02)


def test_higher_rate_is_interpolated() -> None:
    ramp = _sequence(_times(11, 10), lambda times: times, 10).resample(40)
    assert len(ramp) == 41
    torch.testing.assert_close(ramp.coefficients[:, 0].double(), _times(41, 40), atol=1e-6, rtol=0)


def test_grid_starts_at_the_first_frame() -> None:
    sequence = _sequence(_times(10, 30) + 3.25, lambda times: times, 30).resample(60)
    assert sequence.timestamp[0] == 3.25
    assert len(sequence) == 19


def test_long_gaps_are_marked_and_short_ones_are_filled() -> None:
    frames = [n for n in range(120) if n not in {20, 21, 22} and not 60 <= n < 67]
    times = torch.tensor(frames).double() / 60
    sequence = _sequence(times, lambda t: t / 2, 60)
    assert sequence.dropped == ((19, 3), (56, 7))
    resampled = sequence.resample(60)
    assert (~resampled.valid).nonzero()[:, 0].tolist() == list(range(60, 67))
    assert resampled.dropped == sequence.dropped
    torch.testing.assert_close(resampled.coefficients[:, 0].double(), _times(120, 60) / 2, atol=1e-6, rtol=0)
    assert (~sequence.resample(60, max_gap=0.05).valid).sum() == 10
    assert sequence.resample(60, max_gap=0.2).valid.all()
    assert (~sequence.resample(25).valid).nonzero()[:, 0].tolist() == [25, 26, 27]


def test_frames_outside_of_the_valid_ones_are_not_valid() -> None:
    sequence = _sequence(_times(30, 30), _tone(1), 30)
    valid = torch.ones(30, dtype=torch.bool)
    valid[[0, 1, 28, 29]] = False
    resampled = replace(sequence, valid=valid).resample(30)
    assert torch.equal(resampled.valid, valid)


def test_one_frame_can_be_resampled() -> None:
    single = _sequence(_times(1, 30), lambda times: times + 0.25, 30)
    for fps in (25, 60):
        resampled = single.resample(fps)
        assert resampled.coefficients.tolist() == [[0.25, 0.75]]
        assert resampled.valid.all()


@pytest.mark.parametrize("fps", [0, -25, math.nan, math.inf])
def test_rate_must_be_positive(fps: float) -> None:
    with pytest.raises(ValueError, match="fps must be positive"):
        _sequence(_times(4, 30), _tone(1), 30).resample(fps)


def test_gap_limit_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_gap must be positive"):
        _sequence(_times(4, 30), _tone(1), 30).resample(25, max_gap=0)


def test_sequence_without_valid_frames_cannot_be_resampled() -> None:
    sequence = replace(_sequence(_times(4, 30), _tone(1), 30), valid=torch.zeros(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="made has no valid frame"):
        sequence.resample(25)


def test_long_recording_keeps_its_time() -> None:
    """Ten minutes to a rate that is no simple ratio: the last second still shows the right phase."""
    slow = _sequence(_times(36001, 60), _tone(1), 60).resample(23.976)
    error = slow.coefficients[-200:-30, 0].numpy() - _tone(1)(slow.timestamp[-200:-30]).numpy()
    assert np.abs(error).max() < 0.02


@pytest.mark.parametrize("fps", [59.9938, 59.994, 60.005, 62.4844])
def test_long_recording_of_an_odd_rate_keeps_its_time(fps: float) -> None:
    slow = _sequence(_times(36000, fps), _tone(1), fps).resample(25)
    error = slow.coefficients[20:-20, 0].numpy() - _tone(1)(slow.timestamp[20:-20]).numpy()
    assert np.abs(error).max() < 0.005


def test_rate_may_be_lowered_a_thousandfold() -> None:
    slow = _sequence(_times(240001, 60), lambda times: torch.full_like(times, 0.25), 60).resample(0.01)
    assert len(slow) == 41
    torch.testing.assert_close(slow.coefficients[:, 0], torch.full((41,), 0.25), atol=1e-3, rtol=0)
