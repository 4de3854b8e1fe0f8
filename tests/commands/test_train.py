"""``biomechau train``: what it trains, how it goes on after a stop, and how it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands.small import SMALL
from safetensors.torch import load_file, save_file

from biomechau.cli import main, parse
from biomechau.commands.train import Train
from biomechau.corpus import Corpus, CorpusWriter
from biomechau.models import Detector, LossWeights
from biomechau.training import Run, TrainingConfig, open_runs


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return Detector.load(folder).state_dict()


def assert_same_weights(first: Path, second: Path) -> None:
    for (name, a), b in zip(weights(first).items(), weights(second).values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    words = {
        "train": ["--head", "--source", "--epochs", "--losses.slack", "--slack", "--setting", "--neutral", "--devices"],
        "evaluate": ["--run", "--corpus", "evaluation.json"],
        "predict": ["--fold", "--sequence", "--recorded-fps", "action_units.csv"],
    }
    assert all(word in out for word in words[command])


def parsed(*arguments: str) -> TrainingConfig:
    command = parse(["train", "--corpus", "c", "--out", "r", *arguments])
    assert isinstance(command, Train)
    return command.config


def test_options_of_the_dataclasses_arrive() -> None:
    assert parsed() == TrainingConfig()
    config = parsed(
        "--head", "force", "--source", "mesh", "--losses.slack", "0.2", "--no-slack", "--precision", "64-true"
    )
    assert (config.detector.head, config.detector.source, config.precision) == ("force", "mesh", "64-true")
    assert (config.losses.slack, config.detector.slack) == (0.2, False)


@pytest.mark.parametrize("setting", [["--setting", "paper"], ["--setting=paper"]])
def test_the_papers_setting_and_what_is_given_beside_it(setting: list[str]) -> None:
    assert parsed(*setting) == TrainingConfig.paper()
    config = parsed(*setting, "--num-frames", "32", "--losses.reconstruction", "1.0", "--head", "force")
    assert config.num_frames == 32
    assert config.losses == replace(LossWeights.paper(), reconstruction=1.0)
    assert config.detector == replace(TrainingConfig.paper().detector, head="force")


def test_every_fold_goes_into_its_own_folder(run_folder: Path, corpus: Corpus) -> None:
    runs = open_runs(run_folder)
    assert list(runs) == [1, 2, 3]
    assert sorted(subject for run in runs.values() for subject in run.fold.test) == sorted(corpus.subjects)
    # The corpus's own units, not the default 12.
    assert {run.config.detector.action_units for run in runs.values()} == {(6, 7, 10, 12)}
    assert all(run.finished for run in runs.values())
    assert list(open_runs(run_folder / "fold2")) == [2]


def test_one_fold_is_the_same_alone(
    run_folder: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--corpus", str(corpus.path), "--out", str(tmp_path), *SMALL, "--fold", "2"]
    assert main(arguments) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["fold2"]
    assert "of 2 kept, mean F1 on the validation subjects 0." in capsys.readouterr().out
    assert_same_weights(tmp_path / "fold2", run_folder / "fold2")


def test_the_literatures_selection(corpus: Corpus, tmp_path: Path) -> None:
    options = ["--fold", "1", "--num-folds", "2", "--validation", "test", "--action-units", "12", "6", "--neutral", "5"]
    assert main(["train", "--corpus", str(corpus.path), "--out", str(tmp_path), *SMALL, *options]) == 0
    run = Run.open(tmp_path / "fold1")
    assert run.fold.validation == run.fold.test
    assert run.config.detector.action_units == (12, 6)
    assert run.config.neutral == 5
    card = json.loads((run.path / "protocol.json").read_text())
    assert card["selection"].endswith("test subjects")
    assert card["neutral_percentile"] == 5


class Slow:
    """As much of a corpus as its options need."""

    path, fps, action_units, num_image_features, intensity_units = Path("slow"), 20.0, (1, 4), 7, ()


@pytest.mark.parametrize("spelling", [["--action-units", "4"], ["--action_units", "4"], ["--action-units=4"]])
def test_what_the_corpus_decides_unless_it_is_asked_for(spelling: list[str]) -> None:
    def config_for(*arguments: str) -> TrainingConfig:
        command = parse(["train", "--corpus", "c", "--out", "r", *arguments])
        assert isinstance(command, Train)
        return command.config_for(Slow())  # type: ignore[arg-type]

    found = config_for("--head", "image").detector
    assert (found.physics.fps, found.action_units, found.num_image_features) == (20, (1, 4), 7)
    assert config_for(*spelling).detector.action_units == (4,)
    assert config_for("--fps", "20", "--num-image-features", "7").detector.physics.fps == 20
    for wrong, words in (
        (["--fps", "25"], "has 20 frames per second, not fps 25"),
        (["--num_image_features", "0"], "has 7 image features per frame, not num_image_features 0"),
        (["--action-units", "1", "2"], "no labels for AU2; it has those of AU1, AU4"),
    ):
        with pytest.raises(ValueError, match=words):
            config_for(*wrong)


def test_without_tensorboard_a_note_says_how_to_have_it(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("biomechau.training.fold_training.tensorboard_available", lambda: False)
    options = ["--fold", "1", "--epochs", "1"]
    assert main(["train", "--corpus", str(corpus.path), "--out", str(tmp_path), *SMALL, *options]) == 0
    assert 'pip install "biomechau[tensorboard]"' in capsys.readouterr().err
    assert not (tmp_path / "fold1" / "tensorboard").exists()


def test_ctrl_c_says_how_to_go_on(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from biomechau.training import DetectorModule

    monkeypatch.setattr(DetectorModule, "training_step", lambda *_: signal.raise_signal(signal.SIGINT))
    assert main(["train", "--corpus", str(corpus.path), "--out", str(tmp_path / "run"), *SMALL]) == 130
    assert "stopped in fold 1; the same command with --resume continues it" in capsys.readouterr().err
    assert not (tmp_path / "run" / "fold2").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9 elsewhere")
def test_killed_in_the_middle_and_resumed(run_folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    """kill -9 in fold 2 after its first epoch; then all folds end with the weights of a training never stopped."""
    code = "import sys; from biomechau.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["train", "--corpus", str(corpus.path), "--out", str(tmp_path), *SMALL]
    process = subprocess.Popen([sys.executable, "-I", "-c", code, *arguments], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (tmp_path / "fold2" / "last.ckpt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert main([*arguments, "--resume"]) == 0
    for fold in ("fold1", "fold2", "fold3"):
        assert_same_weights(tmp_path / fold, run_folder / fold)
        assert (tmp_path / fold / "metrics.csv").read_text() == (run_folder / fold / "metrics.csv").read_text()


def test_what_cannot_be_trained(
    run_folder: Path, corpus: Corpus, tmp_path: Path, fails: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", "--corpus", corpus.path, *SMALL]
    fails(*given, "--out", run_folder, words=("fold1 is not empty", "--resume"))
    fails(*given, "--out", run_folder, "--resume", "--seed", "1", words="another configuration")
    out = tmp_path / "run"
    fails(*given, "--out", out, "--fold", "4", words="--fold must lie in [1, 3], got 4")
    fails(*given, "--out", out, "--num-folds", "7", words="num_folds must lie in [2, 6]")
    fails(*given, "--out", out, "--action-units", "6", "99", words=("no labels for AU99", "AU6, AU7, AU10, AU12"))
    fails(*given, "--out", out, "--fps", "30", words="25 frames per second, not fps 30")
    fails(*given, "--out", out, "--precision", "16-mixed", words=("16-mixed", "32-true", "64-true"))
    fails(*given, "--out", out, "--neutral", "101", words="neutral must be a finite number in [0, 100]")
    fails("train", "--corpus", "nowhere", "--out", out, words="nowhere")
    assert not out.exists()


def test_a_unit_that_is_never_on_is_found_before_any_fold_is_trained(
    corpus: Corpus, tmp_path: Path, fails: Callable[..., None]
) -> None:
    with CorpusWriter(tmp_path / "rare", corpus.rig, corpus.action_units, corpus.fps) as writer:
        for sequence in corpus:
            labels = sequence.labels.clone()
            labels[:, 3] = int(sequence.subject == "S001")
            writer.add(replace(sequence, labels=labels, muscle_forces=None))
    out = tmp_path / "run"
    words = ("never on in the valid frames of the training subjects: AU12", "--action-units")
    fails("train", "--corpus", tmp_path / "rare", "--out", out, *SMALL, words=words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda labels: labels.index_fill(0, torch.tensor([7]), 9), "labels is 9 in frame 7"),
        (lambda labels: labels[:-1].clone(), "tensor labels: expected int8 of shape (48, 4)"),
    ],
)
def test_wrong_labels(
    corpus: Corpus,
    tmp_path: Path,
    fails: Callable[..., None],
    change: Callable[[torch.Tensor], torch.Tensor],
    words: str,
) -> None:
    with CorpusWriter(tmp_path / "corpus", corpus.rig, corpus.action_units, corpus.fps) as writer:
        for sequence in corpus:
            writer.add(replace(sequence, muscle_forces=None))
    path = tmp_path / "corpus" / "sequences" / "S003_T2.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    path.unlink()
    save_file({**tensors, "labels": change(tensors["labels"])}, path)
    given = ["train", "--corpus", tmp_path / "corpus", "--out", tmp_path / "run", *SMALL]
    fails(*given, words=("S003_T2.safetensors", words))
    assert not (tmp_path / "run").exists()
