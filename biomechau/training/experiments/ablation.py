"""The ablation of Appendix C: what each loss and each part of the physics is worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from biomechau.models import LossWeights
from biomechau.training.config import TrainingConfig
from biomechau.training.experiments.experiment import Experiment, Row, Setup

# Options and the values they are tried at; those of the base are its default row.
_FACTORS: dict[str, tuple[Any, ...]] = {
    "detector.physics.law": ("elastic", "newton"),
    "detector.physics.force": ("fibre", "vector"),
    "detector.mass": ("fixed", "region", "spd"),
    "detector.context": (0, 1, 4, 8),
}
# Explicit steps of one frame are not stable with stiffness.
_BESIDE = {("detector.physics.law", "elastic"): {"detector.physics.scheme": "implicit"}}
DEFAULT = "default"


def ablation(setup: Setup) -> Experiment:
    """The default, each loss off, and each other law, kind of force, mass and context."""
    rows = (Row(DEFAULT, DEFAULT, {"detector.head": "physics"}), *_losses(setup.base), *_factors(setup.base))
    return Experiment(
        "ablation",
        "Losses and physics, one change at a time",
        rows,
        units=False,
        notes=("gain: Avg. less that of the default row, run for run",),
    )


def _losses(base: TrainingConfig) -> Iterator[Row]:
    for field in fields(LossWeights):
        if getattr(base.losses, field.name) > 0:
            words = f"without the {field.name.replace('_', ' ')} loss"
            yield _row(f"no_{field.name}_loss", words, {f"losses.{field.name}": 0.0})
    if base.detector.slack:
        yield _row("no_slack", "without slack", {"detector.slack": False, "losses.slack": 0.0})


def _factors(base: TrainingConfig) -> Iterator[Row]:
    for place, values in _FACTORS.items():
        now: Any = base
        *_, option = names = place.split(".")
        for name in names:
            now = getattr(now, name)
        for value in values:
            if value != now:
                changes = {place: value, **_BESIDE.get((place, value), {})}
                yield _row(f"{option}_{value}", f"{option} {value}", changes)


def _row(name: str, heading: str, changes: dict[str, Any]) -> Row:
    return Row(name, heading, {"detector.head": "physics", **changes}, against=DEFAULT)
