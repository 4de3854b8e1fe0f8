"""TrainingConfig: every option of a training in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

import torch
from tyro.conf import OmitArgPrefixes

from biomechau.models import DetectorConfig, LossWeights
from biomechau.physics.neutral import check_percentile

Precision = Literal["32-true", "64-true"]
Selection = Literal["loss", "f1"]
# Names of what is logged after each epoch.
VALIDATION_F1, VALIDATION_LOSS = "validation_f1", "validation_loss"

_SMALLEST_INTEGERS = {
    "num_frames": 2,
    "stride": 1,
    "batch_size": 1,
    "epochs": 1,
    "patience": 1,
    "seed": 0,
    "devices": 1,
    "num_nodes": 1,
}
_OPTIONAL = ("stride", "patience")


@dataclass(frozen=True)
class TrainingConfig:
    """What is trained, and how.

    Raises:
        TypeError: a detector or losses of another type.
        ValueError: a number outside its range.
    """

    # the detector's parts and sizes
    detector: OmitArgPrefixes[DetectorConfig] = field(default_factory=DetectorConfig)
    # weights of the training objectives (Eq. 17)
    losses: LossWeights = field(default_factory=LossWeights)
    # T, frames of a window, >= 2
    num_frames: int = 32
    # frames from window to window, >= 1; None: windows side by side
    stride: int | None = None
    # windows of a step, over all devices, >= 1
    batch_size: int = 12
    # times that every window is seen, >= 1
    epochs: int = 18
    # what decides on the validation subjects which epoch is kept: "loss", the objective (Eq. 17) with all its terms, or
    # "f1", the mean F1, which hardly sees the forces
    selection: Selection = "loss"
    # epochs without a better one, by the selection, before training stops, >= 1; None: never
    patience: int | None = None
    # highest learning rate of the one-cycle schedule, > 0
    learning_rate: float = 3e-3
    # of AdamW, >= 0
    weight_decay: float = 1e-4
    # largest norm of the gradient, > 0
    gradient_clip: float = 1.0
    # of weights, dropout and the order of the windows, >= 0
    seed: int = 0
    # "cpu", "gpu", ..., or "auto" for the fastest there is
    accelerator: str = "auto"
    # processes of a machine, >= 1
    devices: int = 1
    # machines, >= 1
    num_nodes: int = 1
    # of all numbers: "32-true" is float32, "64-true" float64
    precision: Precision = "32-true"
    # share of the training sequences whose labels are used, in (0, 1], drawn by the seed; the others are learned from
    # without labels
    label_share: float = 1.0
    # percentile of each coefficient over all frames of a subject to subtract as the neutral face, 0 to 100 (5 to 10 is
    # usual); None: nothing
    neutral: float | None = None

    def __post_init__(self) -> None:
        for name, kind in (("detector", DetectorConfig), ("losses", LossWeights), ("accelerator", str)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {type(getattr(self, name)).__name__}")
        for name, smallest in _SMALLEST_INTEGERS.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
                raise ValueError(f"{name} must be an integer of at least {smallest}, got {value!r}")
        for name in ("learning_rate", "weight_decay", "gradient_clip"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
            if not number or (value == 0 and name != "weight_decay"):
                raise ValueError(f"{name} must be a positive, finite number, got {value!r}")
        if self.selection not in get_args(Selection):
            raise ValueError(f"selection must be one of {', '.join(get_args(Selection))}, got {self.selection!r}")
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision must be one of {', '.join(get_args(Precision))}, got {self.precision!r}: the kernels "
                "compute in float32 and float64 throughout"
            )
        check_percentile(self.neutral)
        if not 0 < self.label_share <= 1:
            raise ValueError(f"label_share must lie in (0, 1], got {self.label_share}")
        if self.batch_size % (self.devices * self.num_nodes):
            raise ValueError(
                f"batch_size must be a multiple of the {self.devices * self.num_nodes} processes, got {self.batch_size}"
            )

    @property
    def monitor(self) -> tuple[str, Literal["min", "max"]]:
        """Name of the logged value that decides which epoch is kept, and which of its values is best."""
        return (VALIDATION_LOSS, "min") if self.selection == "loss" else (VALIDATION_F1, "max")

    @property
    def dtype(self) -> torch.dtype:
        """Of the detector."""
        return torch.float64 if self.precision == "64-true" else torch.float32

    @classmethod
    def paper(cls) -> TrainingConfig:
        """The paper's model and objectives, on the short windows that Eq. 6 allows."""
        return cls(detector=DetectorConfig.paper(), losses=LossWeights.paper(), num_frames=16)

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON knows them."""
        return {**asdict(self), "detector": self.detector.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """The configuration whose :meth:`to_json` this is.

        Raises:
            ValueError: a field that is missing, unknown or out of range.
        """
        names = {f.name for f in fields(cls)}
        found = set(values) if isinstance(values, Mapping) else set()
        if found != names:
            raise ValueError(
                f"a training's configuration has {len(names)} fields: missing {sorted(names - found)}, "
                f"unknown {sorted(found - names)}"
            )
        try:
            detector, losses = DetectorConfig.from_json(values["detector"]), LossWeights(**values["losses"])
            return cls(**{**values, "detector": detector, "losses": losses})
        except TypeError as error:
            raise ValueError(f"not a training's configuration: {error}") from error
