"""Data of a corpus for a detector: batches for training, validation and test, and statistics of the training data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from biomechau.corpus import Corpus, CorpusSequence, Fold, LabelledCorpus, Windows
from biomechau.corpus.calibration import subject_neutral
from biomechau.corpus.corpus_sequence import UNKNOWN
from biomechau.models import Detector
from biomechau.training.training_config import check_units


class DetectorWindows(Dataset[dict[str, Tensor]]):
    """Windows of some subjects, with the tensors of a batch of :class:`biomechau.models.Detector`.

    An item has ``coefficients`` (T, K') of the shapes that the detector keeps, ``labels`` (T, R) of its action units,
    ``valid`` (T,), also False in frames without the picture that the head needs, and if available ``side_labels``
    (T, R, 2) for a detector of both sides, ``image_features`` (T, D), ``muscle_forces`` (T, M...) of the corpus's
    muscles, ``true_forces`` (T, M) of the detector's, NaN where unknown, and ``displacements`` (T, N_in, 3) of the
    encoder's vertices if the corpus has meshes beyond their coefficients.

    Args:
        corpus: to cut.
        subjects: whose sequences to cut.
        detector: reads the windows; it is not stored.
        num_frames: T.
        stride: frames from window to window; ``num_frames`` if not given.
        neutral: percentile of each coefficient over all valid frames of a subject that is subtracted, see
            :func:`biomechau.physics.neutral.neutral_coefficients`; nothing if not given.
        labelled: ids of the sequences whose labels are used, all if not given; labels of the others are -1 (unknown).
        some_units: take a corpus with labels of some of the detector's action units; those of the others are unknown.

    Raises:
        ValueError: a corpus of another rig or frame rate, without an action unit (any action unit, for ``some_units``)
            or the image features that the detector needs, or without windows.
    """

    def __init__(
        self,
        corpus: LabelledCorpus,
        subjects: Iterable[str],
        detector: Detector,
        num_frames: int,
        stride: int | None = None,
        neutral: float | None = None,
        labelled: Iterable[str] | None = None,
        some_units: bool = False,
    ) -> None:
        check_corpus(corpus, detector, some_units)
        names = ["muscle_forces"]
        names += ["side_labels"] if detector.sides is not None else []
        intense = detector.config.intensity_units or ()
        names += ["intensities", "side_intensities"] if intense else []
        names += ["image_features"] if detector.config.uses_images else []
        names += ["vertices_residual"] if detector.encoder is not None else []
        self.ids = corpus.ids_of(subjects)
        self._labelled = frozenset(self.ids if labelled is None else labelled)
        self.windows = Windows(corpus, self.ids, num_frames, stride, optional=names)
        self._dtype = detector.dynamics.mass.dtype
        self._shapes = [corpus.shapes.index(name) for name in detector.dynamics.shape_names]
        subjects = {sequence.subject for sequence in corpus.manifest.sequences if sequence.id in set(self.ids)}
        self._neutral = {subject: subject_neutral(corpus, subject, neutral)[self._shapes] for subject in subjects}
        place = {unit: column for column, unit in enumerate(corpus.action_units)}
        unknown = len(place)  # a column behind the others
        units, strengths = (
            [place.get(unit, unknown) for unit in some] for some in (detector.config.action_units, intense)
        )
        self._columns = {
            **dict.fromkeys(("labels", "side_labels"), units),
            **dict.fromkeys(("intensities", "side_intensities"), strengths),
        }
        # Columns of the detector's muscles, and of the same ones in the corpus.
        own, recorded = detector.dynamics.muscles.names, corpus.muscles
        common = [muscle for muscle in own if muscle in recorded]
        self._num_muscles = len(own)
        self._muscles = [own.index(muscle) for muscle in common], [recorded.index(muscle) for muscle in common]
        self._vertices: Tensor | None = None
        self._basis: Tensor | None = None
        if detector.encoder is not None and "vertices_residual" in corpus.tensor_names:
            self._vertices = detector.encoder.vertices.cpu()
            self._basis = detector.dynamics.blendshapes[:, self._vertices].cpu()

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        window = self.windows[index]
        item = {name: window[name] for name in ("valid", "muscle_forces") if name in window}
        subject = self.windows.corpus.subjects[int(window["subject"])]
        item["coefficients"] = self._calibrated(window["coefficients"], subject)
        if "image_features" in window:
            item["image_features"] = window["image_features"].to(self._dtype)
        labelled = window["sequence_id"] in self._labelled
        if (forces := item.get("muscle_forces")) is not None and forces.ndim == 2:
            item["true_forces"] = forces.new_full((len(forces), self._num_muscles), math.nan)
            if labelled:  # true forces say as much as labels
                item["true_forces"][:, self._muscles[0]] = forces[:, self._muscles[1]]
        for name, columns in self._columns.items():
            if name in window:
                unknown = torch.full_like(window[name][:, :1], UNKNOWN)
                labels = torch.cat([window[name], unknown], 1)[:, columns]
                item[name] = labels if labelled else torch.full_like(labels, UNKNOWN)
        if "side_intensities" in item and "intensities" not in item:
            sides = item["side_intensities"]
            item["intensities"] = sides.amax(-1).masked_fill((sides == UNKNOWN).any(-1), UNKNOWN)
        if self._basis is not None:
            item["displacements"] = self._displacements(item["coefficients"], window["vertices_residual"])
        return item

    def fit_statistics(self, detector: Detector) -> None:
        """Set a detector's statistics to those of the valid frames of these subjects.

        Raises:
            ValueError: no frame is valid.
        """
        sequences = [self.windows.corpus[id] for id in self.ids]
        meshes = None
        if self._basis is not None:  # one sequence at a time, since meshes are large
            meshes = (
                self._displacements(self._coefficients(sequence), sequence.vertices_residual[sequence.valid])
                for sequence in sequences
                if sequence.vertices_residual is not None
            )
        detector.fit_statistics([self._coefficients(sequence) for sequence in sequences], meshes)

    def _coefficients(self, sequence: CorpusSequence) -> Tensor:
        return self._calibrated(sequence.coefficients[sequence.valid], sequence.subject)

    def _calibrated(self, coefficients: Tensor, subject: str) -> Tensor:
        return (coefficients[:, self._shapes] - self._neutral[subject]).to(self._dtype)

    def _displacements(self, coefficients: Tensor, residual: Tensor) -> Tensor:
        """u = sum_k c_k B_k (Eq. 3) plus the residual of the mesh, at the encoder's vertices."""
        assert self._basis is not None
        return torch.tensordot(coefficients, self._basis, 1) + residual[:, self._vertices].to(coefficients.dtype)


class EpochOrder(Sampler[int]):
    """The windows of an epoch in random order, divided among the processes.

    The last batch is filled up with the epoch's first windows, so that every step has ``batch_size`` windows. Batch by
    batch, the processes together have the same windows as a single process.

    Args:
        num_windows: number of windows.
        batch_size: windows per step over all processes; a multiple of their number.
        seed: of the random orders.
        processes: P.
        rank: of this process, which takes the windows rank, rank + P, ... of each batch.
    """

    def __init__(self, num_windows: int, batch_size: int, seed: int, processes: int = 1, rank: int = 0) -> None:
        self.num_windows, self.batch_size, self.seed = num_windows, batch_size, seed
        self.processes, self.rank = processes, rank
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Use the order of an epoch; called by Lightning."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.num_windows // self.batch_size) * self.batch_size // self.processes

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.num_windows, generator=generator).tolist()
        indices = range(self.rank, len(self) * self.processes, self.processes)
        return (order[index % self.num_windows] for index in indices)


