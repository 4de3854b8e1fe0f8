"""Writing a corpus: what is refused, and that it appears whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corpus.corpora import ACTION_UNITS, make_sequence, write, write_three

from biomechau.corpus import Corpus, CorpusWriter, FaceSequence
from biomechau.rig import FaceRig


@pytest.fixture
def folder(tiny_rig: FaceRig, tmp_path: Path) -> Path:
    return write_three(tmp_path / "corpus", tiny_rig)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "f001_t1"}, "sequence id 'f001_t1' appears twice"),
        ({"id": "../escape"}, "sequence id '../escape' is not a safe file name"),
        ({"id": ""}, "sequence id '' is not a safe file name"),
        ({"id": ".hidden"}, "'.hidden' is not a safe file name"),
        ({"id": "a b"}, "'a b' is not a safe file name"),
        ({"id": "a\n"}, "is not a safe file name"),
        ({"subject": ""}, "sequence 'next' has no subject"),
        ({"coefficients": torch.zeros(12, 7)}, r"tensor coefficients: expected shape \(T, 8\), found \(T, 7\)"),
        ({"labels": torch.zeros(12, 4, dtype=torch.int8)}, r"tensor labels: expected shape \(T, 3\), found \(T, 4\)"),
        (
            {"muscle_forces": torch.zeros(12, 5)},
            r"muscle_forces: expected shape \(T, 2\) or \(T, 2, 3\), found \(T, 5\)",
        ),
        ({"muscle_forces": None}, "missing tensor muscle_forces, although muscles are named"),
        (
            {"muscle_forces": torch.zeros(12, 2, 3)},
            r"muscle_forces: expected float32 with \(2,\) per frame like the first",
        ),
        (
            {"image_features": torch.zeros(12, 6)},
            "image_features: expected none like the first sequence, found float32",
        ),
        ({"vertices_residual": torch.zeros(12, 5, 3)}, r"vertices_residual: expected shape \(T, 99, 3\)"),
    ],
)
def test_a_writer_refuses(tiny_rig: FaceRig, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    first = make_sequence(tiny_rig)
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "corpus", tiny_rig, first, replace(first, **{"id": "next", **changes}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("action_units", "fps", "muscles", "message"),
    [
        ((), 25, (), "action_units must be different whole numbers above 0, at least one"),
        ((1, 1), 25, (), "action_units must be different"),
        ((1,), 0, (), "fps must be positive, got 0"),
        ((1,), float("nan"), (), "fps must be positive"),
        ((1,), 25, ("a", "a"), "muscle a is given twice"),
    ],
)
def test_a_writer_refuses_its_arguments(
    tiny_rig: FaceRig, tmp_path: Path, action_units: Any, fps: float, muscles: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        CorpusWriter(tmp_path / "corpus", tiny_rig, action_units, fps, muscles=muscles)


def test_a_corpus_without_sequences(tiny_rig: FaceRig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the corpus has no sequences, expected at least one"):
        write(tmp_path / "corpus", tiny_rig)
    assert list(tmp_path.iterdir()) == []


def test_provenance_that_json_cannot_hold(tiny_rig: FaceRig, tmp_path: Path) -> None:
    for provenance, kind in (({"loss": float("nan")}, ValueError), ({"rig": tiny_rig}, TypeError)):
        with pytest.raises(kind, match="JSON"):
            CorpusWriter(tmp_path / "corpus", tiny_rig, ACTION_UNITS, 25.0, provenance=provenance)


def test_a_disk_that_fails(tiny_rig: FaceRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(FaceRig, "save", fail)
        with pytest.raises(OSError, match="disk full"):
            write(tmp_path / "corpus", tiny_rig)
    assert list(tmp_path.iterdir()) == []
    earlier = write(tmp_path / "corpus", tiny_rig, make_sequence(tiny_rig))
    rename = Path.rename

    def fail_once(path: Path, target: Path) -> Path:
        new = path.parts[-2:] == ("new", "rig.safetensors")
        return fail() if new else rename(path, target)  # type: ignore[return-value]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_once)
        with pytest.raises(OSError, match="disk full"):
            write(earlier, tiny_rig, make_sequence(tiny_rig, "other"), overwrite=True)
    assert Corpus.open(earlier).ids == ("F001_T1",)
    assert list(tmp_path.iterdir()) == [earlier]


def test_two_writers_at_once(tiny_rig: FaceRig, tmp_path: Path) -> None:
    path = tmp_path / "corpus"

    def race() -> None:
        with CorpusWriter(path, tiny_rig, ACTION_UNITS, 25.0) as slow:
            slow.add(make_sequence(tiny_rig, "slow", muscle_forces=None))
            write(path, tiny_rig, make_sequence(tiny_rig, "fast"))

    with pytest.raises(FileExistsError, match="corpus exists"):
        race()
    assert Corpus.open(path).ids == ("fast",)
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_writes_once(tiny_rig: FaceRig, tmp_path: Path) -> None:
    with CorpusWriter(tmp_path / "corpus", tiny_rig, ACTION_UNITS, 25.0) as writer:
        writer.add(make_sequence(tiny_rig, muscle_forces=None))
    with pytest.raises(RuntimeError, match="a CorpusWriter writes one corpus"), writer:
        pass


def test_a_refused_sequence_leaves_the_others(tiny_rig: FaceRig, tmp_path: Path) -> None:
    first = make_sequence(tiny_rig, muscle_forces=None)
    with CorpusWriter(tmp_path / "corpus", tiny_rig, ACTION_UNITS, 25.0) as writer:
        writer.add(first)
        for refused in (replace(first, subject="other"), replace(first, id="b", image_features=torch.zeros(12, 1))):
            with pytest.raises(ValueError, match="appears twice|expected none like the first"):
                writer.add(refused)
        writer.add(replace(first, id="c"))
    corpus = Corpus.open(tmp_path / "corpus")
    assert (corpus.ids, corpus.subjects) == (("F001_T1", "c"), ("F001",))


def test_adding_outside_of_the_block(tiny_rig: FaceRig, tmp_path: Path) -> None:
    writer = CorpusWriter(tmp_path / "corpus", tiny_rig, ACTION_UNITS, 25.0)
    with pytest.raises(RuntimeError, match="inside the writer's with block"):
        writer.add(make_sequence(tiny_rig))


def test_an_existing_folder_is_kept(tiny_rig: FaceRig, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="corpus exists; choose a new folder, or overwrite it"):
        write(folder, tiny_rig)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("years of work")
    with pytest.raises(FileExistsError, match="mine is not a corpus"):
        write(tmp_path / "mine", tiny_rig, overwrite=True)
    assert (tmp_path / "mine" / "thesis").read_text() == "years of work"


def test_overwriting(tiny_rig: FaceRig, folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), CorpusWriter(folder, tiny_rig, (1,), 25.0, overwrite=True):
        _ = 1 / 0
    assert len(Corpus.open(folder)) == 3
    write(folder, tiny_rig, make_sequence(tiny_rig, "new"), overwrite=True)
    assert Corpus.open(folder).ids == ("new",)
    assert [path.name for path in (folder / "sequences").iterdir()] == ["new.safetensors"]
    assert list(folder.parent.iterdir()) == [folder]


def test_overwriting_keeps_what_is_not_the_corpuss(tiny_rig: FaceRig, folder: Path) -> None:
    (folder / "notes.txt").write_text("years of work")
    (folder / "images" / "F001_T1").mkdir(parents=True)  # pictures that no simulator made
    (folder / "images" / "F001_T1" / "1.png").write_text("a photograph")
    write(folder, tiny_rig, make_sequence(tiny_rig, "new"), overwrite=True)
    assert Corpus.open(folder).ids == ("new",)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    kept = {"notes.txt", "images/F001_T1/1.png"}
    assert names == {"corpus.json", "rig.safetensors", "sequences/new.safetensors", *kept}
    (folder / "sequences" / "mine.csv").write_text("years of work")
    with pytest.raises(FileExistsError, match="sequences/mine.csv does not belong .* move it away"):
        write(folder, tiny_rig, make_sequence(tiny_rig), overwrite=True)
    assert Corpus.open(folder).ids == ("new",)


def test_a_kill_between_the_renames_is_undone_by_the_next_writer(tiny_rig: FaceRig, folder: Path) -> None:
    half = folder / f".{folder.name}.123-ab.partial"
    (half / "new").mkdir(parents=True)
    (half / "old").mkdir()
    (folder / "corpus.json").rename(half / "old" / "corpus.json")
    with pytest.raises(FileNotFoundError, match="corpus.json"):
        Corpus.open(folder)
    with pytest.raises(FileExistsError, match="exists; choose a new folder"):
        write(folder, tiny_rig, make_sequence(tiny_rig))
    assert len(Corpus.open(folder)) == 3
    assert not half.exists()


def test_an_empty_folder_is_filled_and_parents_are_made(tiny_rig: FaceRig, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert len(Corpus.open(write(path, tiny_rig, make_sequence(tiny_rig)))) == 1


_KILLED = """
import sys, torch
from biomechau.corpus import CorpusSequence, CorpusWriter
from biomechau.rig import FaceRig
rig = FaceRig.load(sys.argv[2])
with CorpusWriter(sys.argv[1], rig, (1, 4, 12), 25.0, overwrite=True) as writer:
    for number in range(1000):
        writer.add(CorpusSequence(
            f"new{number}", "S", "", torch.zeros(50, rig.num_shapes), torch.zeros(50, 3, dtype=torch.int8),
            torch.arange(50.0, dtype=torch.float64), torch.ones(50, dtype=torch.bool)))
        if number == 20:
            print("writing", flush=True)
            sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("existing", [False, True])
