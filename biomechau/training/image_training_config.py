"""ImageTrainingConfig: every option of the training of a small image backbone in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ImageTrainingConfig:
    """How a small image backbone is trained.

    Raises:
        ValueError: a number outside its range.
    """

    # side of the pictures it sees, a multiple of 16 [pixels]
    image_size: int = 64
    # D, number of image features, >= 1
    features: int = 64
    # times that every picture of the training subjects is seen, >= 1
    epochs: int = 8
    # pictures of a step, >= 2
    batch_size: int = 64
    # highest learning rate of the one-cycle schedule, > 0
    learning_rate: float = 2e-3
    # of AdamW, >= 0
    weight_decay: float = 0.05
    # share of the features dropped in training, in [0, 1)
    dropout: float = 0.3
    # of weights, dropout, order and changes of the pictures, >= 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, smallest in (("features", 1), ("epochs", 1), ("batch_size", 2), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
                raise ValueError(f"{name} must be an integer of at least {smallest}, got {value!r}")
        for name, lowest, highest in (("learning_rate", 0, math.inf), ("weight_decay", 0, math.inf), ("dropout", 0, 1)):
            value = getattr(self, name)
            if not lowest <= value < highest or (name == "learning_rate" and not value):
                raise ValueError(f"{name} must lie in [{lowest}, {highest}), got {value!r}")
        if self.image_size < 16 or self.image_size % 16:
            raise ValueError(f"image_size must be a multiple of 16, got {self.image_size!r}")
