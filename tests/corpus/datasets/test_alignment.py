"""Recordings onto labelled frames: by number, by time, with an offset, and refused where the default may be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biomechau.corpus import FaceSequence
from biomechau.corpus.datasets.alignment import align

LABELS = np.arange(90, 140)


def _recording(numbers: range | list[int] | None, count: int = 0, fps: float = 25, **changes: object) -> FaceSequence:
    """Channel a holds the frame number, or the time where frames have none; channel b holds minus that."""
    ticks = torch.arange(count) if numbers is None else torch.tensor(list(numbers))
    values = ticks / fps if numbers is None else ticks.float()
    options: dict[str, object] = {
        "name": "made",
        "coefficients": torch.stack([values, -values], 1),
        "channels": ("a", "b"),
        "timestamp": (ticks - ticks[0]).double() / fps,
        "valid": torch.ones(len(ticks), dtype=torch.bool),
        "fps": fps,
        "frame": None if numbers is None else ticks,
    }
    return FaceSequence(**{**options, **changes})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("numbers", [range(90, 140), range(0, 300), range(60, 140)])
def test_by_number(numbers: range) -> None:
    found = align(_recording(numbers), LABELS, 25)
    assert found.coefficients[:, 0].tolist() == LABELS.tolist()
    assert found.coefficients[:, 1].tolist() == (-LABELS).tolist()
    assert found.valid.all()
    extra = len(numbers) - 50
    assert found.notes == ((f"recorded frames without a label, left out: {extra}",) if extra else ())


def test_what_is_missing_is_masked_and_never_shifted() -> None:
    numbers = [n for n in range(92, 150) if n not in (100, 101, 110)]
    valid = torch.tensor([n not in (95, 120) for n in numbers])
    coefficients = _recording(numbers).coefficients.clone()
    coefficients[~valid] = torch.nan
    found = align(_recording(numbers, valid=valid, coefficients=coefficients), LABELS, 25)
    masked = [90, 91, 95, 100, 101, 110, 120]
    assert LABELS[~found.valid].tolist() == masked
    assert found.notes == (
        "labelled frames not in the recording, masked: 5 (90-91, 100-101, 110)",
        "labelled frames without a face, masked: 2 (95, 120)",
        "recorded frames without a label, left out: 10",
    )
    # Filled along a line inside, and with the nearest value outside.
    np.testing.assert_allclose(found.coefficients[:, 0], LABELS.clip(92), rtol=1e-6)


def test_offset() -> None:
    counted = _recording(range(50))
    with pytest.raises(ValueError, match="frames 0 to 49, the labels 90 to 139: give --frame-offset"):
        align(counted, LABELS, 25)
    for offset in ("first", 90):
        assert align(counted, LABELS, 25, offset).coefficients[:, 0].tolist() == list(range(50))  # pyright: ignore
    # Confirmed: its numbers are the labels', and do not reach the last of them.
    short = _recording(range(0, 120))
    with pytest.raises(ValueError, match="give --frame-offset"):
        align(short, LABELS, 25)
    assert align(short, LABELS, 25, 0).valid.sum() == 30
    assert align(_recording(range(100, 151)), LABELS, 25, -10).coefficients[:, 0].tolist() == list(range(100, 150))
    with pytest.raises(ValueError, match="no labelled frame .* labels 90 to 139, recording 1090 to"):
        align(counted, LABELS, 25, 1090)
    with pytest.raises(ValueError, match="labels 90 to 139, recording 2440 to 2489$"):
        align(_recording(range(2440, 2490)), LABELS, 25)


def test_labels_that_count_from_1() -> None:
    labels = np.arange(1, 51)
    counted = align(_recording(range(50)), labels, 20, first_frame=1)
    assert counted.coefficients[:, 0].tolist() == list(range(50))
    assert counted.notes == ("the recording counts its frames from 0, the labels from 1: shifted by one",)
    same = align(_recording(range(1, 51)), labels, 20, first_frame=1)
    assert same.coefficients[:, 0].tolist() == list(range(1, 51))
    assert same.notes == ()
    kept = align(_recording(range(50)), labels, 20, 0, first_frame=1)
    assert kept.valid.tolist() == [True] * 49 + [False]


@pytest.mark.parametrize("fps", [20, 25, 30, 60])
def test_by_time(fps: float) -> None:
    found = align(_recording(None, round(2 * fps), fps), LABELS, 25)
    inner = slice(8, -8)  # the low-pass filter needs some frames on both sides
    np.testing.assert_allclose(found.coefficients[inner, 0], np.arange(50)[inner] / 25, atol=0.01)
    assert found.valid[:48].all()
    later = align(_recording(None, round(2 * fps), fps), LABELS, 25, 100)
    assert LABELS[~later.valid][:10].tolist() == list(range(90, 100))
    np.testing.assert_allclose(later.coefficients[18:-8, 0], np.arange(8, 32) / 25, atol=0.01)


def test_length_of_a_recording_without_numbers() -> None:
    found = align(_recording(None, 52), LABELS, 25)
    assert found.notes == ("recorded frames without a label, left out: 2",)
    with pytest.raises(ValueError, match="53 frames without numbers, the labels have 50"):
        align(_recording(None, 53), LABELS, 25)
    assert align(_recording(None, 53), LABELS, 25, "first").valid.all()
    short = align(_recording(None, 40), LABELS, 25)
    assert short.notes == ("labelled frames not in the recording, masked: 10 (130-139)",)


def test_a_recording_without_faces_in_the_labelled_frames() -> None:
    numbers = range(80, 150)
    valid = torch.tensor([n < 90 for n in numbers])
    with pytest.raises(ValueError, match="no labelled frame has coefficients.* with a face"):
        align(_recording(numbers, valid=valid), LABELS, 25)