def test_a_killed_writer_leaves_what_was_there(tiny_rig: FaceRig, folder: Path, tmp_path: Path, existing: bool) -> None:
    path = folder if existing else tmp_path / "new" / "corpus"
    arguments = [sys.executable, "-I", "-c", _KILLED, str(path), str(folder / "rig.safetensors")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.kill()
    staged = [found for found in tmp_path.rglob(".corpus.*.partial")]
    assert len(staged) == 1  # it was in the middle of writing
    assert len(list(staged[0].rglob("new*.safetensors"))) == 21
    with pytest.raises(FileNotFoundError, match="corpus.json"):
        Corpus.open(staged[0] / "new")
    if existing:
        assert Corpus.open(path).ids == ("F001_T1", "F001_T2", "M002_T1")
    else:
        assert not path.exists()
    assert len(Corpus.open(write(path, tiny_rig, make_sequence(tiny_rig), overwrite=True))) == 1
    assert not staged[0].exists()


@pytest.mark.parametrize("subject", ["S\x1b[31m", "=1+1", "-x", "a\nb", "\u202eab", "x" * 101, " a"])
def test_a_subject_that_tables_and_terminals_cannot_show_is_refused(
    tiny_rig: FaceRig, tmp_path: Path, subject: str
) -> None:
    sequence = make_sequence(tiny_rig, "F001_T1", subject=subject)
    with pytest.raises(ValueError, match="sequence 'F001_T1': the name of a subject must") as caught:
        write(tmp_path / "corpus", tiny_rig, sequence)
    assert str(caught.value).isprintable()
    write(tmp_path / "corpus", tiny_rig, replace(sequence, subject="F001"))
    manifest = tmp_path / "corpus" / "corpus.json"
    manifest.write_text(manifest.read_text().replace('"subject": "F001"', f'"subject": {json.dumps(subject)}'))
    with pytest.raises(ValueError, match="corpus.json: sequence 'F001_T1': the name of a subject"):
        Corpus.open(tmp_path / "corpus")


@pytest.mark.parametrize("muscle", ["=cmd|calc,x", "frame", "a b"])
def test_a_muscle_that_tables_cannot_show_is_refused(tiny_rig: FaceRig, tmp_path: Path, muscle: str) -> None:
    with pytest.raises(ValueError, match="muscle"):
        CorpusWriter(tmp_path / "corpus", tiny_rig, (1,), 25.0, muscles=(muscle,))


def test_arrays_lists_and_recordings_become_sequences(tiny_rig: FaceRig, clip: FaceSequence, tmp_path: Path) -> None:
    values = np.linspace(0, 1, 4 * tiny_rig.num_shapes).reshape(4, -1)
    values[2, 1] = np.nan
    with CorpusWriter(tmp_path / "c", tiny_rig, action_units=(6, 12), fps=25) as writer:
        writer.add_frames("a", "anna", values, [[0, 1], [1, -1], [0, 0], [1, 1]])
        writer.add_frames("b", "ben", values.tolist(), np.array([[0, np.nan]] * 4), task="talk", valid=[1, 0, 1, 1])
        writer.add_frames("c", "carla", clip, np.ones((len(clip.resample(25)), 2), bool))
    a, b, c = Corpus.open(tmp_path / "c")
    expected = np.nan_to_num(values).astype(np.float32)
    assert a.coefficients.numpy().tolist() == b.coefficients.numpy().tolist() == expected.tolist()
    assert a.timestamp.tolist() == [0, 0.04, 0.08, 0.12]
    assert (a.valid.tolist(), b.valid.tolist()) == ([True, True, False, True], [True, False, False, True])
    assert (a.task, b.task) == ("", "talk")
    assert a.labels.tolist() == [[0, 1], [1, -1], [0, 0], [1, 1]]
    assert b.labels.tolist() == [[0, -1]] * 4
    smile = tiny_rig.names.index("mouthSmile_L")
    assert c.coefficients[:, smile].max() == pytest.approx(float(clip.coefficients.max()), abs=0.05)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"labels": [[0.5, 1.0]] * 4}, ValueError, "sequence 'a': labels is 0.5 in frame 0, expected 1, 0, -1 or NaN"),
        ({"labels": [["on", "off"]] * 4}, TypeError, "sequence 'a': labels must be numbers, got <U3"),
        ({"labels": [[0, 1], [1]]}, ValueError, "sequence 'a': labels: "),
        ({"valid": [0, 1, 2, 1]}, ValueError, "sequence 'a': valid must be True or False in each frame"),
        ({"valid": [True] * 3}, ValueError, "valid has 3 frames, expected 4 like coefficients"),
        ({"timestamp": [0, 1, 1, 2]}, ValueError, "timestamp does not increase after frame 1"),
        (
            {"force": [0.0]},
            TypeError,
            "'a': force is not a tensor of a sequence; these are coefficients, labels",
        ),
    ],
)
def test_arrays_that_are_no_sequence_are_named(
    tiny_rig: FaceRig, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    arrays = {"coefficients": np.zeros((4, tiny_rig.num_shapes)), "labels": np.zeros((4, 2), int), **changes}
    with (
        pytest.raises(error, match=message),
        CorpusWriter(tmp_path / "c", tiny_rig, action_units=(6, 12), fps=25) as writer,
    ):
        writer.add_frames("a", "anna", **arrays)
