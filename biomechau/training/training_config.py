"""TrainingConfig and ImageTrainingConfig: every option of a training in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from tyro.conf import OmitArgPrefixes

from biomechau._options import Count, Interval, NotNegative, Options, Percentile, Positive, ProperShare, Whole
from biomechau.models import DetectorConfig, LossWeights

if TYPE_CHECKING:
    import torch

    from biomechau.corpus import Corpus
    from biomechau.corpus.labelled_corpus import LabelledCorpus

Precision = Literal["32-true", "64-true"]
Selection = Literal["loss", "f1"]
# Names of values that are logged after each epoch.
VALIDATION_F1, VALIDATION_LOSS = "validation_f1", "validation_loss"


@dataclass(frozen=True)
class TrainingConfig(Options):
    """Options of a training.

    Raises:
        TypeError: a detector or losses of the wrong type.
        ValueError: a number outside its range.
    """

    # components of the detector and their sizes
    detector: OmitArgPrefixes[DetectorConfig] = field(default_factory=DetectorConfig)
    # weights of the training objectives (Eq. 17)
    losses: LossWeights = field(default_factory=LossWeights)
    # T, frames of a window, >= 2
    num_frames: Annotated[int, Interval("[2, inf)")] = 32
    # frames from window to window, >= 1; None: windows side by side
    stride: Count | None = None
    # windows per step, over all devices, >= 1
    batch_size: Count = 12
    # number of epochs, >= 1
    epochs: Count = 18
    # criterion on the validation subjects for the epoch to keep: "loss", the objective (Eq. 17) with all its terms, or
    # "f1", the mean F1, which hardly depends on the forces
    selection: Selection = "loss"
    # early stopping after this many epochs without improvement of the criterion, >= 1; None: off
    patience: Count | None = None
    # highest learning rate of the one-cycle schedule, > 0
    learning_rate: Positive = 3e-3
    # weight decay of AdamW, >= 0
    weight_decay: NotNegative = 1e-4
    # weight the positive labels of each action unit by its rate (see positive_weights); otherwise Eq. 14 as it stands
    balance_labels: bool = True
    # norm to which gradients are clipped, > 0
    gradient_clip: Positive = 1.0
    # seed of weights, dropout and the order of the windows, >= 0
    seed: Whole = 0
    # "cpu", "gpu", ..., or "auto" for the fastest available
    accelerator: str = "auto"
    # processes per machine, >= 1
    devices: Count = 1
    # number of machines, >= 1
    num_nodes: Count = 1
    # precision of all computations: "32-true" is float32, "64-true" float64
    precision: Precision = "32-true"
    # share of the training sequences whose labels are used, in (0, 1], drawn with the seed; the others are used without
    # labels
    label_share: Annotated[float, Interval("(0, 1]")] = 1.0
    # percentile of each coefficient over all frames of a subject, subtracted as the neutral face, 0 to 100 (usually 5
    # to 10); None: nothing is subtracted
    neutral: Percentile | None = None

    BEFORE: ClassVar[Mapping[str, Any]] = {"balance_labels": True}

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision must be one of {', '.join(get_args(Precision))}, got {self.precision!r}: the kernels "
                "compute in float32 and float64 throughout"
            )
        super().__post_init__()
        if self.batch_size % (self.devices * self.num_nodes):
            raise ValueError(
                f"batch_size must be a multiple of the {self.devices * self.num_nodes} processes, got {self.batch_size}"
            )

    @property
    def monitor(self) -> tuple[str, Literal["min", "max"]]:
        """Name of the logged value that selects the epoch to keep, and whether its minimum or maximum is best."""
        return (VALIDATION_LOSS, "min") if self.selection == "loss" else (VALIDATION_F1, "max")

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the detector."""
        import torch  # here, because options do without

        return torch.float64 if self.precision == "64-true" else torch.float32

    @classmethod
    def paper(cls) -> TrainingConfig:
        """The model and objectives of the paper, on the short windows that Eq. 6 allows."""
        return cls(detector=DetectorConfig.paper(), losses=LossWeights.paper(), num_frames=16, balance_labels=False)

    def for_corpus(
        self,
        corpus: Corpus,
        action_units: Sequence[int] | None = None,
        fps: float | None = None,
        num_image_features: int | None = None,
    ) -> TrainingConfig:
        """This configuration with the action units, the frame rate and the number of image features of a corpus.

        Args:
            corpus: to train on.
            action_units: numbers of the action units to detect; all of the corpus if not given.
            fps: frame rate that the corpus must have [1/s]; any if not given.
            num_image_features: that the corpus must have; any if not given.

        Raises:
            ValueError: the corpus has another frame rate or number of image features, or lacks an action unit.
        """
        if fps is not None and fps != corpus.fps:
            raise ValueError(
                f"{corpus.path} has {corpus.fps:g} frames per second, not fps {fps:g}; training uses the rate of the "
                "corpus, so leave fps out or use another corpus"
            )
        if num_image_features is not None and num_image_features != corpus.num_image_features:
            raise ValueError(
                f"{corpus.path} has {corpus.num_image_features} image features per frame, not num_image_features "
                f"{num_image_features}"
            )
        check_units(corpus, action_units or ())
        detector = replace(
            self.detector,
            action_units=corpus.action_units if action_units is None else tuple(action_units),
            physics=replace(self.detector.physics, fps=corpus.fps),
        )
        if self.losses.intensity > 0:
            known = set(corpus.intensity_units)
            detector = replace(detector, intensity_units=tuple(u for u in detector.action_units if u in known) or None)
        if detector.uses_images:
            detector = replace(detector, num_image_features=corpus.num_image_features)
        return replace(self, detector=detector)


@dataclass(frozen=True)
class ImageTrainingConfig(Options):
    """Options for training a small image backbone.

    Raises:
        ValueError: a number outside its range.
    """

    # side of the input pictures, a multiple of 16 [pixels]
    image_size: Annotated[int, Interval("[16, inf)")] = 64
    # D, number of image features, >= 1
    features: Count = 64
    # number of epochs, >= 1
    epochs: Count = 8
    # pictures per step, >= 2
    batch_size: Annotated[int, Interval("[2, inf)")] = 64
    # highest learning rate of the one-cycle schedule, > 0
    learning_rate: Positive = 2e-3
    # weight decay of AdamW, >= 0
    weight_decay: NotNegative = 0.05
    # dropout of the features, in [0, 1)
    dropout: ProperShare = 0.3
    # seed of weights, dropout, order and augmentation of the pictures, >= 0
    seed: Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % 16:
            raise ValueError(f"image_size must be a multiple of 16, got {self.image_size!r}")


def check_units(corpus: LabelledCorpus, action_units: Sequence[int]) -> None:
    """Raise ``ValueError`` unless the corpus has labels of these action units."""
    missing = [f"AU{unit}" for unit in action_units if unit not in corpus.action_units]
    if missing:
        raise ValueError(
            f"{corpus.path} has no labels for {', '.join(missing)}; it has those of "
            f"{', '.join(f'AU{unit}' for unit in corpus.action_units)}"
        )
