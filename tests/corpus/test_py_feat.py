"""Fex tables of py-feat as recordings: blendshapes, image names, frames without a face."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from corpus.tables import MEDIAPIPE_NAMES, blendshapes, write_table

from biomechau.corpus import read_blendshape_table, read_sequence

BOX = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
HEADER = [*BOX, "x_0", "Pitch", "AU01", "AU12", "happiness", *MEDIAPIPE_NAMES, "input", "frame", "approx_time"]


def _row(frame: int, name: str = "clip.mp4", face: bool = True) -> list[str]:
    box = ["10.5", "20", "100", "120", "0.99"] if face else ["nan", "nan", "nan", "nan", "0.0"]
    return [*box, "55.1", "0.1", "0.25", "0.75", "0.9", *blendshapes(frame), name, str(frame), "00:00"]


def test_video(tmp_path: Path) -> None:
    path = write_table(tmp_path / "clip.csv", HEADER, [_row(frame) for frame in range(0, 12, 2)])
    sequence = read_sequence(path, fps=50)
    assert len(sequence.channels) == 51
    assert sequence.frame is not None
    assert sequence.frame.tolist() == [0, 2, 4, 6, 8, 10]
    torch.testing.assert_close(sequence.timestamp, torch.arange(0, 12, 2).double() / 50)
    jaw = sequence.channels.index("jawOpen")
    torch.testing.assert_close(sequence.coefficients[:, jaw], 0.25 + 0.02 * torch.tensor([0.0, 2, 4, 6, 8, 0]))


@pytest.mark.parametrize("folder", ["F001/T1/", "C:\\\\data\\\\F001\\\\T1\\\\", ""])
def test_images_number_their_frames(tmp_path: Path, folder: str) -> None:
    rows = [[*_row(n, f"{folder}{2440 + n:05}.jpg")] for n in range(5)]
    sequence = read_blendshape_table(write_table(tmp_path / "T1.csv", HEADER, rows), 25)
    assert sequence.frame is not None
    assert sequence.frame.tolist() == [2440, 2441, 2442, 2443, 2444]


def test_a_video_named_by_a_number_numbers_nothing(tmp_path: Path) -> None:
    sequence = read_blendshape_table(write_table(tmp_path / "7.csv", HEADER, [_row(n, "7.mp4") for n in range(4)]), 25)
    assert sequence.frame is not None
    assert sequence.frame.tolist() == [0, 1, 2, 3]


def test_frames_without_a_face(tmp_path: Path) -> None:
    rows = [_row(n, face=n != 1) for n in range(5)]
    rows[3][:-3] = ["nan"] * (len(HEADER) - 3)
    sequence = read_blendshape_table(write_table(tmp_path / "clip.csv", HEADER, rows), 25)
    assert sequence.valid.tolist() == [True, False, True, False, True]


def test_bad_tables(tmp_path: Path) -> None:
    rows = [_row(n) for n in range(4)]
    path = write_table(tmp_path / "clip.csv", HEADER, rows)
    with pytest.raises(ValueError, match=r"clip\.csv: fps must be given"):
        read_sequence(path)
    write_table(path, HEADER, [*rows[:2], rows[1], *rows[2:]])
    with pytest.raises(ValueError, match=r"clip\.csv:4: frame 1 appears twice"):
        read_sequence(path, fps=25)
    write_table(path, HEADER[:10], [row[:10] for row in rows])
    with pytest.raises(ValueError, match=r"clip\.csv:1: a py-feat table without blendshapes.*biomechau compare"):
        read_sequence(path, fps=25)
    write_table(path, ["frame", "timestamp", "AU01_r", "AU01_c"], [[1, 0, 0.5, 1]])
    with pytest.raises(ValueError, match=r"clip\.csv:1: an OpenFace file, which has action units but no blendshapes"):
        read_sequence(path)
