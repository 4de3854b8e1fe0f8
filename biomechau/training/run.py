"""Run: the folder of the training of one fold. All folds lie in ``fold1``, ``fold2``, ..."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from biomechau import models
from biomechau.corpus import Corpus, Fold
from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.image_features import BackboneCard
from biomechau.file_errors import naming, quote, reason
from biomechau.files import is_unfinished, read_description, replacing
from biomechau.json_file import between, entry, read_json_object
from biomechau.models import Detector
from biomechau.rig.action_unit_names import column_name
from biomechau.training.metrics import THRESHOLD
from biomechau.training.training_config import TrainingConfig

FORMAT = "biomechau-run"
VERSION = 1
CONFIG, METRICS, PROTOCOL = "config.json", "metrics.csv", "protocol.json"
THRESHOLDS = "thresholds.json"
TENSORBOARD = "tensorboard"
# Checkpoints: the state after the last epoch and after the one before, and the weights of the best epoch.
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
# The default detector, which ships with the package; ``biomechau experiment default-detector`` makes it.
DEFAULT_RUN = Path(models.__file__).parent / "default_detector"
# Everything that a training writes into its folder.
FILES = frozenset({CONFIG, METRICS, PROTOCOL, THRESHOLDS, TENSORBOARD, LAST, PREVIOUS, BEST, *Detector.FILES})


@dataclass(frozen=True)
class Run:
    """Description of a training: options, subjects, corpus and rig. ``Detector.load(run.path)`` reads the detector.

    Attributes:
        path: the folder.
        config: training options.
        fold: the subjects.
        corpus_sha256: of the description of the training corpus.
        rig_sha256: of its rig.
        backbone: of the image features; None if the head reads none, or if it is not known.
    """

    path: Path
    config: TrainingConfig
    fold: Fold
    corpus_sha256: str
    rig_sha256: str
    backbone: BackboneCard | None = None

    @classmethod
    def new(cls, path: str | Path, config: TrainingConfig, fold: Fold, corpus: Corpus) -> Run:
        """A run before its training."""
        backbone = corpus.backbone if config.detector.uses_images else None
        return cls(Path(path), config, fold, corpus.sha256, corpus.rig_sha256, backbone)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Read the configuration of a run.

        Raises:
            ValueError: not a run of this version; the message names the file.
            OSError: the file cannot be read.
        """
        path = Path(path)
        file = path / CONFIG
        values = read_description(file, "a run", FORMAT)
        if values.get("version") != VERSION:
            raise ValueError(f"{file}: expected run version {VERSION}, found {quote(values.get('version'))}")
        try:
            fold = Fold(**{name: tuple(subjects) for name, subjects in values["fold"].items()})
            config = TrainingConfig.from_json(values["training"])
            card = values.get("backbone")
            backbone = None if card is None else BackboneCard.from_json(card)
            return cls(path, config, fold, str(values["corpus_sha256"]), str(values["rig_sha256"]), backbone)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file}: not a run of this version: {reason(error)}") from error

    def to_json(self) -> dict[str, Any]:
        """The contents of ``config.json``."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "training": self.config.to_json(),
            "fold": asdict(self.fold),
            "corpus_sha256": self.corpus_sha256,
            "rig_sha256": self.rig_sha256,
            "backbone": None if self.backbone is None else self.backbone.to_json(),
        }

    def save(self) -> None:
        """Write the configuration.

        Raises:
            OSError: the file cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        save_json(self.to_json(), self.path / CONFIG)

    @property
    def finished(self) -> bool:
        """Whether the trained detector is there and complete."""
        try:
            self.detector()
        except (ValueError, OSError):
            return False
        return True

    @property
    def own_thresholds(self) -> tuple[float, ...] | None:
        """Probability above which each action unit is on, chosen on the validation subjects.

        None in a run of an older version, which has no ``thresholds.json``.

        Raises:
            ValueError: a threshold that is missing, unknown or outside [0, 1]; the message names the file.
            OSError: the file cannot be read.
        """
        names, file = [column_name(unit) for unit in self.config.detector.action_units], self.path / THRESHOLDS
        if not file.exists():
            return None
        values = read_json_object(file)
        with naming(f"{file}: not the thresholds of this run"):
            if unknown := sorted(values.keys() - set(names)):
                raise ValueError(f"unknown entry {quote(unknown[0])}")
            return tuple(entry(values, name, "a number in [0, 1]", between(0, 1)) for name in names)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """:attr:`own_thresholds`, or 0.5 each where there are none."""
        own = self.own_thresholds
        return (THRESHOLD,) * len(self.config.detector.action_units) if own is None else own

    def metrics(self) -> list[dict[str, float]]:
        """The logged values of each epoch, see :class:`biomechau.training.DetectorModule`.

        Raises:
            ValueError: not such a table, or a value that is not a finite number; the message names file and line.
            OSError: the file cannot be read.
        """
        table = CsvTable.read(self.path / METRICS)
        values = table.numbers(range(len(table.header)))
        return [dict(zip(table.header, row, strict=True)) for row in values.tolist()]

    def trained_on(self, corpus: Corpus) -> bool:
        """Whether a corpus is the training corpus."""
        return corpus.sha256 == self.corpus_sha256

    def detector(self) -> Detector:
        """The trained detector, in evaluation mode on the CPU.

        Raises:
            ValueError: training has not finished, or a file is broken.
            OSError: a file cannot be read.
        """
        try:
            return Detector.load(self.path)
        except FileNotFoundError as error:
            raise ValueError(f"{self.path} contains no detector: training has not finished, resume it first") from error

    def seen_by_head(self, corpus: Corpus) -> Corpus:
        """A corpus with the image features that the head reads; the corpus itself if it reads none.

        Raises:
            ValueError: the corpus has no image features of the backbone used in training.
        """
        return corpus.of_backbone(self.backbone) if self.config.detector.uses_images else corpus

    def check_rig(self, corpus: Corpus) -> None:
        """Raise ``ValueError`` if a corpus has another rig than the training, and the detector reads meshes."""
        if self.config.detector.uses_mesh and not self.same_rig(corpus):
            raise ValueError(
                f"{corpus.path} has another rig than the training of {self.path}, whose detector reads meshes: "
                f"expected SHA-256 {self.rig_sha256[:12]}..., found {corpus.rig_sha256[:12]}..."
            )

    def same_rig(self, corpus: Corpus) -> bool:
        """Whether a corpus has the rig of the training. Detectors that read no meshes take those of others by name."""
        return corpus.rig_sha256 == self.rig_sha256

    def check_test(self, corpus: Corpus, subjects: Iterable[str]) -> None:
        """Check that this run can be tested on some subjects of a corpus.

        Raises:
            ValueError: the corpus has another rig and the detector reads meshes, or a subject was used for training.
        """
        self.check_rig(corpus)
        if not self.trained_on(corpus):
            return  # other people, even if they have the same names
        seen = {*self.fold.train, *self.fold.validation}.difference(self.fold.test)
        known = sorted(seen.intersection(subjects))
        if known:
            raise ValueError(f"subject {known[0]!r} was used to train {self.path}, so it cannot be used to test it")


