"""Labels of one's own: columns of a unit and of its sides, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from biomechau.corpus import Corpus, CorpusWriter, read_labels
from biomechau.rig import FaceRig


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "header",
    [
        "frame,AU12_left,AU12_right,AU04",
        "frame,AU12L,AU12R,au4",
        "frame,au12_r,au12_l,AU4",
        "frame,AU12 left,AU12-R,AU4",
    ],
)
def test_columns_of_sides(tmp_path: Path, header: str) -> None:
    found = read_labels(write(tmp_path / "a.csv", f"{header}\n0,1,0,1\n1,0,0,\n2,,1,9\n3,,0,0\n"), (4, 12))
    assert found.side_labels is not None
    assert found.labels.tolist() == [[1, 1], [-1, 0], [-1, 1], [0, -1]]
    sides = found.side_labels[:, 1].flip(1) if "au12_r" in header else found.side_labels[:, 1]
    assert sides.tolist() == [[1, 0], [0, 0], [-1, 1], [-1, 0]]
    assert found.side_labels[:, 0].tolist() == [[-1, -1], [-1, -1], [-1, -1], [0, 0]]
    assert found.labels.dtype == found.side_labels.dtype == torch.int8


def test_columns_without_sides(tmp_path: Path) -> None:
    found = read_labels(write(tmp_path / "a.csv", "timestamp,AU06,AU12,note\n0.0,1,nan,x\n0.1,-1,0,y\n"), (6,))
    assert found.labels.tolist() == [[1], [-1]]
    assert found.side_labels is None


def test_a_column_of_the_unit_counts_before_its_sides(tmp_path: Path) -> None:
    found = read_labels(write(tmp_path / "a.csv", "AU12,AU12L,AU12R\n1,,\n0,,\n,1,\n"), (12,))
    assert found.labels[:, 0].tolist() == [1, 0, 1]
    assert found.side_labels is not None
    assert found.side_labels[:, 0].tolist() == [[-1, -1], [0, 0], [1, -1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("AU06\n1\n", r"a.csv:1: no column for AU12, expected AU12, or AU12_left and AU12_right"),
        ("AU12,AU012\n1,0\n", r"a.csv:1: 'AU12' and 'AU012' are one column"),
        ("AU12_left,AU12L\n1,0\n", r"a.csv:1: 'AU12_left' and 'AU12L' are one column"),
        ("AU12\n1\n3\n", r"a.csv:3: column AU12: expected 1, 0, or -1, 9 or nothing for unknown, found '3'"),
        ("AU12\n1\nyes\n", r"a.csv:3: column AU12: expected a finite number, found 'yes'"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_labels(write(tmp_path / "a.csv", text), (12,))


def test_a_corpus_of_one_s_own_with_sides(tiny_rig: FaceRig, tmp_path: Path) -> None:
    sides = [[[1, 0]], [[0, float("nan")]], [[0, 0]]]
    with CorpusWriter(tmp_path / "corpus", tiny_rig, (12,), 25.0) as writer:
        writer.add_frames("a_1", "a", torch.zeros(3, 8), [[1], [-1], [0]], side_labels=sides)
    found = Corpus.open(tmp_path / "corpus")["a_1"].side_labels
    assert found is not None
    assert found.tolist() == [[[1, 0]], [[0, -1]], [[0, 0]]]
    with CorpusWriter(tmp_path / "other", tiny_rig, (12,), 25.0) as writer:
        with pytest.raises(ValueError, match=r"sequence 'a_1': side_labels is 2 in frame 0, expected 1, 0, -1 or NaN"):
            writer.add_frames("a_1", "a", torch.zeros(1, 8), [[1]], side_labels=[[[2, 0]]])
        writer.add_frames("a_1", "a", torch.zeros(1, 8), [[1]])
