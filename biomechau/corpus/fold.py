"""Fold: disjoint subjects for training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Whether validation uses some of the training subjects, or the test subjects.
Validation = Literal["train", "test"]


@dataclass(frozen=True)
class Fold:
    """Subjects of one fold.

    Attributes:
        train: subjects to fit the model.
        validation: subjects to select the model and to stop training; the same as ``test`` in many publications.
        test: subjects to report scores on.

    Raises:
        ValueError: a part has no subjects, or a subject appears twice.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        for name, subjects in parts.items():
            if not subjects:
                raise ValueError(f"the fold has no {name} subjects, expected at least one")
        if set(self.validation) == set(self.test):
            del parts["validation"]
        seen: dict[str, str] = {}
        for name, subjects in parts.items():
            for subject in subjects:
                if subject in seen:
                    raise ValueError(
                        f"subject {subject!r} is in {seen[subject]} and in {name}, expected in one of them"
                    )
                seen[subject] = name
