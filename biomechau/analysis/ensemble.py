"""Ensemble: the trained detectors of several folds, used together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from biomechau.corpus import Corpus
from biomechau.models import Detector, DetectorConfig
from biomechau.models.mesh_encoder import MeshEncoder
from biomechau.physics import FaceDynamics
from biomechau.rig import Distribution, FaceRig
from biomechau.training.run import Run, open_runs
from biomechau.training.training_config import TrainingConfig


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Detectors of one rig with the same options, trained on folds of one corpus.

    Attributes:
        runs: by fold number, at least one.
        detectors: of the runs, in evaluation mode on the CPU.

    Raises:
        ValueError: no runs, or runs and detectors with different folds.
    """

    runs: Mapping[int, Run]
    detectors: Mapping[int, Detector]

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("there are no runs to predict with")
        if list(self.runs) != list(self.detectors):
            raise ValueError(f"runs are of the folds {list(self.runs)}, detectors of {list(self.detectors)}")

    @classmethod
    def of(cls, source: Ensemble | Mapping[int, Run] | str | Path) -> Ensemble:
        """The ensemble of a run's folder or of runs by fold number; an ensemble is returned as it is.

        Raises:
            ValueError: no runs, an unfinished training, or folds that do not belong together.
            OSError: a file cannot be read.
        """
        if isinstance(source, Ensemble):
            return source
        runs = open_runs(source) if isinstance(source, (str, Path)) else dict(source)
        return cls(runs, {number: run.detector() for number, run in runs.items()})

    def only(self, folds: Iterable[int]) -> Ensemble:
        """The ensemble of some of the folds."""
        folds = tuple(folds)
        return Ensemble({n: self.runs[n] for n in folds}, {n: self.detectors[n] for n in folds})

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the folds."""
        return tuple(self.runs)

    @property
    def path(self) -> Path:
        """Folder of the first run, for messages."""
        return next(iter(self.runs.values())).path

    @property
    def config(self) -> DetectorConfig:
        """Options of the detectors."""
        return self._detector.config

    @property
    def training(self) -> TrainingConfig:
        """Options of the training; its ``neutral`` tells how a person's neutral face is computed."""
        return next(iter(self.runs.values())).config

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """Probability above which each action unit is on: the mean over the folds, as the probability itself.

        Raises:
            ValueError, OSError: as :attr:`biomechau.training.Run.thresholds`.
        """
        return tuple(map(fmean, zip(*(run.thresholds for run in self.runs.values()), strict=True)))

    @property
    def paired_units(self) -> tuple[int, ...]:
        """Numbers of the action units of which left and right are told apart."""
        return self._detector.paired_units

    @property
    def rig(self) -> FaceRig:
        """The face."""
        return self._detector.rig

    @property
    def distribution(self) -> Distribution:
        """Distribution of the muscle forces over the vertices."""
        return self._detector.distribution

    @property
    def dynamics(self) -> FaceDynamics:
        """The physical model."""
        return self._detector.dynamics

    @property
    def encoder(self) -> MeshEncoder | None:
        """The mesh encoder, None if there is none; those of all folds read the same vertices."""
        return self._detector.encoder

    def trained_on(self, corpus: Corpus) -> bool:
        """Whether a corpus is the training corpus."""
        return all(run.trained_on(corpus) for run in self.runs.values())

    def trained_on_subject(self, corpus: Corpus, subject: str) -> tuple[int, ...]:
        """The folds that used a subject of a corpus for training or validation, and do not test it."""
        return tuple(
            number
            for number, run in self.runs.items()
            if run.trained_on(corpus) and subject in {*run.fold.train, *run.fold.validation} - {*run.fold.test}
        )

    def check_rig(self, corpus: Corpus) -> None:
        """Raise ``ValueError`` if a corpus has another rig than the training, and the detectors read meshes."""
        for run in self.runs.values():
            run.check_rig(corpus)

    @property
    def _detector(self) -> Detector:
        return next(iter(self.detectors.values()))
