"""BP4D as it is handed out: files, codes, intensities, images, and what is broken or missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from corpus.datasets.trees import (
    LENGTH,
    OCCURRENCE_HEADER,
    STARTS,
    frames_of,
    intensity,
    make_bp4d,
    occurrence,
    write_intensities,
    write_occurrences,
)
from corpus.tables import write_table

from biomechau.corpus import BP4D
from biomechau.corpus.datasets import BP4DFolder, frame_images
from biomechau.corpus.datasets.images import check_images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_bp4d(tmp_path / "BP4D")


def test_occurrences(root: Path) -> None:
    dataset = BP4DFolder(root)
    sequences, _ = dataset.find()
    assert [sequence.id for sequence in sequences] == sorted(STARTS)
    assert {(sequence.subject, sequence.task) for sequence in sequences} == {tuple(id.split("_")) for id in STARTS}
    for sequence in sequences:
        found = dataset.read_labels(sequence)
        assert found.frame.tolist() == list(frames_of(sequence.id))
        codes = np.array([[occurrence(unit, n) for unit in BP4D.action_units] for n in frames_of(sequence.id)])
        assert found.labels.dtype == np.int8
        assert np.array_equal(found.labels, np.where(codes == 9, -1, codes))


@pytest.mark.parametrize("below", ["AUCoding/AU_OCC", "aucoding/au_occ", "AU_OCC", ""])
def test_where_label_files_may_be(tmp_path: Path, below: str) -> None:
    write_occurrences(tmp_path / below / "m017_T8.CSV", range(7, 20))
    (sequence,), _ = BP4DFolder(tmp_path).find()
    assert (sequence.id, sequence.subject, sequence.task) == ("M017_T8", "M017", "T8")


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    header = ["24", "0", "7", "1"]
    write_occurrences(tmp_path / "F001_T1.csv", [9, 8, 7], header)
    dataset = BP4DFolder(tmp_path, action_units=(1, 7))
    found = dataset.read_labels(dataset.find()[0][0])
    assert found.frame.tolist() == [7, 8, 9]
    assert found.labels.tolist() == [[occurrence(1, n), occurrence(7, n)] for n in (7, 8, 9)]


def test_frames_that_are_left_out_of_a_file_are_unknown(tmp_path: Path) -> None:
    write_occurrences(tmp_path / "F001_T1.csv", [3, 4, 7])
    dataset = BP4DFolder(tmp_path, action_units=(1,))
    found = dataset.read_labels(dataset.find()[0][0])
    assert found.frame.tolist() == [3, 4, 5, 6, 7]
    assert (found.labels[:, 0] == -1).tolist() == [False, False, True, True, False]


def test_intensities(tmp_path: Path) -> None:
    for unit in (6, 10, 12, 14, 17):
        path = tmp_path / "AU-Intensity-Codes3.0" / f"AU{unit:02d}" / f"F001_T1_AU{unit:02d}.csv"
        write_intensities(path, unit, range(50, 60 + unit))
    path.write_text(path.read_text() + "90,9\n")
    dataset = BP4DFolder(tmp_path, "intensity", threshold=3)
    (sequence,), _ = dataset.find()
    found = dataset.read_labels(sequence)
    assert dataset.action_units == (6, 10, 12, 14, 17)
    assert found.frame.tolist() == list(range(50, 91))
    for column, unit in enumerate(dataset.action_units):
        expected = [int(intensity(unit, n) >= 3) if n < 60 + unit else -1 for n in range(50, 91)]
        assert found.labels[:, column].tolist() == expected
    path.unlink()
    (sequence,), _ = dataset.find()
    with pytest.raises(ValueError, match="no intensity file for AU17"):
        dataset.read_labels(sequence)
    path.parent.rmdir()
    with pytest.raises(ValueError, match="no intensity labels for AU17, expected a folder AU17"):
        dataset.find()


def test_what_is_missing_is_listed(root: Path) -> None:
    write_occurrences(root / "AUCoding" / "AU_OCC" / "F050_T1.csv", range(9))
    write_occurrences(root / "AUCoding" / "AU_OCC" / "F001_T9.csv", range(9))
    findings = [str(finding) for finding in BP4DFolder(root).find()[1]]
    assert "F001_T9.csv: not named as a label file of BP4D, left out" in findings
    assert "BP4D: no labels for 37 of 41 subjects: F002, F005, F006, F007 and 33 more" in findings
    assert "BP4D: subjects that are not in the protocol: F050" in findings
    assert "F004: missing tasks T2, T3, T4, T5, T6, T7, T8" in findings


def test_two_files_of_one_sequence(root: Path) -> None:
    write_occurrences(root / "AUCoding" / "AU_OCC" / "f001_t1.csv", range(9))
    faults = [finding for finding in BP4DFolder(root).find()[1] if finding.fault]
    assert [str(fault) for fault in faults] == ["F001_T1: two label files, F001_T1.csv and f001_t1.csv"]


BROKEN: dict[str, tuple[Callable[[list[str], list[list[str]]], object], str]] = {
    "frame-twice": (lambda _, rows: rows[4].__setitem__(0, "2441"), ":6: frame 2441 appears twice, first in line 3"),
    "code": (lambda _, rows: rows[1].__setitem__(12, "2"), ":3: expected a code of 0, 1 or 9, found '2'"),
    "empty": (lambda _, rows: rows[1].__setitem__(12, ""), ":3: expected a code of 0, 1 or 9, found ''"),
    "frame": (lambda _, rows: rows[1].__setitem__(0, "x"), ":3: expected a frame number, found 'x'"),
    "frame-negative": (lambda _, rows: rows[1].__setitem__(0, "-4"), ":3: expected a frame number, found '-4'"),
    "missing": (lambda header, _: header.__setitem__(12, "AU99"), ":1: missing column for AU12"),
    "missing-frame": (lambda header, _: header.__setitem__(0, "row"), ":1: missing frame numbers"),
    "twice": (lambda header, _: header.__setitem__(3, "12"), ":1: column '12' appears twice"),
    "short": (lambda _, rows: rows[2].pop(), ":4: expected 100 values, found 99"),
    "no-rows": (lambda _, rows: rows.clear(), ": no frames after the header line"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_label_file(
    tmp_path: Path, change: Callable[[list[str], list[list[str]]], object], message: str
) -> None:
    header, rows = list(OCCURRENCE_HEADER), [[str(n), *"0" * 99] for n in range(2440, 2446)]
    change(header, rows)
    write_table(tmp_path / "F001_T1.csv", header, rows)
    dataset = BP4DFolder(tmp_path)
    with pytest.raises(ValueError, match=rf"F001_T1\.csv{message}"):
        dataset.read_labels(dataset.find()[0][0])


def test_codes_that_went_through_other_programs(tmp_path: Path) -> None:
    write_table(tmp_path / "F001_T1.csv", ["0", "1"], [["7.0", "1.0"], ["8.0", "9.0"]])
    dataset = BP4DFolder(tmp_path, action_units=(1,))
    assert dataset.read_labels(dataset.find()[0][0]).labels.tolist() == [[1], [-1]]


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="no such folder: .*nowhere"):
        BP4DFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"BP4D, expected AUCoding/AU_OCC/F001_T1\.csv"):
        BP4DFolder(tmp_path).find()
    with pytest.raises(ValueError, match="BP4D has no intensity labels for AU1, AU2"):
        BP4DFolder(tmp_path, "intensity", (1, 2, 6))
    with pytest.raises(ValueError, match="action_units must be different numbers"):
        BP4DFolder(tmp_path, action_units=(1, 1))
    with pytest.raises(ValueError, match=r"threshold must lie in \[1, 5\], got 0"):
        BP4DFolder(tmp_path, threshold=0)
    with pytest.raises(ValueError, match="labels must be 'occurrence' or 'intensity'"):
        BP4DFolder(tmp_path, "both")  # pyright: ignore[reportArgumentType]


def _touch(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"")


def test_images_are_matched_by_number(tmp_path: Path) -> None:
    _touch(tmp_path / "T1", ["2440.jpg", "02441.JPG", "0009.png", "notes.txt", "2440_mask.png", ".hidden.jpg"])
    found = frame_images(tmp_path / "T1")
    assert {number: path.name for number, path in found.items()} == {9: "0009.png", 2440: "2440.jpg", 2441: "02441.JPG"}
    assert list(found) == [9, 2440, 2441]
    (tmp_path / "T1" / "02440.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"two images of frame 2440, 02440\.jpg and 2440\.jpg"):
        frame_images(tmp_path / "T1")


def test_images_and_labels_are_compared(root: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for id in sorted(STARTS)[:-2]:
        subject, task = id.split("_")
        _touch(images / subject.lower() / task, [f"{n:06}.jpg" for n in frames_of(id)])
    first = frames_of("F001_T1")
    (images / "f001" / "T1" / f"{first[2]:06}.jpg").unlink()
    _touch(images / "M002" / "T1", [f"{n}.jpg" for n in range(0, 8)])
    (images / "f003" / "T1" / "1.jpg").write_bytes(b"")
    findings = {str(finding): finding.fault for finding in check_images(BP4DFolder(root), images)}
    start = STARTS["M002_T1"]
    assert findings == {
        "F001_T1: labelled frames without an image: 1 (2442)": False,
        f"F003_T1: {images / 'f003' / 'T1'}: two images of frame 1, 000001.jpg and 1.jpg": True,
        f"M002_T1: labelled frames without an image: {LENGTH - 3} (8-{start + LENGTH - 1})": False,
        "M002_T1: images without a label: 5 (0-4)": False,
        f"M002_T2: no images below {images}": False,
    }


@pytest.mark.parametrize("folder", ["AU-Intensity-Codes3.0", "AU Intensity Codes3.0", "au_intensity_codes3.0"])
@pytest.mark.parametrize("name", ["AU06", "AU6"])
def test_intensities_are_found_whatever_is_between_the_words(tmp_path: Path, folder: str, name: str) -> None:
    write_intensities(tmp_path / folder / name / "F001_T1_AU06.csv", 6, range(90, 110))
    dataset = BP4DFolder(tmp_path, "intensity", (6,))
    (sequence,) = dataset.find()[0]
    found = dataset.read_labels(sequence)
    assert found.labels[:, 0].tolist() == [int(intensity(6, frame) >= 2) for frame in range(90, 110)]


@pytest.mark.parametrize("separator", [",", ", ", "\t", ";", "   "])
@pytest.mark.parametrize("header", ["", "frame{}intensity\n"])
def test_intensities_are_separated_in_many_ways(tmp_path: Path, separator: str, header: str) -> None:
    path = write_intensities(tmp_path / "AU06" / "F001_T1_AU06.csv", 6, range(90, 110))
    path.write_text(header.format(separator) + path.read_text().replace(",", separator))
    dataset = BP4DFolder(tmp_path, "intensity", (6,))
    (sequence,) = dataset.find()[0]
    assert dataset.read_labels(sequence).frame.tolist() == list(range(90, 110))


@pytest.mark.parametrize("spell", ["AU{}", "au{:02d}"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_occurrences_with_names_in_the_header(tmp_path: Path, spell: str, separator: str) -> None:
    path = write_occurrences(tmp_path / "F001_T1.csv", range(90, 110))
    header, *rows = path.read_text().splitlines()
    names = ["Frame", *(spell.format(int(name)) for name in header.split(",")[1:])]
    path.write_text("\n".join([",".join(names), *rows]).replace(",", separator))
    dataset = BP4DFolder(tmp_path)
    (sequence,) = dataset.find()[0]
    column = BP4D.action_units.index(12)
    found = dataset.read_labels(sequence).labels[:, column].tolist()
    assert found == [occurrence(12, frame) for frame in range(90, 110)]


def test_label_rows_far_apart_are_named(tmp_path: Path) -> None:
    path = write_occurrences(tmp_path / "F001_T1.csv", (5, 6, 10_000_000))
    folder = BP4DFolder(tmp_path)
    (sequence,) = folder.find()[0]
    with pytest.raises(ValueError, match=rf"{path}:4: 9,999,994 frames after the frame before it"):
        folder.read_labels(sequence)


def test_label_files_far_apart_are_named(tmp_path: Path) -> None:
    for unit, frames in ((6, range(4)), (10, range(900_000_000, 900_000_004))):
        write_intensities(tmp_path / f"AU{unit:02}" / f"F001_T1_AU{unit:02}.csv", unit, frames)
    folder = BP4DFolder(tmp_path, "intensity", (6, 10))
    (sequence,) = folder.find()[0]
    with pytest.raises(ValueError, match=r"F001_T1_AU10\.csv: frame 900000000: 899,999,997 frames after the frame"):
        folder.read_labels(sequence)
