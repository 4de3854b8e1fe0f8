"""Live Link Face recordings: made files of every kind of writer, broken ones, and a real one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from biomechau.corpus import FaceSequence, read_blendshape_table
from biomechau.rig.names import ARKIT_SHAPES

SHAPES = [name[0].upper() + name[1:] for name in ARKIT_SHAPES]
POSE = [f"{part}{axis}" for part in ("Head", "LeftEye", "RightEye") for axis in ("Yaw", "Pitch", "Roll")]
HEADER = ["Timecode", "BlendshapeCount", *SHAPES, *POSE]


def _timecode(tick: float, rate: int = 60, start: int = 3600) -> str:
    seconds, frame = divmod(tick, rate)
    seconds = start + int(seconds)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frame:06.3f}"


def _row(timecode: str, header: Sequence[str] = HEADER) -> list[str]:
    """Each value tells its column: the n-th ARKit shape is n / 100, the n-th angle -n / 10."""
    values = {"Timecode": timecode, "BlendshapeCount": str(len(header) - 2)}
    values |= {name: f"{n / 100:.8f}" for n, name in enumerate(SHAPES)}
    values |= {name: f"{-n / 10:.8f}" for n, name in enumerate(POSE)}
    return [values[name] for name in header]


def _write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    path.write_text("\n".join(",".join(row) for row in rows) + "\n", encoding="utf-8")
    return path


def _read_ticks(folder: Path, ticks: Sequence[float], rate: int = 60, start: int = 3600) -> FaceSequence:
    rows = [_row(_timecode(tick, rate, start)) for tick in ticks]
    return read_blendshape_table(_write(folder / "take.csv", [HEADER, *rows]))


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    sequence = _read_ticks(tmp_path, range(3))
    assert sequence.name == "take"
    assert sequence.channels == tuple(SHAPES)
    assert sequence.pose_channels == tuple(POSE)
    torch.testing.assert_close(sequence.coefficients, (torch.arange(52) / 100).expand(3, 52))
    torch.testing.assert_close(sequence.pose, (-torch.arange(9) / 10).expand(3, 9))
    assert sequence.valid.all()
    assert sequence.source.startswith("Live Link Face take.csv, from timecode 01:00:00:00.000")


@pytest.mark.parametrize(
    "header",
    [
        HEADER[::-1],
        [*HEADER[:1], *HEADER[2:]],
        HEADER[:54],
        [name for name in HEADER[:54] if name != "TongueOut"],
        [name for name in HEADER if name != "TongueOut"],
        HEADER[:57],
    ],
    ids=["reversed", "no-count", "52", "51", "60", "55"],
)
def test_writers_differ_in_columns_and_order(tmp_path: Path, header: list[str]) -> None:
    rows = [header, *(_row(_timecode(tick), header) for tick in range(3))]
    sequence = read_blendshape_table(_write(tmp_path / "take.csv", rows))
    assert set(sequence.channels) == set(header) & set(SHAPES)
    assert set(sequence.pose_channels) == set(header) & set(POSE)
    for channel, value in zip(sequence.channels, sequence.coefficients[0], strict=True):
        assert value.item() == pytest.approx(SHAPES.index(channel) / 100), channel


def test_spelling_spaces_and_marks_of_the_header_do_not_matter(tmp_path: Path) -> None:
    header = ["Timecode", "BlendShapeCount", *ARKIT_SHAPES, *POSE]
    lines = [", ".join(header), *(", ".join(_row(_timecode(tick))) for tick in range(2)), "", ""]
    path = tmp_path / "take.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    sequence = read_blendshape_table(path)
    assert sequence.channels == ARKIT_SHAPES
    assert len(sequence) == 2


@pytest.mark.parametrize(
    ("ticks", "rate", "fps"),
    [
        (range(100), 60, 60),
        (range(100), 30, 30),
        (range(28, 33), 30, 30),
        (range(58, 63), 60, 60),
        (range(5), 60, 60),
        (range(0, 200, 2), 60, 30),
        ([n / 2 for n in range(100)], 30, 60),
        ([7], 60, 60),
    ],
    ids=["60", "30", "30-short", "60-short", "unclear", "every-second", "two-per-frame", "single"],
)
def test_frame_rate_is_told_by_the_timecodes(tmp_path: Path, ticks: Sequence[float], rate: int, fps: float) -> None:
    sequence = _read_ticks(tmp_path, ticks, rate)
    assert sequence.fps == fps
    assert sequence.dropped == ()
    torch.testing.assert_close(sequence.timestamp, torch.arange(len(ticks), dtype=torch.float64) / fps)


@pytest.mark.parametrize("rate", [15, 24, 25, 48, 50])
def test_other_timecode_rates_need_two_seconds_that_end(tmp_path: Path, rate: int) -> None:
    sequence = _read_ticks(tmp_path, range(3 * rate), rate)
    assert (sequence.fps, sequence.num_dropped) == (rate, 0)
    assert sequence.notes == (f"its timecodes count {rate} frames per second",)
    message = rf"take\.csv:4: column Timecode: frame numbers start again after {rate - 1}, .*--recorded-fps"
    with pytest.raises(ValueError, match=message):
        _read_ticks(tmp_path, range(rate - 2, rate + 2), rate)
    assert read_blendshape_table(tmp_path / "take.csv", fps=rate).fps == rate


def test_frames_dropped_where_a_second_begins_do_not_hide_60(tmp_path: Path) -> None:
    sequence = _read_ticks(tmp_path, [*range(40, 58), *range(60, 80)])
    assert sequence.fps == 60
    assert sequence.dropped == ((17, 2),)


@pytest.mark.parametrize(("ticks", "rate", "guess"), [(range(5), 30, True), (range(25, 35), 30, False)])
def test_a_note_tells_that_the_rate_is_a_guess(tmp_path: Path, ticks: range, rate: int, guess: bool) -> None:
    sequence = _read_ticks(tmp_path, ticks, rate)
    assert any("assumed to count 60 frames per second" in note for note in sequence.notes) is guess
    assert read_blendshape_table(tmp_path / "take.csv", fps=60).notes == ()


def test_argument_overrides_the_rate(tmp_path: Path) -> None:
    path = _write(tmp_path / "take.csv", [HEADER, *(_row(_timecode(tick, 30)) for tick in range(5))])
    assert read_blendshape_table(path, fps=30).fps == 30
    with pytest.raises(ValueError, match=r"take\.csv:5: column Timecode: frame 3 is not below 3 fps"):
        read_blendshape_table(path, fps=3)
    with pytest.raises(ValueError, match="fps must be positive"):
        read_blendshape_table(path, fps=-1)


def test_timecode_without_fraction_is_read(tmp_path: Path) -> None:
    rows = [HEADER, _row("10:00:00:58"), _row("10:00:00:59"), _row("10:00:01:00")]
    sequence = read_blendshape_table(_write(tmp_path / "take.csv", rows))
    torch.testing.assert_close(sequence.timestamp, torch.arange(3, dtype=torch.float64) / 60)


def test_drop_frame_timecode_is_read(tmp_path: Path) -> None:
    rows = [HEADER, _row("10:00:00;58.5"), _row("10:00:00;59.5"), _row("10:00:01;00.5")]
    sequence = read_blendshape_table(_write(tmp_path / "take.csv", rows))
    torch.testing.assert_close(sequence.timestamp, torch.arange(3, dtype=torch.float64) / 60)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("with_header", [True, False])
def test_empty_last_columns_and_blank_lines_are_left_out(tmp_path: Path, columns: int, with_header: bool) -> None:
    empty = [""] * columns
    rows = [[*HEADER, *(empty if with_header else [])], *([*_row(_timecode(tick)), *empty] for tick in range(3))]
    sequence = read_blendshape_table(_write(tmp_path / "take.csv", [*rows, ["   "], [" ", *empty]]))
    assert len(sequence) == 3
    assert sequence.pose_channels == tuple(POSE)
    assert sequence.pose[2, -1].item() == pytest.approx(-0.8)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_read(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "take.csv"
    path.write_text("\n".join(separator.join(row) for row in (HEADER, *(_row(_timecode(tick)) for tick in range(3)))))
    torch.testing.assert_close(read_blendshape_table(path).coefficients[1], torch.arange(52) / 100)


@pytest.mark.parametrize("hours", [24, 47, 99])
def test_hours_pass_24(tmp_path: Path, hours: int) -> None:
    sequence = _read_ticks(tmp_path, range(50, 80), start=hours * 3600 - 1)
    torch.testing.assert_close(sequence.timestamp, torch.arange(30, dtype=torch.float64) / 60)


def test_clock_may_start_again_at_midnight(tmp_path: Path) -> None:
    codes = ["23:59:59:58.0", "23:59:59:59.0", "00:00:00:00.0", "00:00:00:01.0"]
    sequence = read_blendshape_table(_write(tmp_path / "take.csv", [HEADER, *map(_row, codes)]))
    torch.testing.assert_close(sequence.timestamp, torch.arange(4, dtype=torch.float64) / 60)


def test_dropped_frames_are_reported(tmp_path: Path) -> None:
    sequence = _read_ticks(tmp_path, [0, 1.002, 2.003, 6.004, 7.005, 8.1, 10.007, 70, 71, 72])
    assert sequence.dropped == ((2, 3), (5, 1), (6, 59))
    assert sequence.num_dropped == 63
    assert sequence.timestamp[3].item() == pytest.approx(6.004 / 60)


def test_repeated_timecodes_are_left_out_and_reported(tmp_path: Path) -> None:
    sequence = _read_ticks(tmp_path, [0, 1, 1, 1, 2, 3, 3])
    assert sequence.repeated == (2, 3, 6)
    torch.testing.assert_close(sequence.timestamp, torch.arange(4, dtype=torch.float64) / 60)


BROKEN: dict[str, tuple[Callable[[list[list[str]]], object], str]] = {
    "missing-timecode": (lambda rows: [row.pop(0) for row in rows], r": fps must be given \(--recorded-fps\)"),
    "no-shapes": (
        lambda rows: [row.__delitem__(slice(2, 54)) for row in rows],
        ":1: none of its 11 columns has the name of a blendshape, such as jawOpen: Timecode, BlendshapeCount, .*--chan",
    ),
    "twice": (lambda rows: rows[0].__setitem__(55, "jawOpen"), ":1: column 'jawOpen' appears twice"),
    "no-frames": (lambda rows: rows.__delitem__(slice(1, None)), ": no frames after the header line"),
    "text": (lambda rows: rows[2].__setitem__(19, "n/a"), ":3: column JawOpen: expected a finite number, found 'n/a'"),
    "empty": (lambda rows: rows[2].__setitem__(19, ""), ":3: column JawOpen has no value, but others of the row do"),
    "nan": (lambda rows: rows[4].__setitem__(2, "NaN"), ":5: column EyeBlinkLeft has no value, but others"),
    "inf": (lambda rows: rows[1].__setitem__(62, "-inf"), ":2: column RightEyeRoll: expected a finite number"),
    "percent": (lambda rows: rows[2].__setitem__(19, "35"), ":3: column JawOpen: expected a number of at most 10 in s"),
    "huge": (lambda rows: rows[1].__setitem__(19, "1e39"), ":2: column JawOpen: expected a number of at most 10 in s"),
    "huge-angle": (
        lambda rows: rows[1].__setitem__(62, "-1e39"),
        r":2: column RightEyeRoll: expected a number of at most 3.4\S+ in size, found '-1e39'",
    ),
    "underscore": (lambda rows: rows[2].__setitem__(19, "1_0"), ":3: column JawOpen: expected a finite number"),
    "digits": (lambda rows: rows[2].__setitem__(19, "\u0661"), ":3: column JawOpen: expected a finite number"),
    "timecode-digits": (
        lambda rows: rows[2].__setitem__(0, "01:00:00:0\u0661.0"),
        ":3: column Timecode: expected HH:MM:SS:FF.mmm",
    ),
    "short": (lambda rows: rows[3].pop(), ":4: expected 63 values, found 62"),
    "long": (lambda rows: rows[3].append("0"), ":4: expected 63 values, found 64"),
    "timecode": (lambda rows: rows[2].__setitem__(0, "01:00:00.016"), ":3: column Timecode: expected HH:MM:SS:FF.mmm"),
    "minutes": (lambda rows: rows[2].__setitem__(0, "01:60:00:00.0"), ":3: column Timecode: expected HH:MM:SS:FF.mmm"),
    "frame": (lambda rows: rows[2].__setitem__(0, "01:00:00:60.0"), ":3: column Timecode: frame 60 is not below 60"),
    "backwards": (lambda rows: rows[4].__setitem__(0, "00:59:59:01.0"), ":5: column Timecode: time goes backwards"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_file_is_named_with_line_and_column(
    tmp_path: Path, change: Callable[[list[list[str]]], object], message: str
) -> None:
    rows = [list(HEADER), *(_row(_timecode(tick)) for tick in range(4))]
    change(rows)
    with pytest.raises(ValueError, match=rf"take\.csv{message}"):
        read_blendshape_table(_write(tmp_path / "take.csv", rows))


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_empty_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "take.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"take\.csv: the file is empty"):
        read_blendshape_table(tmp_path / "take.csv")


def test_binary_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "take.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"take\.csv: not a CSV text file"):
        read_blendshape_table(tmp_path / "take.csv")


def test_real_capture(capture_csv: Path) -> None:
    sequence = read_blendshape_table(capture_csv)
    assert len(sequence) == 180
    assert sequence.fps == 60
    assert len(sequence.channels) == 52
    assert len(sequence.pose_channels) == 9
    assert sequence.dropped == ((5, 7),)
    assert sequence.repeated == ()
    assert sequence.timestamp[-1].item() == pytest.approx(186.12 / 60, abs=1e-3)
    at_25 = sequence.resample(25)
    assert len(at_25) == 78
    assert (~at_25.valid).nonzero()[:, 0].tolist() == [3, 4, 5]
    jaw = sequence.channels.index("JawOpen")
    assert at_25.coefficients[:, jaw].max() == pytest.approx(sequence.coefficients[:, jaw].max().item(), abs=0.05)


@pytest.mark.parametrize("code", ["999:00:00:00.000", "01:29:00:00.000"])
def test_a_timecode_far_from_the_others_is_named(tmp_path: Path, code: str) -> None:
    path = _write(tmp_path / "take.csv", [HEADER, *(_row(_timecode(tick)) for tick in range(4)), _row(code)])
    with pytest.raises(
        ValueError, match=rf"take\.csv:6: column Timecode: '{code}': .* frames at 60 per second, .* after"
    ):
        read_blendshape_table(path)


def test_a_field_of_thousands_of_characters_is_quoted_in_short(tmp_path: Path) -> None:
    rows = [HEADER, *(_row(_timecode(tick)) for tick in range(4))]
    rows[1][2] = "9" * 20_000
    path = _write(tmp_path / "take.csv", rows)
    with pytest.raises(ValueError, match=r"take\.csv:2: column EyeBlinkLeft: expected a finite number") as caught:
        read_blendshape_table(path)
    assert len(str(caught.value).replace(str(path), "")) < 200
