"""The folder of all folds: one run in each of ``fold1``, ``fold2``, ..."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from biomechau import models
from biomechau.models.detector_storage import DESCRIPTION
from biomechau.training.run import CONFIG, Run

# The default detector, which ships with the package; ``biomechau experiment default-detector`` makes it.
DEFAULT_RUN = Path(models.__file__).parent / "default_detector"


def fold_folder(path: str | Path, number: int) -> Path:
    """Where fold ``number``, from 1, goes."""
    return Path(path) / f"fold{number}"


def holds_runs(path: str | Path) -> bool:
    """Whether a folder holds a run, or the folders of its folds."""
    path = Path(path)
    return (path / CONFIG).is_file() or any((folder / CONFIG).is_file() for folder in path.glob("fold*"))


def open_runs(path: str | Path, fold: int | None = None) -> dict[int, Run]:
    """The runs of a folder by the number of their fold, in ascending order; a run's own folder holds just that.

    Args:
        path: of the folder.
        fold: to open alone, whatever the others are like; all if not given.

    Raises:
        ValueError: no run, not this fold, a fold whose training has not begun, or folds that do not belong together: of
            another corpus or other options, or with a subject that two of them test.
        OSError: a file cannot be read.
    """
    path = Path(path)
    if (path / CONFIG).is_file():
        found = {_number(path) or 1: path}
        return {number: Run.open(folder) for number, folder in _only(found, fold, path).items()}
    if not path.is_dir():
        raise FileNotFoundError(f"no such folder: {path}")
    found = {number: folder for folder in path.iterdir() if (number := _number(folder)) and folder.is_dir()}
    if not found:
        raise ValueError(f"{path} holds no run: expected {CONFIG}, or the folders fold1, fold2, ... of a training")
    found = _only(found, fold, path)
    for folder in found.values():
        if not (folder / CONFIG).is_file():
            raise ValueError(f"{folder} holds no run: its training has not begun, resume it first")
    runs = {number: Run.open(found[number]) for number in sorted(found)}
    _check_together(runs)
    return runs


def finished_folds(path: str | Path) -> list[int]:
    """Numbers of the folds in a folder whose training has ended."""
    folders = {number: folder for folder in Path(path).glob("fold*") if (number := _number(folder))}
    return sorted(number for number, folder in folders.items() if (folder / DESCRIPTION).is_file())


def _only(found: dict[int, Path], fold: int | None, path: Path) -> dict[int, Path]:
    if fold is None:
        return found
    if fold not in found:
        raise ValueError(f"{path} has no fold {fold}; it has {', '.join(map(str, sorted(found)))}")
    return {fold: found[fold]}


def _number(folder: Path) -> int | None:
    match = re.fullmatch(r"fold([1-9]\d*)", folder.name)
    return int(match[1]) if match else None


def _check_together(runs: dict[int, Run]) -> None:
    first, *others = runs.values()
    for run in others:
        if (run.corpus_sha256, run.rig_sha256) != (first.corpus_sha256, first.rig_sha256):
            raise ValueError(f"{run.path} was trained on another corpus than {first.path}")
        # As JSON, because two equal configurations may differ in their types: 3 and 3.0.
        if run.config.to_json() != first.config.to_json():
            raise ValueError(f"{run.path} was trained with other options than {first.path}")
    for subject, count in Counter(subject for run in runs.values() for subject in run.fold.test).items():
        if count > 1:
            folds = [str(run.path) for run in runs.values() if subject in run.fold.test]
            raise ValueError(f"subject {subject!r} is tested in {' and '.join(folds)}, expected in one of them")
