"""Faces in recordings: frames without one, false detections, and recordings of several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from corpus.made_recordings import check, pascal, seconds, timecode, write_recording

from biomechau.corpus import read_sequence


def test_frames_of_zeros_and_without_values_have_no_face(tmp_path: Path) -> None:
    path = write_recording(
        tmp_path / "a.csv", 240, 60, {"Timecode": timecode(60)}, spell=pascal, zeros=range(60, 120), lost=(200, 201)
    )
    sequence = read_sequence(path)
    assert (~sequence.valid).nonzero()[:, 0].tolist() == [*range(60, 120), 200, 201]
    assert sequence.num_faceless == sequence.resample(25).num_faceless == 62
    assert "frames of zeros, treated as frames without a face: 60" in sequence.notes


@pytest.mark.parametrize(("column", "yes", "no"), [("success", "1", "0"), ("Face Detected", "True", "False")])
def test_detections_that_failed_have_no_face(tmp_path: Path, column: str, yes: str, no: str) -> None:
    columns = {**seconds(30), column: lambda row: no if row in (3, 4) else yes, "confidence": lambda row: 0.01 * row}
    sequence = read_sequence(write_recording(tmp_path / "a.csv", 60, 30, columns))
    assert (~sequence.valid).nonzero()[:, 0].tolist() == [0, 3, 4]
    assert sequence.confidence is not None
    torch.testing.assert_close(sequence.confidence, 0.01 * torch.arange(60).float())
    at_25 = sequence.resample(25)
    assert at_25.confidence is not None
    torch.testing.assert_close(at_25.confidence, 0.3 * at_25.timestamp.float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("phantom", [(150,), (110, 111), (158, 159)])
def test_a_face_for_a_moment_between_long_gaps_is_named_and_not_counted(
    tmp_path: Path, phantom: tuple[int, ...]
) -> None:
    lost = set(range(60, 160)) - {*phantom}
    sequence = read_sequence(write_recording(tmp_path / "a.csv", 160, 30, seconds(30), lost=lost))
    assert sequence.lone == phantom
    assert sequence.num_faceless == len(lost)
    assert not sequence.valid[60:].any()
    assert any(f"left out: frame {phantom[0]} ({phantom[0] / 30:.2f} s)" in note for note in sequence.notes)


def test_faces_that_are_seen_for_long_or_between_short_gaps_are_kept(tmp_path: Path) -> None:
    lost = {*range(20, 30), *range(31, 41), *range(60, 80), *range(86, 110)}
    sequence = read_sequence(write_recording(tmp_path / "a.csv", 160, 30, seconds(30), lost=lost))
    assert sequence.lone == ()
    assert sequence.valid[[30, 80, 85]].all()


def test_a_second_box_with_a_lower_score_is_left_out(tmp_path: Path) -> None:
    columns = {"FaceScore": lambda row: 0.99, "frame": lambda row: row, "input": lambda row: "clip.mp4"}
    path = write_recording(tmp_path / "a.csv", 60, 30, columns)
    lines = path.read_text().splitlines()
    for row in (20, 41):
        fields = lines[row].split(",")
        lines.append(",".join(["0.51", *fields[1:3], *["0.9"] * 52]))
    path.write_text("\n".join([lines[0], *sorted(lines[1:], key=lambda line: int(line.split(",")[1]))]) + "\n")
    sequence = read_sequence(path, fps=30)
    check(sequence, 60, 30)
    assert "second boxes of a frame with a lower FaceScore, left out: 2" in sequence.notes
    two = [line for line in lines[1:61] for _ in range(2)]
    path.write_text("\n".join([lines[0], *two]) + "\n")
    with pytest.raises(ValueError, match=r"a\.csv:3: frame 0 appears twice; is this a second face"):
        read_sequence(path, fps=30)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("face_id", lambda row: 1e300 * (row % 2), "2 faces by column face_id: 0 in 60 rows, 1000.* in 60 rows"),
        ("face" + 500 * "_", lambda row: row % 2, "2 faces by column face_.*: 0 in 60 rows"),
        ("frame" + 500 * "_", lambda row: 0, "a.csv:3: frame 0 appears twice"),
        ("time" + 500 * "_", lambda row: row, "column time_.*: the typical step is 1 s"),
    ],
    ids=["face", "face column", "frame column", "time column"],
)
def test_errors_quote_little(tmp_path: Path, name: str, value: Callable[[int], float], message: str) -> None:
    path = write_recording(tmp_path / "a.csv", 120, 60, {name: value})
    with pytest.raises(ValueError, match=message) as refused:
        read_sequence(path, fps=None if "time" in name else 30)
    assert len(str(refused.value)) < 400


def test_several_faces_are_chosen_by_number(tmp_path: Path) -> None:
    columns = {"frame": lambda row: row // 2, "face_id": lambda row: row % 2}
    path = write_recording(tmp_path / "a.csv", 120, 60, columns)
    with pytest.raises(ValueError, match=r"2 faces by column face_id: 0 in 60 rows, 1 in 60 rows; choose .*--face 0"):
        read_sequence(path, fps=30)
    sequence = read_sequence(path, fps=30, face=0)
    check(sequence, 60, 30)
    assert "rows of other faces than 0, left out: 60" in sequence.notes
    with pytest.raises(ValueError, match=r"a\.csv: no face 3; column face_id has 0 in 60 rows"):
        read_sequence(path, fps=30, face=3)
