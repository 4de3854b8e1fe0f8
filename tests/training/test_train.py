"""Whole trainings of seconds: the same for a seed, resumed as if never stopped, refused where they cannot work."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biomechau.corpus import Corpus, CorpusWriter, Fold
from biomechau.locks import locked_folder
from biomechau.models import Detector
from biomechau.training import DetectorModule, Run, TrainingConfig, evaluate, train
from biomechau.training.metrics import action_unit_scores
from biomechau.training.training_config import Selection


@pytest.fixture(scope="module")
def run(corpus: Corpus, fold: Fold, config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(corpus, fold, config, tmp_path_factory.mktemp("runs") / "run", progress=False)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return Detector.load(folder).state_dict()


def _assert_same_weights(first: Path, second: Path) -> None:
    for (name, a), b in zip(_weights(first).items(), _weights(second).values(), strict=True):
        assert torch.equal(a, b), name


def test_a_run_holds_what_is_needed(run: Run, corpus: Corpus, fold: Fold) -> None:
    assert Run.open(run.path) == run
    assert run.detector().config == run.config.detector
    with (run.path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert 0 < float(rows[1]["validation_f1"]) < 1
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    card = json.loads((run.path / "protocol.json").read_text())
    assert card["train"] == {"subjects": list(fold.train), "frames": 192}
    assert (card["action_units"], card["threshold"], card["seed"]) == ([6, 7, 10, 12], 0.5, 0)
    assert card["selection"].endswith("validation subjects")
    assert card["versions"]["torch"] == torch.__version__


def test_thresholds_are_those_of_the_validation_subjects(run: Run, corpus: Corpus, fold: Fold) -> None:
    columns = [corpus.action_units.index(unit) for unit in (6, 7, 10, 12)]
    with torch.no_grad():
        found = [
            (run.detector()({"coefficients": corpus[id].coefficients}).probabilities, corpus[id].labels[:, columns])
            for id in corpus.ids_of(fold.validation)
        ]
    probabilities, labels = (torch.cat(tensors) for tensors in zip(*found, strict=True))
    # One validation subject, and eight at one half.
    best = [0.5 + 9 * (threshold - 0.5) for threshold in run.thresholds]
    units = action_unit_scores(probabilities, labels, (6, 7, 10, 12), thresholds=best).units
    # The detector sees the recording here as a whole, in training in windows.
    assert any(unit.best_f1 is not None for unit in units)
    for unit in units:
        assert unit.threshold_f1 == (None if unit.best_f1 is None else pytest.approx(unit.best_f1, abs=0.04))


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"AU06": 0.5}', "AU07"), ('{"AU06": 7}', r"\[0, 1\], found 7"), ('{"AU99": 0.5}', "unknown entry 'AU99'")],
)
def test_broken_thresholds_are_refused(run: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "thresholds.json").write_text(text)
    with pytest.raises(ValueError, match=rf"thresholds\.json: not the thresholds of this run: .*{message}"):
        replace(run, path=tmp_path).thresholds  # noqa: B018
    (tmp_path / "thresholds.json").unlink()
    assert replace(run, path=tmp_path).own_thresholds is None
    assert replace(run, path=tmp_path).thresholds == (0.5,) * 4


@pytest.mark.parametrize(
    ("selection", "column", "best_of"), [("loss", "validation_loss", min), ("f1", "validation_f1", max)]
)
def test_the_weights_are_those_of_the_best_epoch(
    selection: Selection,
    column: str,
    best_of: Callable[[list[float]], float],
    corpus: Corpus,
    fold: Fold,
    config: TrainingConfig,
    tmp_path: Path,
) -> None:
    # Steps so large that the last epoch need not be the best.
    wild = replace(config, selection=selection, epochs=4, learning_rate=0.1)
    run = train(corpus, fold, wild, tmp_path / "run", progress=False)
    values = [row[column] for row in run.metrics()]
    best = torch.load(run.path / "best.ckpt", weights_only=True)
    assert best["epoch"] == values.index(best_of(values))
    weights = _weights(run.path)
    assert all(torch.equal(tensor, best["state_dict"][f"detector.{name}"]) for name, tensor in weights.items())


def test_the_same_seed_gives_the_same_weights(run: Run, corpus: Corpus, fold: Fold, tmp_path: Path) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    train(corpus, fold, run.config, tmp_path / "again", progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    _assert_same_weights(run.path, tmp_path / "again")
    train(corpus, fold, replace(run.config, seed=1), tmp_path / "other", progress=False)
    assert not torch.equal(
        _weights(run.path)["head.layers.4.weight"], _weights(tmp_path / "other")["head.layers.4.weight"]
    )


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_resumed_training_ends_with_the_same_weights(
    run: Run, corpus: Corpus, fold: Fold, tmp_path: Path, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Stands for the end of the process."""

    step = DetectorModule.training_step

    def until_killed(self: DetectorModule, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if (self.current_epoch, batch_idx) == (epoch, 2):
            raise Killed
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(DetectorModule, "training_step", until_killed)
        with pytest.raises(Killed):
            train(corpus, fold, run.config, tmp_path / "killed", progress=False)
    with pytest.raises(ValueError, match="training has not finished, resume it"):
        Run.open(tmp_path / "killed").detector()
    train(corpus, fold, run.config, tmp_path / "killed", progress=False, resume=True)
    _assert_same_weights(run.path, tmp_path / "killed")
    last = [torch.load(path / "last.ckpt", weights_only=True) for path in (run.path, tmp_path / "killed")]
    assert last[0]["epoch"] == last[1]["epoch"]
    assert all(torch.equal(t, last[1]["state_dict"][name]) for name, t in last[0]["state_dict"].items())
    assert (run.path / "metrics.csv").read_text() == (tmp_path / "killed" / "metrics.csv").read_text()


def test_resuming_what_has_ended_changes_nothing(run: Run, corpus: Corpus, fold: Fold) -> None:
    before = {name: (run.path / name).read_bytes() for name in ("detector.safetensors", "metrics.csv")}
    train(corpus, fold, run.config, run.path, progress=False, resume=True)
    assert {name: (run.path / name).read_bytes() for name in before} == before


def test_a_run_is_not_overwritten(run: Run, corpus: Corpus, fold: Fold) -> None:
    with pytest.raises(FileExistsError, match="is not empty"):
        train(corpus, fold, run.config, run.path, progress=False)
    with pytest.raises(ValueError, match="run with another configuration, fold or rig"):
        train(corpus, fold, replace(run.config, epochs=3), run.path, progress=False, resume=True)


def test_training_stops_when_the_validation_loss_does_not_fall(
    corpus: Corpus, fold: Fold, config: TrainingConfig, tmp_path: Path
) -> None:
    # Steps too small to change a weight; a head without batch normalisation, whose statistics change all the same.
    detector = replace(config.detector, head="position")
    still = replace(config, detector=detector, epochs=5, patience=1, learning_rate=1e-30)
    train(corpus, fold, still, tmp_path / "run", progress=False)
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 1 + 2


def test_double_precision_and_a_neutral_face(
    corpus: Corpus, fold: Fold, config: TrainingConfig, tmp_path: Path
) -> None:
    run = train(corpus, fold, replace(config, precision="64-true", neutral=5), tmp_path / "run", progress=False)
    weights = _weights(run.path)
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float64}
    assert weights["statistics.mean"].abs().sum() > 0
    # Shapes that mostly rest lie near 0 once the neutral is gone; as captured, they carry the tracker's errors.
    plain = train(corpus, fold, config, tmp_path / "plain", progress=False)
    assert weights["statistics.mean"].median() < _weights(plain.path)["statistics.mean"].median()
    found, other = evaluate(run, corpus), evaluate(plain, corpus)
    assert found.scores.mean_f1 is not None
    assert found.reconstruction != other.reconstruction


