"""Recordings as people have them: each kind is read with the right values, or refused with a word on what to do."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus.made_recordings import POSE, check, motion, pascal, seconds, sided, timecode, write_recording

from biomechau.corpus import read_sequence
from biomechau.corpus.channel_names import MEDIAPIPE_SHAPES
from biomechau.rig.names import ARKIT_SHAPES


def live(rate: int, **options: Any) -> dict[str, Callable[[int], object]]:
    return {"Timecode": timecode(rate, **options), "BlendshapeCount": lambda row: 61}


ANGLES: dict[str, Callable[[int], object]] = {name: lambda row: 0 for name in POSE}


@pytest.mark.parametrize(("rate", "count"), [(60, 300), (30, 100), (24, 99), (60, 9)])
def test_milliseconds_of_the_second_after_the_frame_number(tmp_path: Path, rate: int, count: int) -> None:
    columns = live(rate, fraction=lambda row: f"{row % rate * 1000 // rate:03}")
    sequence = read_sequence(write_recording(tmp_path / "a.csv", count, rate, columns, spell=pascal, after=ANGLES))
    check(sequence, count, rate)
    assert any("milliseconds of the second" in note for note in sequence.notes)
    assert float(sequence.timestamp[-1]) == pytest.approx((count - 1) / rate, abs=1e-3)


@pytest.mark.parametrize("start", [0, 997])
def test_a_counter_of_the_rows_after_the_frame_number(tmp_path: Path, start: int) -> None:
    columns = live(30, fraction=lambda row: f"{(row + start) % 1000:03}")
    sequence = read_sequence(write_recording(tmp_path / "a.csv", 90, 30, columns, spell=pascal))
    check(sequence, 90, 30)
    assert any("count the rows" in note for note in sequence.notes)


def test_a_part_of_the_frame_after_its_number(tmp_path: Path) -> None:
    columns = live(60, fraction=lambda row: f"{503 + row % 3:03}")
    sequence = read_sequence(write_recording(tmp_path / "a.csv", 120, 60, columns, spell=pascal))
    check(sequence, 120, 60)
    assert sequence.notes == ()


def test_seconds_that_end_early_now_and_then_do_not_hide_their_rate(tmp_path: Path) -> None:
    path = write_recording(
        tmp_path / "a.csv", 600, 60, live(60), spell=pascal, left_out=[58, 59, *range(150, 180), 239]
    )
    sequence = read_sequence(path)
    assert (sequence.fps, sequence.num_dropped) == (60, 33)


def test_other_columns_are_left_out_by_name(tmp_path: Path) -> None:
    moods = ("Angry", "Disgusted", "Fearful", "Happy", "Neutral", "Sad", "Surprised")
    after = {**ANGLES, **{mood: lambda row: 0.125 for mood in moods}}
    sequence = read_sequence(write_recording(tmp_path / "a.csv", 120, 60, live(60), spell=pascal, after=after))
    check(sequence, 120, 60)
    assert sequence.notes == (f"columns that are not blendshapes, left out: 7 ({', '.join(moods)})",)


def test_a_subset_is_read_and_what_is_missing_is_named(tmp_path: Path) -> None:
    names = [name for name in ARKIT_SHAPES if "Look" not in name]
    sequence = read_sequence(write_recording(tmp_path / "a.csv", 60, 60, live(60), names=names, spell=pascal))
    check(sequence, 60, 60)
    missing = ", ".join(name for name in ARKIT_SHAPES if "Look" in name)
    assert sequence.notes == (f"missing blendshapes: 8 ({missing})",)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "sides": sided,
    "small": str.lower,
    "words": lambda name: "".join(f"_{c.lower()}" if c.isupper() else c for c in name),
    "prefix": lambda name: f"blendShapes.{pascal(name)}",
    "wrapped": lambda name: f"bs_{sided(name)}_value",
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_names_are_known_in_any_spelling(tmp_path: Path, spell: Callable[[str], str]) -> None:
    check(read_sequence(write_recording(tmp_path / "a.csv", 90, 30, seconds(30), spell=spell)), 90, 30)


@pytest.mark.parametrize(
    ("separator", "decimal", "encoding"),
    [(";", ",", "utf-8"), (";", ".", "utf-8-sig"), ("\t", ",", "utf-16"), (",", ".", "utf-16"), (" ", ".", "utf-8")],
)
def test_spreadsheets_write_text_in_their_own_ways(tmp_path: Path, separator: str, decimal: str, encoding: str) -> None:
    columns = {"Timecode": lambda row: timecode(60)(row).replace(".", decimal), "BlendshapeCount": lambda row: 61}
    options: Any = {"separator": separator, "decimal": decimal, "encoding": encoding}
    check(read_sequence(write_recording(tmp_path / "a.csv", 60, 60, columns, spell=pascal, **options)), 60, 60)


def clock(row: int) -> str:
    """30 rows a second, from a second before midnight on."""
    return f"{('23:59:59', '00:00:00', '00:00:01')[row // 30]}.{row % 30 * 33333:06}"


TIMES: dict[str, dict[str, Callable[[int], object]]] = {
    "time": {"time": lambda row: f"{row / 30:.4f}"},
    "bracket": {"Time [s]": lambda row: f"{row / 30:.4f}"},
    "index": {"frame_idx": lambda row: row, "frame_time_in_ms": lambda row: row * 33.333},
    "milliseconds": {"timestamp_ms": lambda row: round(row * 100 / 3)},
    "unnamed-milliseconds": {"frame": lambda row: row, "timestamp": lambda row: round(row * 100 / 3)},
    "microseconds": {"timestamp": lambda row: round(row * 1e5 / 3)},
    "nanoseconds": {"time_ns": lambda row: 1_700_000_000_000_000_000 + round(row * 1e8 / 3)},
    "epoch": {"timestamp": lambda row: f"{1.7e9 + row / 30:.6f}"},
    "iso": {"timestamp": lambda row: f"2024-05-01T10:00:{row / 30:09.6f}"},
    "iso-midnight": {"datetime": lambda row: f"2024-05-0{1 + (row >= 30)} {clock(row)}Z"},
    "clock": {"time": lambda row: clock(row)},
    "minutes": {"time": lambda row: f"{59 + row // 30 // 60:02}:{row // 30:02}.{row % 30 * 33333:06}"},
    "pandas": {"": lambda row: row, "frame": lambda row: row, "timestamp": lambda row: f"{row / 30:.4f}"},
    "timecode-of-numbers": {"timeCode": lambda row: f"{row / 30:.4f}"},
    "timecode-elsewhere": {"time": lambda row: timecode(30)(row)},
}  # fmt: skip


@pytest.mark.parametrize("columns", TIMES.values(), ids=TIMES)
def test_times_have_many_names_and_units(tmp_path: Path, columns: dict[str, Callable[[int], object]]) -> None:
    sequence = read_sequence(write_recording(tmp_path / "a.csv", 90, 30, columns))
    check(sequence, 90, 30)
    assert not any("left out" in note for note in sequence.notes)


def test_rounded_times_that_agree_are_spread(tmp_path: Path) -> None:
    columns = {"frame": lambda row: row, "timestamp": lambda row: f"{row // 2 * 2 / 30:.2f}"}
    sequence = read_sequence(write_recording(tmp_path / "a.csv", 90, 30, columns))
    check(sequence, 90, 30, 0.01)
    assert any(
        note.startswith("45 rows have the same time as the row before; they were spread") for note in sequence.notes
    )


QUESTIONS: dict[str, tuple[Callable[[int], object], str]] = {
    "second-a-row": (timecode(1), "column Timecode: the typical step is 1 s, 100 rows in 99 s"),
    "base-30": (
        lambda row: f"00:{row // 900:02}:{row // 30 % 30:02}:{row % 30:02}.000",
        ":902: column Timecode: '00:01:00:00.000' follows '00:00:29:29.000': its seconds start again after 29",
    ),
    "stands": (lambda row: "00:00:00:00.000", ":3: column Timecode: .* rows have the same time as the row before"),
    "whole-seconds": (
        lambda row: f"2024-05-01T10:{row // 1800:02}:{row // 30 % 60:02}",
        ":3: column Timecode: .* rows have the same time as the row before, so it does not",
    ),
    "falls": (lambda row: timecode(30)(1200 - row), ":3: column Timecode: time goes backwards"),
}


@pytest.mark.parametrize(("tell", "message"), QUESTIONS.values(), ids=QUESTIONS)
def test_times_that_cannot_be_right_are_asked_about(
    tmp_path: Path, tell: Callable[[int], object], message: str
) -> None:
    count = 100 if tell is QUESTIONS["second-a-row"][0] else 1200
    path = write_recording(tmp_path / "a.csv", count, 25, {"Timecode": tell}, spell=pascal)
    with pytest.raises(ValueError, match=rf"a\.csv.*{message}.*--count-rows --recorded-fps F"):
        read_sequence(path)
    check(read_sequence(path, fps=25, count_rows=True), count, 25)
    with pytest.raises(ValueError, match=r"--count-rows\) needs fps \(--recorded-fps\)"):
        read_sequence(path, count_rows=True)


@pytest.mark.parametrize("fraction", [lambda row: "000", lambda row: f"{row:03}"])
def test_a_timecode_that_stands_is_no_obstacle_where_the_rate_is_given(
    tmp_path: Path, fraction: Callable[[int], str]
) -> None:
    columns = {"Timecode": lambda row: f"00:00:00:00.{fraction(row)}"}
    path = write_recording(tmp_path / "a.csv", 60, 30, columns, spell=pascal)
    check(read_sequence(path, fps=30), 60, 30)


def test_skipped_frames_are_not_dropped_ones(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.csv", 40, 15, {"frame": lambda row: 2 * row})
    check(read_sequence(path, fps=30), 40, 15)
    columns = {"frame": lambda row: 3 * row, "timestamp": lambda row: f"{row / 10:.3f}"}
    check(read_sequence(write_recording(tmp_path / "b.csv", 40, 10, columns)), 40, 10)
    gap = read_sequence(
        write_recording(tmp_path / "c.csv", 40, 15, {"frame": lambda row: 2 * row}, left_out=(7, 8)), fps=30
    )
    assert gap.dropped == ((6, 2),)


def test_a_last_line_that_is_cut_is_named(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.csv", 61, 30, seconds(30))
    path.write_bytes(path.read_bytes()[:-200])
    sequence = read_sequence(path)
    check(sequence, 60, 30)
    assert sequence.notes[0] == "line 62, the last one, is cut short and left out"


def test_a_take_is_read_from_its_folder_and_its_zip(tmp_path: Path) -> None:
    take = tmp_path / "20240501_MySlate_3"
    write_recording(take / "MySlate_3_iPhone.csv", 120, 60, live(60), spell=pascal, after=ANGLES)
    (take / "take.json").write_text("{}")
    (take / "frame_log.csv").write_text("F,time\n0,0.1\n")
    (take / "._MySlate_3_iPhone.csv").write_bytes(b"\0\5")
    with zipfile.ZipFile(tmp_path / "take.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in take.iterdir():
            file.write(path, f"{take.name}/{path.name}")
    for source in (take, tmp_path / "take.zip"):
        sequence = read_sequence(source)
        check(sequence, 120, 60)
        assert sequence.name == "MySlate_3_iPhone"
    write_recording(take / "MySlate_3_iPhone_raw.csv", 9, 60, live(60), spell=pascal)
    check(read_sequence(take), 120, 60)
    write_recording(take / "MySlate_4_iPhone.csv", 9, 60, live(60), spell=pascal)
    with pytest.raises(ValueError, match=r"several recordings, choose one: .*MySlate_4_iPhone\.csv"):
        read_sequence(take)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no \.csv file, expected a take"):
        read_sequence(tmp_path / "empty")
    (tmp_path / "broken.zip").write_bytes((tmp_path / "take.zip").read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"broken\.zip: not a complete zip file of a take"):
        read_sequence(tmp_path / "broken.zip")


def _weights(count: int, fps: float) -> list[list[float]]:
    return [[motion(row / fps)[name] for name in ARKIT_SHAPES] for row in range(count)]


JSON: dict[str, Callable[[], object]] = {
    "audio2face": lambda: {
        "exportFps": 60.0, "trackPath": "a.wav", "numPoses": 52, "numFrames": 180,
        "facsNames": list(ARKIT_SHAPES), "weightMat": _weights(180, 60),
    },
    "beat": lambda: {
        "names": list(ARKIT_SHAPES),
        "frames": [{"weights": row, "time": n / 60, "rotation": []} for n, row in enumerate(_weights(180, 60))],
    },
    "objects": lambda: [{"timestamp_ms": n / 0.06, "blendshapes": motion(n / 60)} for n in range(180)],
    "categories": lambda: {
        "fps": 60,
        "frames": [
            {"face_blendshapes": [{"category_name": name, "score": value} for name, value in motion(n / 60).items()]}
            for n in range(180)
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_json_is_read(tmp_path: Path, content: Callable[[], object]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content()))
    check(read_sequence(tmp_path / "a.json"), 180, 60)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"names": ["jawOpen"], "frames": [{"weights": [0.1, 0.2]}]}, "frame 1: expected 1 values, found 2"),
        ({"names": ["jawOpen"], "weights": [[0.1]] * 9}, "fps must be given"),
        ({"names": ["jawOpen"], "weights": [[0.1]] * 9, "fps": 1e9}, "fps must lie in"),
        ({"names": ["smile"], "weights": [[0.1]] * 9, "fps": 30}, "none of its 1 columns has the name of a blendshape"),
        ({"names": ["jawOpen"], "weights": [[0.1], [35]], "fps": 30}, "frame 2: column jawOpen: expected a number of"),
        ({"poses": []}, "expected names and a matrix of weights, or a list of frames"),
        ([{"weights": [0.5]}], "frame 1: 1 values without names"),
        ([[0.5]], "frame 1: expected an object"),
        ([], "no frames"),
        (3, "expected an object or a list of frames, found 3"),
    ],
)
def test_broken_json_is_named(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"a\.json: {message}"):
        read_sequence(tmp_path / "a.json")


def test_lost_frames_in_json(tmp_path: Path) -> None:
    frames: list[dict[str, object]] = [{"time": n / 30, "blendshapes": motion(n / 30)} for n in range(60)]
    frames[5]["blendshapes"] = {}
    (tmp_path / "a.json").write_text(json.dumps(frames))
    assert (~read_sequence(tmp_path / "a.json").valid).nonzero().tolist() == [[5]]


def test_npz_takes_neutral_and_other_names(tmp_path: Path) -> None:
    names = ["_neutral", *MEDIAPIPE_SHAPES, "happiness"]
    values = [[motion(row / 25).get(name, 0.5) for name in names] for row in range(75)]
    np.savez(tmp_path / "a.npz", coefficients=np.array(values, np.float32), names=names, fps=25.0)
    sequence = read_sequence(tmp_path / "a.npz")
    check(sequence, 75, 25)
    assert sequence.notes == ("columns that are not blendshapes, left out: 1 (happiness)",)
    np.save(tmp_path / "a.npy", np.array(values))
    with pytest.raises(ValueError, match=r"a\.npy: a \.npy file has no channel names and no frame rate"):
        read_sequence(tmp_path / "a.npy")


def test_outputs_can_tell_the_recorded_frame(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.csv", 60, 50, {"frame": lambda row: 2440 + row}, left_out=range(20, 30))
    sequence = read_sequence(path, fps=50)
    assert sequence.recorded_frame.tolist() == [*range(2440, 2460), *range(2470, 2500)]
    at_25 = sequence.resample(25)
    assert at_25.recorded_frame.tolist() == [*range(2440, 2460, 2), *[-1] * 5, *range(2470, 2500, 2)]
    assert at_25.resample(50).recorded is sequence
    repeated = write_recording(tmp_path / "b.csv", 9, 60, {"Timecode": lambda row: timecode(60)(max(row - 1, 0))},
                               names=("mouthSmileRight",))  # fmt: skip
    assert read_sequence(repeated).recorded_frame.tolist() == [0, *range(2, 9)]


def test_an_error_of_resampling_names_file_and_line(tmp_path: Path) -> None:
    columns = {"timestamp": lambda row: f"{row / 30 + (900 if row > 5 else 0):.4f}"}
    sequence = read_sequence(write_recording(tmp_path / "a.csv", 60, 30, columns))
    with pytest.raises(ValueError, match=r"a\.csv:8: 108,004 frames at 120 per second"):
        sequence.resample(120)
