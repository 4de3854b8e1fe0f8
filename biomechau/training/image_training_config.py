"""ImageTrainingConfig: every option of the training of a small image backbone in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from biomechau._options import Count, Interval, NotNegative, Options, Positive, ProperShare, Whole


@dataclass(frozen=True)
class ImageTrainingConfig(Options):
    """How a small image backbone is trained.

    Raises:
        ValueError: a number outside its range.
    """

    # side of the pictures it sees, a multiple of 16 [pixels]
    image_size: Annotated[int, Interval("[16, inf)")] = 64
    # D, number of image features, >= 1
    features: Count = 64
    # times that every picture of the training subjects is seen, >= 1
    epochs: Count = 8
    # pictures of a step, >= 2
    batch_size: Annotated[int, Interval("[2, inf)")] = 64
    # highest learning rate of the one-cycle schedule, > 0
    learning_rate: Positive = 2e-3
    # of AdamW, >= 0
    weight_decay: NotNegative = 0.05
    # share of the features dropped in training, in [0, 1)
    dropout: ProperShare = 0.3
    # of weights, dropout, order and changes of the pictures, >= 0
    seed: Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % 16:
            raise ValueError(f"image_size must be a multiple of 16, got {self.image_size!r}")
