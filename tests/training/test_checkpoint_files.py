"""Checkpoints that are broken, and folders in which a training was killed before it began."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from biomechau.corpus import Corpus, Fold
from biomechau.models import Detector
from biomechau.training import Run, TrainingConfig, train
from biomechau.training._checkpoint_files import BEST, LAST, PREVIOUS, CheckpointFiles, read_checkpoint
from biomechau.training.run import has_begun


@pytest.fixture(scope="module")
def run(corpus: Corpus, fold: Fold, config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run, with a copy of it beside."""
    run = train(corpus, fold, config, tmp_path_factory.mktemp("runs") / "run", progress=False)
    shutil.copytree(run.path, _copy(run))
    return run


def _copy(run: Run) -> Path:
    return run.path.with_name("copy")


class _Code:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("run-by-a-checkpoint",)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def _change(key: str, value: object) -> Callable[[Path], None]:
    return lambda path: torch.save({**torch.load(path, weights_only=True), key: value}, path)


def _nan(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    next(x for x in checkpoint["state_dict"].values() if x.is_floating_point()).view(-1)[0] = torch.nan
    torch.save(checkpoint, path)


def _without_optimizer(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["optimizer_states"]
    torch.save(checkpoint, path)


BREAK = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": _cut,
    "flipped": _flip,
    "code": lambda path: torch.save({"state_dict": _Code()}, path),
    "list": lambda path: torch.save([1], path),
    "other model": _change("state_dict", {"x": torch.zeros(3)}),
    "without optimizer": _without_optimizer,
    "nan": _nan,
}


def _stopped(run: Run) -> Path:
    """The run without its detector, as if killed before that was written."""
    shutil.rmtree(run.path)
    shutil.copytree(_copy(run), run.path)
    (run.path / "detector.json").unlink()
    return run.path


def _assert_same_result(run: Run, folder: Path) -> None:
    weights, expected = Detector.load(folder).state_dict(), Detector.load(_copy(run)).state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    assert (folder / "metrics.csv").read_text() == (_copy(run) / "metrics.csv").read_text()


@pytest.mark.parametrize("how", BREAK)
def test_a_broken_checkpoint_is_refused_by_name_and_the_one_before_is_used(
    run: Run, corpus: Corpus, fold: Fold, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = _stopped(run)
    BREAK[how](folder / LAST)
    with pytest.warns(UserWarning, match=f"{folder / LAST}: .*; training continues from {folder / PREVIOUS}"):
        train(corpus, fold, run.config, folder, progress=False, resume=True)
    assert not (tmp_path / "run-by-a-checkpoint").exists()
    for (name, a), b in zip(
        run.detector().state_dict().items(), Detector.load(folder).state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert (folder / "metrics.csv").read_text() == (run.path / "metrics.csv").read_text()


@pytest.mark.parametrize("broken", [(LAST, PREVIOUS), (BEST,)])
def test_without_a_good_checkpoint_training_begins_again(
    run: Run, corpus: Corpus, fold: Fold, broken: tuple[str, ...]
) -> None:
    folder = _stopped(run)
    for name in broken:
        _cut(folder / name)
    with pytest.warns(UserWarning, match=f"{folder / broken[0]}: not a complete checkpoint: .*; training starts over"):
        train(corpus, fold, run.config, folder, progress=False, resume=True)
    _assert_same_result(run, folder)


def test_a_disk_that_is_full_keeps_the_checkpoint_before(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(_copy(run) / LAST, tmp_path / LAST)
    good = (tmp_path / LAST).read_bytes()

    def full(path: Path, data: memoryview) -> None:
        with path.open("wb") as file:
            file.write(data[:1000])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left") as caught:
            CheckpointFiles(tmp_path).save_checkpoint({"state_dict": {}}, tmp_path.resolve() / LAST)
    assert caught.value.filename == str(tmp_path / LAST)
    assert (tmp_path / LAST).read_bytes() == good
    assert os.listdir(tmp_path) == [LAST]


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / LAST)


def test_what_a_kill_leaves_before_the_first_epoch_has_not_begun(
    run: Run, corpus: Corpus, fold: Fold, tmp_path: Path
) -> None:
    for resume in (False, True):
        folder = tmp_path / f"run{resume}"
        (folder / "tensorboard").mkdir(parents=True)
        (folder / ".config.json.123.partial").write_text("{")
        (folder / "config.json").write_text('{"format": "biom')
        assert not has_begun(folder)
        train(corpus, fold, run.config, folder, progress=False, resume=resume)
        _assert_same_result(run, folder)
        assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_other_files_are_not_taken_for_a_run(run: Run, corpus: Corpus, fold: Fold, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="is not empty"):
        train(corpus, fold, run.config, tmp_path, progress=False)
    with pytest.raises(ValueError, match="contains no run to resume, but other files"):
        train(corpus, fold, run.config, tmp_path, progress=False, resume=True)
    assert os.listdir(tmp_path) == ["thesis.txt"]
