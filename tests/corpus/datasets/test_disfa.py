"""DISFA as it is handed out: label files, the threshold, SN010, videos, and what is broken or missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus.datasets.trees import intensity, make_disfa, write_intensities

from biomechau.corpus import DISFA
from biomechau.corpus.datasets import DISFAFolder
from biomechau.corpus.datasets.images import check_images, check_videos


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_disfa(tmp_path / "DISFA")


@pytest.mark.parametrize("threshold", [1, 2, 5])
def test_labels(root: Path, threshold: int) -> None:
    dataset = DISFAFolder(root, threshold=threshold)
    sequences, findings = dataset.find()
    assert [sequence.id for sequence in sequences] == ["SN001", "SN002", "SN003", "SN010"]
    for sequence in sequences:
        found = dataset.read_labels(sequence)
        assert found.frame.tolist() == list(range(1, 65 - (sequence.id == "SN010")))
        codes = np.array([[intensity(unit, n) for unit in DISFA.action_units] for n in found.frame])
        assert np.array_equal(found.labels, codes >= threshold)
    assert [str(finding) for finding in findings] == [
        "DISFA: no labels for 23 of 27 subjects: SN004, SN005, SN006, SN007 and 19 more"
    ]


def test_the_unit_is_that_of_the_file_name(tmp_path: Path) -> None:
    """In a listing AU12 comes before AU2."""
    for unit in (1, 2, 12, 20):
        write_intensities(tmp_path / "sn004" / f"SN004_AU{unit}.txt", unit, range(1, 30))
    dataset = DISFAFolder(tmp_path, (20, 2, 12))
    (sequence,), _ = dataset.find()
    expected = [[int(intensity(unit, n) >= 2) for unit in (20, 2, 12)] for n in range(1, 30)]
    assert dataset.read_labels(sequence).labels.tolist() == expected


def test_a_shorter_file_of_one_unit(root: Path) -> None:
    write_intensities(root / "ActionUnit_Labels" / "SN010" / "SN010_au9.txt", 9, range(1, 60))
    dataset = DISFAFolder(root)
    found = dataset.read_labels(dataset.find()[0][-1])
    assert len(found.frame) == 63
    assert (found.labels == -1).sum() == 4
    assert (found.labels[59:, DISFA.action_units.index(9)] == -1).all()


def test_missing_and_misplaced_files(root: Path) -> None:
    labels = root / "ActionUnit_Labels"
    (labels / "SN003" / "SN003_au25.txt").rename(labels / "SN010" / "SN003_au25.txt")
    (labels / "SN001" / "sn001_au1.txt").write_text("1,0\n")
    dataset = DISFAFolder(root)
    sequences, findings = dataset.find()
    faults = [str(finding) for finding in findings if finding.fault]
    assert "SN010: SN003_au25.txt is a label file of SN003" in faults
    assert "SN001: two label files of AU1, SN001_au1.txt and sn001_au1.txt" in faults
    with pytest.raises(ValueError, match="no label file for AU25"):
        dataset.read_labels(sequences[2])
    with pytest.raises(ValueError, match=r"DISFA, expected ActionUnit_Labels/SN001/SN001_au1\.txt"):
        DISFAFolder(labels / "SN001").find()
    with pytest.raises(ValueError, match="DISFA has no labels for AU7, AU10"):
        DISFAFolder(root, (1, 7, 10))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,0\n2,0\n3,1\n2,4\n", ":4: frame 2 appears twice, first in line 2"),
        ("1,0\n2,6\n", ":2: expected a code of 0, 1, 2, 3, 4 or 5, found '6'"),
        ("1,0\n2,9\n", ":2: expected a code of 0, 1, 2, 3, 4 or 5, found '9'"),
        ("1,0\n2\n", ":2: expected a frame number and an intensity, found 1 fields"),
        ("1,0\nx,1\n", ":2: expected a frame number, found 'x'"),
        ("1,0\n2,1_0\n", ":2: expected a code of"),
        ("\n", ": the file is empty"),
    ],
)
def test_broken_label_file(root: Path, content: str, message: str) -> None:
    (root / "ActionUnit_Labels" / "SN003" / "SN003_au9.txt").write_text(content)
    dataset = DISFAFolder(root)
    with pytest.raises(ValueError, match=rf"SN003_au9\.txt{message}"):
        dataset.read_labels(dataset.find()[0][2])


def test_binary_label_file(root: Path) -> None:
    (root / "ActionUnit_Labels" / "SN003" / "SN003_au9.txt").write_bytes(bytes(range(256)))
    dataset = DISFAFolder(root)
    with pytest.raises(ValueError, match=r"SN003_au9\.txt: not a CSV text file"):
        dataset.read_labels(dataset.find()[0][2])


@pytest.mark.parametrize("folder", ["Videos_LeftCamera", "video_leftcamera", ""])
def test_videos(root: Path, folder: str) -> None:
    (root / folder).mkdir(exist_ok=True)
    for name in ("LeftVideoSN001_comp.avi", "leftvideosn002_COMP.AVI", "RightVideoSN003_comp.avi"):
        (root / folder / name).write_bytes(b"")
    findings = [str(finding) for finding in check_videos(DISFAFolder(root), root)]
    assert findings == [f"SN003: no video below {root}", f"SN010: no video below {root}"]


def test_images(root: Path, tmp_path: Path) -> None:
    for subject in ("SN001", "SN010"):
        (tmp_path / subject).mkdir()
        for n in range(1, 65):
            (tmp_path / subject / f"{n:04}.png").write_bytes(b"")
    findings = [str(finding) for finding in check_images(DISFAFolder(root), tmp_path)]
    assert findings == [
        f"SN002: no images below {tmp_path}",
        f"SN003: no images below {tmp_path}",
        "SN010: images without a label: 1 (64)",
    ]
