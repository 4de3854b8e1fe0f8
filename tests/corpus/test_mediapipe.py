"""MediaPipe's blendshapes in CSV files: times, frames without a face, dead channels, broken files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from corpus.tables import MEDIAPIPE_NAMES, blendshapes, write_mediapipe, write_table

from biomechau.corpus import FaceSequence, read_blendshape_table, read_sequence
from biomechau.corpus.channel_names import MEDIAPIPE_SHAPES
from biomechau.rig import FaceRig

HEADER = ["frame", "timestamp", *MEDIAPIPE_NAMES]


def _rows(count: int = 6, fps: float = 30) -> list[list[str]]:
    return [[str(frame), f"{frame / fps:.3f}", *blendshapes(frame)] for frame in range(count)]


def _read(folder: Path, rows: list[list[str]], header: list[str] = HEADER, fps: float | None = None) -> FaceSequence:
    return read_blendshape_table(write_table(folder / "take.csv", header, rows), fps)


def test_shapes_are_found_by_name(tmp_path: Path) -> None:
    assert (*MEDIAPIPE_NAMES[1:],) == MEDIAPIPE_SHAPES
    sequence = _read(tmp_path, _rows())
    assert sequence.channels == MEDIAPIPE_SHAPES
    expected = torch.arange(1, 52) * 0.01 + 0.02 * torch.arange(6)[:, None]
    torch.testing.assert_close(sequence.coefficients, expected)
    mirrored = [[*row[:2], *row[:1:-1]] for row in _rows()]
    again = _read(tmp_path, mirrored, [*HEADER[:2], *HEADER[:1:-1]])
    assert again.channels == MEDIAPIPE_SHAPES[::-1]
    assert torch.equal(again.coefficients.flip(1), sequence.coefficients)
    assert sequence.valid.all()
    assert sequence.frame is not None
    assert sequence.frame.tolist() == list(range(6))
    assert (sequence.name, sequence.source) == ("take", "MediaPipe blendshapes of take.csv")


def test_neutral_and_other_columns_do_not_matter(tmp_path: Path) -> None:
    header = ["video", "timestamp", *MEDIAPIPE_NAMES[1:], "detected"]
    rows = [["a b.mp4", row[1], *row[3:], "yes"] for row in _rows()]
    sequence = _read(tmp_path, rows, header)
    assert sequence.channels == MEDIAPIPE_SHAPES
    assert sequence.frame is None


def test_rounded_times_give_the_rate(tmp_path: Path) -> None:
    # 0.000, 0.033, 0.067, 0.100: the median step says 30.3
    sequence = _read(tmp_path, _rows(91))
    assert sequence.fps == pytest.approx(30, abs=1e-3)
    assert sequence.dropped == ()


def test_dropped_frames_show_in_the_times(tmp_path: Path) -> None:
    rows = [row for row in _rows(40) if row[0] not in ("7", "8")]
    assert _read(tmp_path, rows).dropped == ((6, 2),)
    without = _read(tmp_path, [row[1:] for row in rows], HEADER[1:])
    assert without.dropped == ((6, 2),)
    assert without.fps == pytest.approx(30, abs=0.1)
    assert _read(tmp_path, rows, fps=50).timestamp[7].item() == pytest.approx(9 / 50)


def test_milliseconds_have_a_name_of_their_own(tmp_path: Path) -> None:
    rows = [[row[0], str(round(1000 * float(row[1]))), *row[2:]] for row in _rows(30)]
    sequence = _read(tmp_path, rows, ["frame", "timestamp_ms", *MEDIAPIPE_NAMES])
    assert sequence.fps == pytest.approx(30, abs=0.05)
    guessed = _read(tmp_path, rows)
    assert torch.equal(guessed.timestamp, sequence.timestamp)
    assert guessed.notes == ("column timestamp is assumed to be in milliseconds",)


def test_rate_must_be_known(tmp_path: Path) -> None:
    path = write_mediapipe(tmp_path / "take.csv", range(2440, 2450))
    with pytest.raises(ValueError, match=r"take\.csv: fps must be given \(--recorded-fps\)"):
        read_blendshape_table(path)
    sequence = read_blendshape_table(path, 25)
    torch.testing.assert_close(sequence.timestamp, torch.arange(10).double() / 25)
    with pytest.raises(ValueError, match="fps must be positive"):
        read_blendshape_table(path, 0)
    with pytest.raises(ValueError, match="it cannot be found from a single frame"):
        _read(tmp_path, _rows(1))


def test_frames_without_a_face_are_not_valid(tmp_path: Path) -> None:
    rows = _rows()
    rows[2][2:], rows[4][2:] = [""] * 52, ["NaN"] * 52
    sequence = _read(tmp_path, rows)
    assert sequence.valid.tolist() == [True, True, False, True, False, True]
    assert torch.isfinite(sequence.resample(30).coefficients).all()


def test_dead_channels_are_named(tmp_path: Path) -> None:
    path = write_mediapipe(tmp_path / "take.csv", range(9), dead=("cheekPuff", "noseSneerLeft"))
    assert read_blendshape_table(path, 25).notes == ("channels that never move by 0.01: 2 (cheekPuff, noseSneerLeft)",)
    assert read_blendshape_table(write_mediapipe(path, range(9)), 25).notes == ()


def test_recordings_drive_a_rig(tmp_path: Path) -> None:
    path = write_table(tmp_path / "take.csv", HEADER, _rows())
    sequence = read_sequence(path)
    assert sequence.channels == MEDIAPIPE_SHAPES
    channels = FaceRig.builtin(1000).map_channels(sequence.channels)
    assert channels.missing_shapes in ((), ("tongueOut",))


BROKEN: dict[str, tuple[Callable[[list[str], list[list[str]]], object], str]] = {
    "twice": (lambda header, _: header.__setitem__(2, "jawOpen"), ":1: column 'jawOpen' appears twice"),
    "text": (lambda _, rows: rows[1].__setitem__(27, "open"), ":3: column jawOpen: expected a finite number"),
    "infinite": (lambda _, rows: rows[1].__setitem__(27, "inf"), ":3: column jawOpen: expected a finite number"),
    "percent": (lambda _, rows: rows[1].__setitem__(27, "35"), ":3: column jawOpen: expected a number of at most 10"),
    "half-a-row": (lambda _, rows: rows[1].__setitem__(27, ""), ":3: column jawOpen has no value, but others"),
    "two-faces": (lambda _, rows: rows[2].__setitem__(0, "1"), ":4: frame 1 appears twice; is this a second face"),
    "falls": (lambda _, rows: rows[2].__setitem__(0, "0"), ":4: column frame: 0 does not increase from 1"),
    "fraction": (lambda _, rows: rows[2].__setitem__(0, "2.5"), ":4: column frame: expected a whole number from 0"),
    "negative": (lambda _, rows: rows[0].__setitem__(0, "-1"), ":2: column frame: expected a whole number from 0"),
    "time": (lambda _, rows: rows[2].__setitem__(1, "0.0"), r":4: column timestamp: 0 does not increase from 0\.033"),
    "no-face": (lambda _, rows: [row.__setitem__(slice(2, None), [""] * 52) for row in rows], ": no row has a face"),
    "short": (lambda _, rows: rows[2].pop(), ":4: expected 54 values, found 53"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_file_is_named(
    tmp_path: Path, change: Callable[[list[str], list[list[str]]], object], message: str
) -> None:
    header, rows = list(HEADER), _rows()
    change(header, rows)
    with pytest.raises(ValueError, match=rf"take\.csv{message}"):
        _read(tmp_path, rows, header)


@pytest.mark.parametrize(
    ("column", "times", "message"),
    [
        ("timestamp", ["0", "0.04", "0.08", "1e8"], r":5: column timestamp: .* 1e\+08 s, after the frame before it"),
        ("timestamp_ms", ["0", "40", "80", "1e12"], r":5: column timestamp_ms: .* 1e\+09 s, after the frame before it"),
        (
            "timestamp",
            ["0", "1e-9", "2e-9", "3e-9"],
            r": column timestamp: fps must lie in \[0.01, 10000\], got 1e\+09",
        ),
        ("timestamp", ["0", "0.04", "0.08", "1e300"], ":5: column timestamp: expected a number of at most 1e"),
    ],
)
def test_times_that_ask_for_gigabytes_are_named(tmp_path: Path, column: str, times: list[str], message: str) -> None:
    rows = ([time, *blendshapes(frame)] for frame, time in enumerate(times))
    path = write_table(tmp_path / "clip.csv", [column, *MEDIAPIPE_NAMES], rows)
    with pytest.raises(ValueError, match=rf"clip\.csv{message}"):
        read_blendshape_table(path)


def test_frame_numbers_that_ask_for_gigabytes_are_named(tmp_path: Path) -> None:
    path = write_mediapipe(tmp_path / "clip.csv", (0, 1, 2, 10**8))
    with pytest.raises(ValueError, match=r"clip\.csv:5: column frame: 99,999,998 frames at 25 per second"):
        read_blendshape_table(path, 25.0)
