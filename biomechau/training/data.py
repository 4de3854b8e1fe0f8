"""What a detector reads of a corpus: batches for training, validation and test, and statistics of the training data."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from biomechau.corpus import Corpus, CorpusSequence, Fold, Windows
from biomechau.models import Detector


class DetectorWindows(Dataset[dict[str, Tensor]]):
    """Windows of some subjects, with the tensors of :class:`biomechau.models.Detector`'s batches.

    An item has ``coefficients`` (T, K') of the shapes that the detector keeps, ``labels`` (T, R) of its action units,
    ``valid`` (T,), and where there are such: ``image_features`` (T, D), ``muscle_forces`` (T, M...) of the corpus's
    muscles, and ``displacements`` (T, N_in, 3) of the encoder's vertices if the meshes are more than their
    coefficients.

    Args:
        corpus: to cut.
        subjects: whose sequences to cut.
        detector: to read them; it is not kept.
        num_frames: T.
        stride: frames from window to window; ``num_frames`` if not given.

    Raises:
        ValueError: a corpus of another rig, without an action unit or the image features that the detector needs, at
            another frame rate, or without windows.
    """

    def __init__(
        self, corpus: Corpus, subjects: Iterable[str], detector: Detector, num_frames: int, stride: int | None = None
    ) -> None:
        check_corpus(corpus, detector)
        names = ["muscle_forces"]
        names += ["image_features"] if "image_features" in detector.config.head_inputs else []
        names += ["vertices_residual"] if detector.encoder is not None else []
        self.ids = corpus.ids_of(subjects)
        self.windows = Windows(corpus, self.ids, num_frames, stride, optional=names)
        self._shapes = [corpus.shapes.index(name) for name in detector.dynamics.shape_names]
        self._units = [corpus.action_units.index(unit) for unit in detector.config.action_units]
        self._vertices: Tensor | None = None
        self._basis: Tensor | None = None
        if detector.encoder is not None and "vertices_residual" in corpus.tensor_names:
            self._vertices = detector.encoder.vertices.cpu()
            self._basis = detector.dynamics.blendshapes[:, self._vertices].cpu()

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        window = self.windows[index]
        item = {name: window[name] for name in ("valid", "image_features", "muscle_forces") if name in window}
        item["coefficients"] = window["coefficients"][:, self._shapes]
        item["labels"] = window["labels"][:, self._units]
        if self._basis is not None:
            item["displacements"] = self._displacements(item["coefficients"], window["vertices_residual"])
        return item

    def fit_statistics(self, detector: Detector) -> None:
        """Give a detector the statistics of the valid frames of these subjects.

        Raises:
            ValueError: no frame is valid.
        """
        sequences = [self.windows.corpus[id] for id in self.ids]
        meshes = None
        if self._basis is not None:  # one sequence at a time: meshes are large
            meshes = (
                self._displacements(self._coefficients(sequence), sequence.vertices_residual[sequence.valid])
                for sequence in sequences
                if sequence.vertices_residual is not None
            )
        detector.fit_statistics([self._coefficients(sequence) for sequence in sequences], meshes)

    def _coefficients(self, sequence: CorpusSequence) -> Tensor:
        return sequence.coefficients[sequence.valid][:, self._shapes]

    def _displacements(self, coefficients: Tensor, residual: Tensor) -> Tensor:
        """u = sum_k c_k B_k (Eq. 3) and what the mesh has beside it, of the encoder's vertices."""
        assert self._basis is not None
        return torch.tensordot(coefficients, self._basis, 1) + residual[:, self._vertices].to(coefficients.dtype)


class CorpusData(LightningDataModule):
    """A fold of a corpus as Lightning wants it.

    Training windows come in an order that the seed and the epoch decide, the same for any number of processes; each
    process validates on all validation subjects.

    Args:
        corpus: to read.
        fold: its subjects.
        detector: to train; its statistics become those of the training subjects.
        num_frames: T of a window.
        stride: of the training windows; ``num_frames`` if not given.
        batch_size: windows of a step, over all processes.
        seed: of the order.

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
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        self.training = DetectorWindows(corpus, fold.train, detector, num_frames, stride)
        self.validation = DetectorWindows(corpus, fold.validation, detector, num_frames)
        self.training.fit_statistics(detector)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        processes, rank = (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)
        # With one process too, because Lightning tells this sampler the epoch.
        sampler = DistributedSampler(self.training, processes, rank, shuffle=True, seed=self.seed)
        return DataLoader(self.training, self.batch_size // processes, sampler=sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(self.validation, self.batch_size)


def positive_weights(rates: Tensor) -> Tensor:
    """((1 - p) / p clipped to [0.3, 4]) ** 0.7 for positive rates p (R,), so that rare units are not ignored.

    Raises:
        ValueError: a rate outside (0, 1].
    """
    if not bool(((rates > 0) & (rates <= 1)).all()):
        raise ValueError(f"positive rates must lie in (0, 1], got {rates.tolist()}")
    return ((1 - rates) / rates).clamp(0.3, 4).pow(0.7)


def check_corpus(corpus: Corpus, detector: Detector) -> None:
    """Make sure that a detector can read a corpus.

    Raises:
        ValueError: another rig or frame rate, or a lack of action units or image features.
    """
    config = detector.config
    if corpus.shapes != detector.rig.names or corpus.rig.num_vertices != detector.rig.num_vertices:
        raise ValueError(f"{corpus.path} was made with another rig than the detector: shapes or vertices differ")
    if corpus.fps != config.physics.fps:
        raise ValueError(
            f"{corpus.path} has {corpus.fps:g} frames per second, but the detector's physics {config.physics.fps:g}"
        )
    missing = [f"AU{unit}" for unit in config.action_units if unit not in corpus.action_units]
    if missing:
        raise ValueError(
            f"{corpus.path} has no labels of {', '.join(missing)}; it has those of "
            f"{', '.join(f'AU{unit}' for unit in corpus.action_units)}"
        )
    if "image_features" in config.head_inputs:
        if "image_features" not in corpus.tensor_names:
            raise ValueError(f"{corpus.path} has no image features, but head {config.head!r} reads them")
        (found,) = corpus.manifest.tensors["image_features"].shape
        if found != config.num_image_features:
            raise ValueError(
                f"{corpus.path} has {found} image features a frame, but the detector reads {config.num_image_features}"
            )