def fold_folder(path: str | Path, number: int) -> Path:
    """Folder of the fold with a number, from 1."""
    return Path(path) / f"fold{number}"


def holds_runs(path: str | Path) -> bool:
    """Whether a folder is a run, or contains the folders of its folds."""
    path = Path(path)
    return (path / CONFIG).is_file() or any((folder / CONFIG).is_file() for folder in path.glob("fold*"))


def open_runs(path: str | Path, fold: int | None = None) -> dict[int, Run]:
    """The runs of all folds in a folder by fold number, in ascending order; the folder of one fold gives that alone.

    Args:
        path: of the folder.
        fold: to open alone, whatever the others are like; all if not given.

    Raises:
        ValueError: no run, not this fold, a fold whose training has not started, or folds that do not belong together:
            another corpus, other options, or a subject that is tested in two of them.
        OSError: a file cannot be read.
    """
    path = Path(path)
    if (path / CONFIG).is_file():
        found = {_number(path) or 1: path}
    else:
        if not path.is_dir():
            raise FileNotFoundError(f"no such folder: {path}")
        found = {number: folder for folder in path.iterdir() if (number := _number(folder)) and folder.is_dir()}
        if not found:
            raise ValueError(f"{path} contains no run: expected {CONFIG}, or folders fold1, fold2, ... of a training")
    if fold is not None:
        if fold not in found:
            raise ValueError(f"{path} has no fold {fold}; it has {', '.join(map(str, sorted(found)))}")
        found = {fold: found[fold]}
    for folder in found.values():
        if not (folder / CONFIG).is_file():
            raise ValueError(f"{folder} contains no run: its training has not started, resume it first")
    runs = {number: Run.open(found[number]) for number in sorted(found)}
    _check_together(runs)
    return runs


def finished_folds(path: str | Path) -> list[int]:
    """Numbers of the folds in a folder whose training has ended."""
    folders = {number: folder for folder in Path(path).glob("fold*") if (number := _number(folder))}
    return sorted(n for n, folder in folders.items() if (folder / CONFIG).is_file() and Run.open(folder).finished)


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


def has_begun(folder: Path) -> bool:
    """Whether a folder contains more than logs and a truncated configuration."""
    held = {path.name for path in folder.iterdir() if not is_unfinished(path)} if folder.is_dir() else set()
    held = {
        name for name in held - {METRICS, PROTOCOL, TENSORBOARD, "hparams.yaml"} if not name.startswith("events.out.")
    }
    if held != {CONFIG}:
        return bool(held)
    try:
        json.loads((folder / CONFIG).read_bytes())
    except ValueError:
        return False
    return True


def save_json(values: dict[str, Any], path: Path) -> None:
    """Write a JSON file atomically.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
