"""The corpus folder: what goes in comes out, and what is broken is refused by name."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus.corpora import ACTION_UNITS, MUSCLES, make_sequence, write, write_three
from safetensors.torch import load_file, save_file
from torch import Tensor

from biomechau.corpus import Corpus, CorpusSequence, corpus as corpus_module
from biomechau.rig import FaceRig


@pytest.fixture
def folder(tiny_rig: FaceRig, tmp_path: Path) -> Path:
    return write_three(tmp_path / "corpus", tiny_rig)


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "corpus.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(folder: Path, **changes: Tensor) -> Path:
    path = folder / "sequences" / "F001_T2.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    path.unlink()
    save_file({**tensors, **changes}, path)
    return path


def assert_tensors_equal(sequence: CorpusSequence, expected: CorpusSequence) -> None:
    assert sequence.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(sequence.tensors[name], tensor, rtol=0, atol=0, msg=name)


# --- what goes in comes out -------------------------------------------------------------------------------------------


def test_round_trip(tiny_rig: FaceRig, folder: Path) -> None:
    corpus = Corpus.open(folder)
    assert len(corpus) == 3
    assert corpus.ids == ("F001_T1", "F001_T2", "M002_T1")
    assert corpus.subjects == ("F001", "M002")
    assert corpus.frames == {"F001": 21, "M002": 5}
    assert corpus.ids_of(["M002"]) == ("M002_T1",)
    assert (corpus.action_units, corpus.fps, corpus.muscles) == (ACTION_UNITS, 25.0, MUSCLES)
    assert corpus.shapes == corpus.rig.names == tiny_rig.names
    assert torch.equal(corpus.rig.blendshapes, tiny_rig.blendshapes)
    assert corpus.provenance == {"source": "test", "seed": 3}
    assert [(s.id, s.subject, s.task, len(s)) for s in corpus][1:] == [
        ("F001_T2", "F001", "T2", 9),
        ("M002_T1", "M002", "T1", 5),
    ]
    assert_tensors_equal(corpus["F001_T2"], make_sequence(tiny_rig, "F001_T2", 9))


def test_all_optional_tensors(tiny_rig: FaceRig, tmp_path: Path) -> None:
    residual = torch.randn(12, tiny_rig.num_vertices, 3).half()
    sequence = make_sequence(
        tiny_rig,
        image_features=torch.randn(12, 6),
        muscle_forces=torch.randn(12, 2, 3),
        vertices_residual=residual,
    )
    read = Corpus.open(write(tmp_path / "corpus", tiny_rig, sequence))["F001_T1"]
    assert_tensors_equal(read, sequence)
    expected = torch.einsum("tk,kna->tna", sequence.coefficients, tiny_rig.blendshapes) + residual.float()
    torch.testing.assert_close(read.deformation(tiny_rig), expected)


def test_deformation_without_a_residual(tiny_rig: FaceRig) -> None:
    sequence = make_sequence(tiny_rig)
    expected = torch.einsum("tk,kna->tna", sequence.coefficients, tiny_rig.blendshapes)
    torch.testing.assert_close(sequence.deformation(tiny_rig), expected)
    with pytest.raises(ValueError, match="the rig has 2 shapes, expected 8"):
        sequence.deformation(tiny_rig.select(["jawOpen", "mouthPucker"]))


def test_no_optional_tensors(tiny_rig: FaceRig, tmp_path: Path) -> None:
    sequence = make_sequence(tiny_rig, muscle_forces=None)
    corpus = Corpus.open(write(tmp_path / "corpus", tiny_rig, sequence, muscles=()))
    assert corpus.tensor_names == ("coefficients", "labels", "timestamp", "valid")
    assert corpus["F001_T1"].muscle_forces is None


def test_the_same_sequences_give_the_same_bytes(tiny_rig: FaceRig, folder: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "again", tiny_rig, *Corpus.open(folder))
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(names) == 5
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


def test_views_of_other_tensors_can_be_written(tiny_rig: FaceRig, tmp_path: Path) -> None:
    block = torch.rand(12, tiny_rig.num_shapes + len(MUSCLES))
    coefficients, forces = block[:, : tiny_rig.num_shapes], block[:, tiny_rig.num_shapes :]
    sequence = make_sequence(tiny_rig, coefficients=coefficients, muscle_forces=forces)
    assert_tensors_equal(Corpus.open(write(tmp_path / "corpus", tiny_rig, sequence))["F001_T1"], sequence)


def test_label_counts_leave_out_what_is_unknown_or_not_valid(tiny_rig: FaceRig, tmp_path: Path) -> None:
    labels = torch.tensor([[1, -1, 0], [1, -1, 1], [0, -1, 1], [1, 1, 1]], dtype=torch.int8)
    valid = torch.tensor([True, True, True, False])
    one = make_sequence(tiny_rig, "A_1", 4, labels=labels, valid=valid)
    two = make_sequence(tiny_rig, "B_1", 4, labels=labels.clamp(min=0), valid=~valid)
    corpus = Corpus.open(write(tmp_path / "corpus", tiny_rig, one, two))
    assert torch.equal(one.label_mask.sum(0), torch.tensor([3, 0, 3]))
    assert [counts.tolist() for counts in corpus.label_counts()] == [[3, 1, 3], [4, 1, 4]]
    assert corpus.label_rates(["A"]).tolist() == pytest.approx([2 / 3, 0, 2 / 3])
    assert corpus.label_rates().tolist() == pytest.approx([3 / 4, 1, 3 / 4])
    with pytest.raises(ValueError, match="no subject 'C'; it has A, B"):
        corpus.label_rates(["A", "C"])


def test_an_unknown_id(folder: Path) -> None:
    with pytest.raises(KeyError, match="F009"):
        Corpus.open(folder)["F009"]


# --- what a sequence refuses ------------------------------------------------------------------------------------------


def bad(tensor: Tensor, where: tuple[int, ...], value: float) -> Tensor:
    tensor = tensor.clone()
    tensor[where] = value
    return tensor


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda s: {"labels": s.labels[:11]}, ValueError, "labels has 11 frames, expected 12"),
        (lambda s: {"timestamp": s.timestamp[:3]}, ValueError, "timestamp has 3 frames, expected 12"),
        (lambda s: {"labels": bad(s.labels, (7, 2), 9)}, ValueError, "labels is 9 in frame 7, column 2; expected -1"),
        (lambda s: {"labels": bad(s.labels, (0, 1), -2)}, ValueError, "labels is -2 in frame 0, column 1"),
        (lambda s: {"labels": s.labels.long()}, TypeError, "labels must be int8, got int64"),
        (lambda s: {"labels": s.labels[:, 0]}, ValueError, r"labels must have shape \(T, R\), got \(12,\)"),
        (lambda s: {"valid": s.valid.float()}, TypeError, "valid must be bool, got float32"),
        (lambda s: {"valid": None}, TypeError, "valid must be a torch.Tensor, got NoneType"),
        (
            lambda s: {"coefficients": bad(s.coefficients, (4, 1), torch.nan)},
            ValueError,
            "coefficients is not finite in frame 4: nan",
        ),
        (
            lambda s: {"muscle_forces": bad(s.muscle_forces, (5, 0), torch.inf)},
            ValueError,
            "muscle_forces is not finite in frame 5: inf",
        ),
        (
            lambda s: {"muscle_forces": s.muscle_forces[:, 0]},
            ValueError,
            r"muscle_forces must have shape \(T, M\) or \(T, M, 3\), got \(12,\)",
        ),
        (lambda s: {"timestamp": bad(s.timestamp, (6,), 0.2)}, ValueError, "timestamp does not increase after frame 5"),
        (lambda s: {name: tensor[:0] for name, tensor in s.tensors.items()}, ValueError, "have no frames"),
    ],
)
def test_a_sequence_refuses(tiny_rig: FaceRig, change: Any, kind: type[Exception], message: str) -> None:
    sequence = make_sequence(tiny_rig)
    with pytest.raises(kind, match="sequence 'F001_T1': .*" + message):
        replace(sequence, **change(sequence))


# --- what a reader refuses --------------------------------------------------------------------------------------------


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="corpus.json"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(ValueError, match="corpus.json: not JSON"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text("[]")
    with pytest.raises(ValueError, match="corpus.json: not a corpus: expected format 'biomechau-corpus'"):
        Corpus.open(tmp_path)


SEQUENCE = {"id": "F001_T1", "subject": "F001", "task": "T1", "frames": 12}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "corpus format version 1 expected, found 2"),
        ({"version": None}, "corpus format version 1 expected, found None"),
        ({"action_units": [1, 4]}, r"tensor labels: expected shape \(T, 2\), found \(T, 3\)"),
        ({"action_units": [1, 4, "12"]}, '"action_units": expected a list of whole numbers, found .1, 4, .12'),
        ({"fps": -1}, "fps must be positive, got -1"),
        ({"fps": 10**400}, "not JSON: the number .* is beyond 64 bits"),
        ({"fps": "25"}, '"fps": expected a number, found .25'),
        ({"rig": {"file": "rig.safetensors"}}, '"rig.sha256" is missing, expected a string'),
        ({"rig": {"file": "../rig.safetensors", "sha256": ""}}, "\"rig.file\": expected 'rig.safetensors'"),
        ({"muscles": []}, r"tensor muscle_forces: expected shape \(T, 0\)"),
        ({"tensors": {}}, "missing tensor coefficients"),
        ({"tensors": {"coefficients": {"shape": [8]}}}, '"tensors.coefficients.dtype" is missing'),
        ({"tensors": {"secrets": {"dtype": "int8", "shape": []}}}, "unknown tensor 'secrets'"),
        ({"sequences": []}, "the corpus has no sequences"),
        ({"sequences": [SEQUENCE, SEQUENCE]}, "sequence id 'F001_T1' appears twice"),
        ({"sequences": [{**SEQUENCE, "id": "../F001_T1"}]}, "not a safe file name"),
        ({"sequences": [{**SEQUENCE, "subject": ""}]}, "sequence 'F001_T1' has no subject"),
        ({"sequences": [{**SEQUENCE, "frames": 0}]}, r'"sequences\[0\].frames": expected a number above 0, found 0'),
        ({"sequences": [{"id": "F001_T1"}]}, r'"sequences\[0\].subject" is missing'),
    ],
)
def test_a_broken_manifest(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(ValueError, match=f"corpus.json: .*{message}"):
        Corpus.open(folder)


def test_another_number_of_frames(folder: Path) -> None:
    edit(folder, sequences=[{**SEQUENCE, "frames": 13}])
    message = (
        r"F001_T1.safetensors: tensor coefficients: expected float32 of shape \(13, 8\), found F32 of shape \(12, 8\)"
    )
    with pytest.raises(ValueError, match=message):
        Corpus.open(folder)


def test_another_rig(tiny_rig: FaceRig, folder: Path) -> None:
    tiny_rig.with_identity(torch.ones(2)).save(folder / "rig.safetensors")
    with pytest.raises(ValueError, match="rig.safetensors: not the rig .* expected SHA-256"):
        Corpus.open(folder)
    (folder / "rig.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="rig.safetensors"):
        Corpus.open(folder)


def test_shapes_that_are_not_those_of_the_rig(tiny_rig: FaceRig, folder: Path) -> None:
    edit(folder, shapes=["renamed", *tiny_rig.names[1:]])
    corpus = Corpus.open(folder)
    with pytest.raises(ValueError, match='corpus.json: "shapes" are not the 8 shapes of rig.safetensors'):
        _ = corpus.rig


def test_a_missing_sequence_file(folder: Path) -> None:
    (folder / "sequences" / "M002_T1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="M002_T1.safetensors"):
        Corpus.open(folder)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_cut_sequence_file(folder: Path, kept: int) -> None:
    path = folder / "sequences" / "F001_T2.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="F001_T2.safetensors: not a complete safetensors file"):
        Corpus.open(folder)


def test_a_file_cut_after_opening(folder: Path) -> None:
    corpus = Corpus.open(folder)
    path = folder / "sequences" / "F001_T2.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="F001_T2.safetensors: not a complete safetensors file"):
        _ = corpus["F001_T2"]


def test_tensors_that_do_not_fit(folder: Path) -> None:
    labels = torch.zeros(8, 3, dtype=torch.int8)
    path = edit_tensors(folder, labels=labels)
    message = r"tensor labels: expected int8 of shape \(9, 3\), found I8 of shape \(8, 3\)"
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: {message}"):
        Corpus.open(folder)
    edit_tensors(folder, labels=torch.zeros(9, 3, dtype=torch.int16))
    with pytest.raises(ValueError, match=r"expected int8 of shape \(9, 3\), found I16"):
        Corpus.open(folder)
    edit_tensors(folder, labels=torch.zeros(9, 3, dtype=torch.int8), extra=torch.zeros(9))
    with pytest.raises(ValueError, match="F001_T2.safetensors: unexpected tensor extra"):
        Corpus.open(folder)
    shutil.copy(folder / "rig.safetensors", path)
    with pytest.raises(ValueError, match="F001_T2.safetensors: unexpected tensor blendshapes"):
        Corpus.open(folder)


def test_a_missing_tensor(folder: Path) -> None:
    path = folder / "sequences" / "F001_T2.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items() if name != "timestamp"}
    path.unlink()
    save_file(tensors, path)
    with pytest.raises(ValueError, match="F001_T2.safetensors: missing tensor timestamp"):
        Corpus.open(folder)


def test_values_are_checked_when_a_sequence_is_read(folder: Path) -> None:
    path = edit_tensors(folder, labels=torch.full((9, 3), 5, dtype=torch.int8))
    corpus = Corpus.open(folder)
    assert len(corpus["F001_T1"]) == 12
    where = f"{re.escape(str(path))}: sequence 'F001_T2': "
    with pytest.raises(ValueError, match=where + "labels is 5 in frame 0, column 0"):
        _ = corpus["F001_T2"]
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: labels is 5 in frame 0, column 0"):
        corpus.label_rates()
    edit_tensors(folder, labels=torch.zeros(9, 3, dtype=torch.int8), coefficients=torch.full((9, 8), torch.nan))
    with pytest.raises(ValueError, match=where + "coefficients is not finite in frame 0"):
        _ = Corpus.open(folder)["F001_T2"]


# --- what is read once ------------------------------------------------------------------------------------------------


def test_the_description_is_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    whole = corpus_module.file_sha256
    monkeypatch.setattr(corpus_module, "file_sha256", lambda path: (hashed.append(path.name), whole(path))[1])
    corpus = Corpus.open(folder)
    assert corpus.sha256 == corpus.with_features(None).sha256 == whole(folder / "corpus.json")
    assert sorted(hashed) == ["corpus.json", "rig.safetensors"]


def test_labels_are_counted_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    labels = Corpus._labels
    monkeypatch.setattr(Corpus, "_labels", lambda self, entry: (read.append(entry.id), labels(self, entry))[1])
    corpus = Corpus.open(folder)
    for _ in range(2):
        corpus.label_counts(["F001"])
        positive, known = corpus.label_counts()
        parts = [corpus.sequence_counts(id) for id in corpus.ids]
        assert torch.equal(positive, torch.stack([on for on, _ in parts]).sum(0))
        assert torch.equal(known, torch.stack([of for _, of in parts]).sum(0))
    assert read == list(corpus.ids)
