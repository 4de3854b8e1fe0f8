"""Run: the folder of one training."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from biomechau.corpus import Corpus, Fold
from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.image_features import BackboneCard
from biomechau.file_errors import quote, reason
from biomechau.files import is_unfinished, read_description, replacing
from biomechau.models import Detector
from biomechau.training.training_config import TrainingConfig

FORMAT = "biomechau-run"
VERSION = 1
CONFIG, METRICS, CARD = "config.json", "metrics.csv", "protocol.json"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True)
class Run:
    """What was trained on what. The detector itself is read by ``Detector.load(run.path)``.

    Attributes:
        path: the folder.
        config: how it was trained.
        fold: on which subjects.
        corpus_sha256: of the description of the corpus trained on.
        rig_sha256: of its rig.
        backbone: of the image features; None where the head reads none, or the corpus does not know.
    """

    path: Path
    config: TrainingConfig
    fold: Fold
    corpus_sha256: str
    rig_sha256: str
    backbone: BackboneCard | None = None

    @classmethod
    def new(cls, path: str | Path, config: TrainingConfig, fold: Fold, corpus: Corpus) -> Run:
        """A run that is still to be made."""
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
            raise ValueError(f"{file}: run version {VERSION} expected, found {quote(values.get('version'))}")
        try:
            fold = Fold(**{name: tuple(subjects) for name, subjects in values["fold"].items()})
            config = TrainingConfig.from_json(values["training"])
            card = values.get("backbone")
            backbone = None if card is None else BackboneCard.from_json(card)
            return cls(path, config, fold, str(values["corpus_sha256"]), str(values["rig_sha256"]), backbone)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file}: not a run of this version: {reason(error)}") from error

    def to_json(self) -> dict[str, Any]:
        """What :meth:`open` reads."""
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
        """Whether the trained detector is there, whole."""
        try:
            self.detector()
        except (ValueError, OSError):
            return False
        return True

    def metrics(self) -> list[dict[str, float]]:
        """What was logged of each epoch, see :class:`biomechau.training.DetectorModule`.

        Raises:
            ValueError: not such a table, or a value that is not a finite number; the message names file and line.
            OSError: the file cannot be read.
        """
        table = CsvTable.read(self.path / METRICS)
        values = table.numbers(range(len(table.header)))
        return [dict(zip(table.header, row, strict=True)) for row in values.tolist()]

    def trained_on(self, corpus: Corpus) -> bool:
        """Whether this is the corpus that was trained on."""
        return corpus.sha256 == self.corpus_sha256

    def detector(self) -> Detector:
        """The trained detector, in evaluation mode on the CPU.

        Raises:
            ValueError: training has not ended, or its files are broken.
            OSError: a file cannot be read.
        """
        try:
            return Detector.load(self.path)
        except FileNotFoundError as error:
            raise ValueError(f"{self.path} holds no detector: its training has not ended, resume it first") from error

    def seen_by_head(self, corpus: Corpus) -> Corpus:
        """A corpus with the image features that the head reads; the corpus itself where it reads none.

        Raises:
            ValueError: the corpus has no image features of the backbone that was trained with.
        """
        return corpus.of_backbone(self.backbone) if self.config.detector.uses_images else corpus

    def check_rig(self, corpus: Corpus) -> None:
        """Raise ``ValueError`` unless a corpus has the rig that was trained with."""
        if corpus.rig_sha256 != self.rig_sha256:
            raise ValueError(
                f"{corpus.path} was made with another rig than {self.path} was trained with: expected SHA-256 "
                f"{self.rig_sha256[:12]}..., found {corpus.rig_sha256[:12]}..."
            )

    def check_test(self, corpus: Corpus, subjects: Iterable[str]) -> None:
        """Make sure that subjects of a corpus can test this run.

        Raises:
            ValueError: the corpus is of another rig, or a subject was trained on.
        """
        self.check_rig(corpus)
        if not self.trained_on(corpus):
            return  # other people, whatever their names
        seen = {*self.fold.train, *self.fold.validation}.difference(self.fold.test)
        known = sorted(seen.intersection(subjects))
        if known:
            raise ValueError(f"subject {known[0]!r} was trained on in {self.path}, so it cannot test it")


def has_begun(folder: Path) -> bool:
    """Whether a folder holds more than a log, or a configuration whose writing was cut short."""
    held = {path.name for path in folder.iterdir() if not is_unfinished(path)} if folder.is_dir() else set()
    held = {name for name in held - {METRICS, CARD, TENSORBOARD, "hparams.yaml"} if not name.startswith("events.out.")}
    if held != {CONFIG}:
        return bool(held)
    try:
        json.loads((folder / CONFIG).read_bytes())
    except ValueError:
        return False
    return True


def save_json(values: dict[str, Any], path: Path) -> None:
    """Write JSON that appears whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
