"""Fold: which subjects train, choose and test a model, never the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Whether some of the training subjects choose among models, or the test subjects themselves.
Validation = Literal["train", "test"]


@dataclass(frozen=True)
class Fold:
    """Subjects of one fold.

    Attributes:
        train: to fit the model.
        validation: to choose among models and to stop; the same as ``test`` in the literature's mode, where the test
            subjects choose their own model.
        test: to report.

    Raises:
        ValueError: a part without subjects, a subject twice in a part or in two parts.
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
