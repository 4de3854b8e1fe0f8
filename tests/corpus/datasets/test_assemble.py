"""Labels and recordings joined to a corpus: every kind of recording, exclusions, faults, and what is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from corpus.datasets.trees import (
    LENGTH,
    STARTS,
    frames_of,
    make_bp4d,
    make_bp4d_recordings,
    make_disfa,
    make_disfa_recordings,
    occurrence,
    write_live_link,
    write_occurrences,
)
from corpus.tables import MEDIAPIPE_NAMES, blendshapes, write_mediapipe, write_table

from biomechau.corpus import BP4D, Corpus
from biomechau.corpus.datasets import (
    Assembly,
    BP4DFolder,
    DISFAFolder,
    assemble,
    read_exclusions,
    write_assembly,
)
from biomechau.corpus.datasets.exclusions import Exclusions
from biomechau.rig import FaceRig

SMILE = MEDIAPIPE_NAMES.index("mouthSmileLeft")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_bp4d(tmp_path / "BP4D")


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    return make_bp4d_recordings(tmp_path / "recordings")


def _texts(assembly: Assembly, fault: bool) -> list[str]:
    return [str(finding) for finding in assembly.findings if finding.fault == fault]


def test_every_kind_of_recording_lands_on_its_frames(root: Path, recordings: Path, tiny_rig: FaceRig) -> None:
    assembly = assemble(BP4DFolder(root), recordings, tiny_rig)
    assert assembly.faults == ()
    assert [sequence.id for sequence in assembly.sequences] == sorted(STARTS)
    assert assembly.rig.names == tiny_rig.names
    smile = tiny_rig.names.index("mouthSmile_L")
    for sequence in assembly.sequences:
        frames = torch.tensor(frames_of(sequence.id))
        assert torch.equal((sequence.timestamp * 25).round().long(), frames)
        codes = [[occurrence(unit, int(n)) for unit in BP4D.action_units] for n in frames]
        assert torch.equal(sequence.labels, torch.tensor(codes).where(torch.tensor(codes) != 9, -1).to(torch.int8))
        if sequence.id == "F003_T1":  # Live Link: 0.1 + 0.05 t
            expected = 0.1 + 0.05 * torch.arange(LENGTH) / 25
        else:
            expected = 0.01 * SMILE + 0.02 * (frames % 10)
        error = (sequence.coefficients[:, smile] - expected).abs()[sequence.valid]
        assert error.max() < (0.01 if sequence.id == "F003_T1" else 1e-6)
    masked = {s.id: (s.timestamp[~s.valid] * 25).round().int().tolist() for s in assembly.sequences}
    assert {id: frames for id, frames in masked.items() if frames} == {
        "F001_T1": [2450, 2451],
        "M002_T1": [20, 21, 22],
    }
    assert set(assembly.sources) == {"MediaPipe blendshapes", "py-feat blendshapes", "Live Link Face", "coefficients"}
    positive, known = assembly.label_counts()
    assert assembly.frames == 7 * LENGTH
    assert known[0] == 7 * LENGTH - 5
    assert known[-1] < known[0]
    assert (positive < known).all()


def test_what_is_written(root: Path, recordings: Path, tiny_rig: FaceRig, tmp_path: Path) -> None:
    assembly = assemble(BP4DFolder(root), recordings, tiny_rig)
    write_assembly(assembly, tmp_path / "corpus", {"threshold": None})
    corpus = Corpus.open(tmp_path / "corpus")
    assert (corpus.action_units, corpus.fps) == (BP4D.action_units, 25)
    assert corpus.frames == {"F001": 192, "F003": 192, "F004": 96, "M002": 192}
    assert corpus.provenance["source"] == "BP4D"
    assert corpus.provenance["settings"] == {"threshold": None}
    for mine, read in zip(assembly.sequences, corpus, strict=True):
        assert (read.subject, read.task) == (mine.subject, mine.task)
        assert all(torch.equal(mine.tensors[name], tensor) for name, tensor in read.tensors.items())


def test_disfa(tmp_path: Path, tiny_rig: FaceRig) -> None:
    dataset = DISFAFolder(make_disfa(tmp_path / "DISFA"))
    assembly = assemble(dataset, make_disfa_recordings(tmp_path / "recordings"), tiny_rig)
    assert [len(sequence) for sequence in assembly.sequences] == [64, 64, 64, 63]
    assert all(sequence.valid.all() for sequence in assembly.sequences)
    smile = tiny_rig.names.index("mouthSmile_L")
    numbers = torch.arange(64)
    for sequence in assembly.sequences:
        counted = numbers if sequence.id == "SN001" else numbers + 1
        expected = (0.01 * SMILE + 0.02 * (counted % 10))[: len(sequence)]
        torch.testing.assert_close(sequence.coefficients[:, smile], expected)
        torch.testing.assert_close(sequence.timestamp, (numbers[: len(sequence)] + 1).double() / 20)
    notes = _texts(assembly, fault=False)
    assert "SN001: the recording counts its frames from 0, the labels from 1: shifted by one" in notes
    assert "SN010: recorded frames without a label, left out: 1" in notes


def test_exclusions(root: Path, recordings: Path, tiny_rig: FaceRig, tmp_path: Path) -> None:
    path = tmp_path / "exclude.txt"
    path.write_text(
        "sequence,frame\n# blurred\nF001_T1,2442\nF001/T1/002443.jpg\n\nf004_t1\nF003\\T2\\733.JPG\nF003_T2,9\n"
    )
    assembly = assemble(BP4DFolder(root), recordings, tiny_rig, exclusions=read_exclusions(path))
    sequences = {sequence.id: sequence for sequence in assembly.sequences}
    assert sorted(sequences) == sorted(STARTS.keys() - {"F004_T1"})
    unknown = (sequences["F001_T1"].labels == -1).all(1)
    assert unknown.nonzero()[:, 0].tolist() == [2, 3]
    assert sequences["F001_T1"].valid[2:4].all()
    notes = _texts(assembly, fault=False)
    assert "exclusions: sequences left out: 1" in notes
    assert "F001_T1: frames excluded: 2" in notes
    assert "F003_T2: frames excluded: 1, and 1 without a label" in notes


def test_exclusions_that_name_nothing(root: Path, recordings: Path, tiny_rig: FaceRig, tmp_path: Path) -> None:
    path = tmp_path / "exclude.txt"
    path.write_text("F001_T1\nF099_T1,3\nF098_T1\n")
    assembly = assemble(BP4DFolder(root), recordings, tiny_rig, exclusions=read_exclusions(path))
    assert _texts(assembly, fault=True) == [
        "exclusions: line 2: f099_t1 is not a labelled sequence",
        "exclusions: line 3: f098_t1 is not a labelled sequence",
    ]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"exclude\.txt: not a text file"):
        read_exclusions(path)
    everything = Exclusions(sequences={id.casefold(): 1 for id in STARTS})
    with pytest.raises(ValueError, match="every sequence is excluded"):
        write_assembly(assemble(BP4DFolder(root), recordings, tiny_rig, exclusions=everything), tmp_path / "corpus")


def test_faults_are_collected_and_nothing_is_written(
    root: Path, recordings: Path, tiny_rig: FaceRig, tmp_path: Path
) -> None:
    labels = root / "AUCoding" / "AU_OCC"
    write_occurrences(labels / "F001_T1.csv", [2440, 2441, 2440])
    (labels / "F001_T2.csv").write_text("0,1\n90,1\n")
    (recordings / "F003_T1.csv").unlink()
    (recordings / "f003_t2.csv").write_bytes(b"\x00\xff\xfe")
    write_mediapipe(recordings / "M002_T1.csv", frames_of("M002_T1"))
    write_mediapipe(recordings / "M002_T2.csv", range(LENGTH))
    write_mediapipe(recordings / "F002_T1.csv", range(9))
    write_mediapipe(recordings / "clip.csv", range(9))
    assembly = assemble(BP4DFolder(root), recordings, tiny_rig)
    assert [sequence.id for sequence in assembly.sequences] == ["F004_T1"]
    faults = dict(finding[:2] for finding in assembly.faults)
    assert set(faults) == set(STARTS) - {"F004_T1"}
    assert "F001_T1.csv:4: frame 2440 appears twice, first in line 2" in faults["F001_T1"]
    assert "F001_T2.csv:1: missing columns for AU2, AU4" in faults["F001_T2"]
    assert "no recording below" in faults["F003_T1"]
    assert "f003_t2.csv: not a CSV text file" in faults["F003_T2"]
    assert faults["M002_T1"] == "two recordings, M002_T1.csv and M002_T1.npz"
    assert "give --frame-offset first" in faults["M002_T2"]
    notes = _texts(assembly, fault=False)
    assert "F002_T1: a recording without labels, left out" in notes
    assert "clip.csv: the name is not that of a sequence, left out" in notes
    with pytest.raises(ValueError, match="^6 faults, the first: M002_T1: two recordings"):
        write_assembly(assembly, tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()
    write_assembly(assembly, tmp_path / "corpus", skip_faulty=True)
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.ids == ("F004_T1",)
    assert corpus.provenance["left_out"] == sorted(faults)


def test_no_sequence_without_a_fault(root: Path, tiny_rig: FaceRig, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assembly = assemble(BP4DFolder(root), tmp_path / "empty", tiny_rig)
    assert (assembly.sequences, len(assembly.faults)) == ((), 7)
    with pytest.raises(ValueError, match="7 faults, the first: F001_T1: no recording below"):
        write_assembly(assembly, tmp_path / "corpus", skip_faulty=True)
    with pytest.raises(NotADirectoryError, match="no such folder: .*nowhere"):
        assemble(BP4DFolder(root), tmp_path / "nowhere", tiny_rig)


def test_an_unreadable_recording_is_a_fault(root: Path, recordings: Path, tiny_rig: FaceRig) -> None:
    (recordings / "F001_T1.csv").unlink()
    (recordings / "F001_T1.csv").symlink_to(recordings / "nowhere.csv")
    (fault,) = assemble(BP4DFolder(root), recordings, tiny_rig).faults
    assert fault.where == "F001_T1"
    assert "F001_T1.csv: No such file" in fault.text


def test_shapes_are_those_that_every_recording_drives(root: Path, recordings: Path, tmp_path: Path) -> None:
    face = FaceRig.builtin(1000)
    assembly = assemble(BP4DFolder(root), recordings, face)
    driven = [name for name in face.names if name != "tongueOut"]
    assert list(assembly.rig.names) == driven
    np.savez(recordings / "M002_T1.npz", coefficients=np.ones((LENGTH, 1), np.float32), names=["jawOpen"])
    assembly = assemble(BP4DFolder(root), recordings, face)
    assert assembly.rig.names == ("jawOpen",)
    (note,) = [text for text in _texts(assembly, fault=False) if text.startswith("rig: shapes that not every")]
    assert note.startswith(f"rig: shapes that not every recording drives, left out: {len(face.names) - 1} (")
    with pytest.raises(ValueError, match="no shape .* driven by every recording"):
        assemble(BP4DFolder(root), recordings, face.select(["mouthSmileLeft"]))


def test_shapes_that_never_move_are_named(root: Path, tiny_rig: FaceRig, tmp_path: Path) -> None:
    for id in STARTS:
        write_mediapipe(tmp_path / "recordings" / f"{id}.csv", frames_of(id), dead=("mouthPucker",))
    notes = _texts(assemble(BP4DFolder(root), tmp_path / "recordings", tiny_rig), fault=False)
    assert "rig: shapes that never move by 0.01: 1 (mouthPucker)" in notes


def test_a_recording_that_outlasts_the_labels(root: Path, recordings: Path, tiny_rig: FaceRig) -> None:
    write_live_link(recordings / "F003_T1.csv", 2 * LENGTH)
    (fault,) = assemble(BP4DFolder(root), recordings, tiny_rig).faults
    assert "F003_T1: the recording has 192 frames without numbers, the labels have 96" in str(fault)


def test_times_without_numbers(tmp_path: Path, tiny_rig: FaceRig) -> None:
    write_occurrences(tmp_path / "labels" / "F001_T1.csv", range(500, 596))
    rows = [[n / 50, *blendshapes(n)] for n in range(96)]
    write_table(tmp_path / "recordings" / "F001_T1.csv", ["timestamp", *MEDIAPIPE_NAMES], rows)
    dataset = BP4DFolder(tmp_path / "labels")
    assembly = assemble(dataset, tmp_path / "recordings", tiny_rig)
    assert "F001_T1: labelled frames not in the recording, masked: 48 (548-595)" in _texts(assembly, fault=False)
    (sequence,) = assemble(dataset, tmp_path / "recordings", tiny_rig, recorded_fps=25).sequences
    assert sequence.valid.all()
    smile = tiny_rig.names.index("mouthSmile_L")
    torch.testing.assert_close(sequence.coefficients[:, smile], 0.01 * SMILE + 0.02 * (torch.arange(96) % 10))


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 40, "1000000001"])
def test_an_excluded_frame_whose_number_is_too_large_is_named(tmp_path: Path, number: str) -> None:
    (tmp_path / "excluded.csv").write_text(f"F001_T1,5\nF001_T1,{number}\n")
    with pytest.raises(ValueError, match=r"excluded\.csv:2: expected a frame number up to 1,000,000,000") as caught:
        read_exclusions(tmp_path / "excluded.csv")
    assert len(str(caught.value).replace(str(tmp_path), "")) < 200