def test_ctrl_c_leaves_a_run_to_resume(
    run: Run, corpus: Corpus, fold: Fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = DetectorModule.training_step

    def until_interrupted(self: DetectorModule, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if (self.current_epoch, batch_idx) == (1, 2):
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_idx)

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(DetectorModule, "training_step", until_interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(corpus, fold, run.config, tmp_path / "run", progress=False)
    assert signal.getsignal(signal.SIGINT) is handler
    train(corpus, fold, run.config, tmp_path / "run", progress=False, resume=True)
    _assert_same_weights(run.path, tmp_path / "run")


def test_a_log_for_tensorboard(run: Run) -> None:
    pytest.importorskip("tensorboard")
    (log,) = (run.path / "tensorboard").glob("events.*")
    assert b"validation_f1" in log.read_bytes()


def test_units_that_are_never_on(corpus: Corpus, fold: Fold, config: TrainingConfig, tmp_path: Path) -> None:
    with CorpusWriter(tmp_path / "off", corpus.rig, corpus.action_units, corpus.fps) as writer:
        for sequence in corpus:
            labels = sequence.labels.clone()
            labels[:, corpus.action_units.index(12)] = 0
            if sequence.subject in fold.validation:
                labels[:] = -1
            writer.add(replace(sequence, labels=labels, muscle_forces=None))
    off = Corpus.open(tmp_path / "off")
    without_12 = replace(config, detector=replace(config.detector, action_units=(6, 7, 10)))
    with pytest.raises(ValueError, match="validation subjects S003"):
        train(off, fold, without_12, tmp_path / "run", progress=False)
    other = Fold(("S001", "S002"), ("S004",), ("S003",))
    with pytest.raises(ValueError, match="never on in .* training subjects: AU12; leave"):
        train(off, other, config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_fold_of_another_corpus(corpus: Corpus, config: TrainingConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no subject 'F001'"):
        train(corpus, Fold(("F001",), ("S001",), ("S002",)), config, tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a run"),
        ({"version": 2}, "expected run version 1, found 2"),
        ({"fold": {"train": ["a"], "validation": ["a"], "test": ["b"]}}, "subject 'a' is in train and in validation"),
        ({"training": {}}, "missing"),
        ({"rig_sha256": None, "fold": 3}, "not a run of this version"),
    ],
)
def test_a_broken_configuration(run: Run, tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**run.to_json(), **change}))
    with pytest.raises(ValueError, match=message):
        Run.open(tmp_path)


def test_a_configuration_that_is_cut(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"format": "biom')
    with pytest.raises(ValueError, match="config.json: not JSON"):
        Run.open(tmp_path)
    with pytest.raises(FileNotFoundError):
        Run.open(tmp_path / "nothing")


def _diverging(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Make a weight infinite in the second step of an epoch."""
    step = DetectorModule.optimizer_step

    def diverge(self: DetectorModule, epoch_now: int, batch_idx: int, *arguments: object, **named: object) -> None:
        step(self, epoch_now, batch_idx, *arguments, **named)  # type: ignore[arg-type]
        if (epoch_now, batch_idx) == (epoch, 1):
            with torch.no_grad():
                next(self.detector.parameters()).view(-1)[0] = torch.inf

    monkeypatch.setattr(DetectorModule, "optimizer_step", diverge)


def test_a_weight_that_is_not_finite_stops_the_training(
    run: Run, corpus: Corpus, fold: Fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _diverging(patch, 1)
        with pytest.raises(ValueError, match=r"diverged: .* epoch 2 of 2, step 2 of 3; lower the"):
            train(corpus, fold, run.config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "detector.json").exists()
    # The checkpoint of the epoch before is there, and good.
    train(corpus, fold, run.config, tmp_path / "run", progress=False, resume=True)
    _assert_same_weights(run.path, tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_the_training(
    corpus: Corpus, fold: Fold, config: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"diverged: .* epoch 1 of 2, step \d of 3"):
        train(corpus, fold, replace(config, learning_rate=1e30), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_two_trainings_in_one_folder(run: Run, corpus: Corpus, fold: Fold, tmp_path: Path) -> None:
    with locked_folder(tmp_path / "run", "busy"):
        for resume in (False, True):
            with pytest.raises(BlockingIOError, match="another process is training here") as caught:
                train(corpus, fold, run.config, tmp_path / "run", progress=False, resume=resume)
            assert caught.value.filename == str(tmp_path / "run")
    assert not (tmp_path / "run").exists()