class CorpusData(LightningDataModule):
    """Lightning data module of one fold of a corpus.

    The order of the training windows follows from seed and epoch, for any number of processes; each process validates
    on all validation subjects.

    Args:
        corpus: to read.
        fold: its subjects.
        detector: to train; its statistics are set to those of the training subjects.
        num_frames: T of a window.
        stride: of the training windows; ``num_frames`` if not given.
        batch_size: windows per step over all processes.
        seed: of the order.
        neutral: percentile that calibrates each subject, see :class:`DetectorWindows`.
        labelled: training sequences whose labels are used; all if not given.

    Raises:
        ValueError: as :class:`DetectorWindows`.
    """

    def __init__(
        self,
        corpus: Corpus,
        fold: Fold,
        detector: Detector,
        num_frames: int = 32,
        stride: int | None = None,
        batch_size: int = 12,
        seed: int = 0,
        neutral: float | None = None,
        labelled: Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        self.training = DetectorWindows(corpus, fold.train, detector, num_frames, stride, neutral, labelled)
        self.validation = DetectorWindows(corpus, fold.validation, detector, num_frames, neutral=neutral)
        self.training.fit_statistics(detector)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        processes, rank = (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)
        order = EpochOrder(len(self.training), self.batch_size, self.seed, processes, rank)
        return DataLoader(self.training, self.batch_size // processes, sampler=order)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(self.validation, self.batch_size)


def positive_weights(rates: Tensor) -> Tensor:
    """Weights of positives, ((1 - p) / p clipped to [0.3, 4]) ** 0.7 for positive rates p (R,): rare units count more.

    Raises:
        ValueError: a rate outside (0, 1].
    """
    if not bool(((rates > 0) & (rates <= 1)).all()):
        raise ValueError(f"positive rates must lie in (0, 1], got {rates.tolist()}")
    return ((1 - rates) / rates).clamp(0.3, 4).pow(0.7)


def check_corpus(corpus: LabelledCorpus, detector: Detector, some_units: bool = False) -> None:
    """Check that a detector can read a corpus.

    Args:
        corpus: to read.
        detector: that reads it.
        some_units: whether labels of some of its action units are enough.

    Raises:
        ValueError: another rig or frame rate, or missing action units or image features.
    """
    config = detector.config
    if corpus.shapes != detector.rig.names or corpus.rig.num_vertices != detector.rig.num_vertices:
        raise ValueError(f"{corpus.path} was made with another rig than the detector: shapes or vertices differ")
    if corpus.fps != config.physics.fps:
        raise ValueError(
            f"{corpus.path} has {corpus.fps:g} frames per second, but the detector's physics {config.physics.fps:g}"
        )
    if not some_units or not set(config.action_units).intersection(corpus.action_units):
        check_units(corpus, config.action_units)
    if config.uses_images:
        if "image_features" not in corpus.tensor_names:
            raise ValueError(f"{corpus.path} has no image features, but head {config.head!r} reads them")
        if corpus.num_image_features != config.num_image_features:
            raise ValueError(
                f"{corpus.path} has {corpus.num_image_features} image features per frame, but the detector reads "
                f"{config.num_image_features}"
            )
