"""What simulated people show: displays of several action units, speech, and individual differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biomechau.corpus.simulator.muscle_table import ACTION_UNITS, COMMANDS, PAIRED, UNITS

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Display:
    """One kind of facial display.

    Attributes:
        share: its frequency among all displays.
        apex: scale of its duration at full strength, a Gamma(2) variable [frames of 25 per second].
        units: intensity of each action unit.
    """

    share: float
    apex: float
    units: Mapping[int, float]


DISPLAYS: Mapping[str, Display] = {
    "smile": Display(0.42, 22, {6: 0.7, 7: 0.5, 10: 0.7, 12: 1.0, 14: 0.45}),
    "big Duchenne smile": Display(0.16, 22, {6: 1.0, 7: 0.8, 10: 0.8, 12: 1.2, 26: 0.3}),
    "surprise": Display(0.08, 11, {1: 1.0, 2: 1.0, 5: 0.8, 26: 0.5}),
    "fear": Display(0.04, 11, {1: 0.8, 2: 0.5, 4: 0.6, 5: 0.7, 7: 0.4, 20: 0.6}),
    "anger": Display(0.07, 11, {4: 0.9, 7: 0.8, 10: 0.4, 17: 0.5, 23: 0.8, 24: 0.6}),
    "disgust": Display(0.09, 11, {4: 0.5, 6: 0.3, 7: 0.7, 9: 0.8, 10: 1.0, 17: 0.5}),
    "sadness": Display(0.06, 11, {1: 0.8, 4: 0.6, 15: 0.9, 17: 0.8}),
    "pain": Display(0.06, 11, {4: 0.7, 6: 0.8, 7: 0.9, 10: 0.8, 9: 0.4}),
    "embarrassment": Display(0.10, 11, {12: 0.6, 14: 0.8, 17: 0.4, 24: 0.6, 7: 0.4}),
    "doubt": Display(0.06, 11, {15: 0.6, 17: 0.8, 14: 0.6, 23: 0.4}),
    "pressed frown": Display(0.05, 11, {24: 0.8, 23: 0.7, 17: 0.6, 14: 0.5}),
}
# Speech moves these action units, but coders do not label it.
SPEECH: Mapping[int, float] = {
    **{26: 0.55, 16: 0.35, 18: 0.45, 28: 0.25},
    **{10: 0.18, 17: 0.15, 23: 0.12, 15: 0.10, 24: 0.15, 14: 0.15},
}


@dataclass(frozen=True, eq=False)
class Actor:
    """How one person behaves.

    Attributes:
        expressivity: factor of the intensity of all displays.
        bias: factor of the intensity of each of the muscle table's ``UNITS``.
        mix: probability of each display.
    """

    expressivity: float
    bias: Array
    mix: Array

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Actor:
        """A random person."""
        shares = np.array([display.share for display in DISPLAYS.values()])
        mix = shares * rng.dirichlet(np.full(len(shares), 1.5))
        expressivity = float(np.exp(0.35 * rng.standard_normal()))
        return cls(expressivity, np.exp(0.5 * rng.standard_normal(len(UNITS))) ** 0.6, mix / mix.sum())


# Kinds of events, and their shares in "mixed", "random" and "crowded" sequences.
KINDS = ("display", "random set", "single unit", "crowded set")
SHARES: Mapping[str, tuple[float, ...]] = {
    "mixed": (0.3, 0.4, 0.3, 0.0),
    "random": (0.0, 0.6, 0.4, 0.0),
    "crowded": (0.0, 0.25, 0.15, 0.6),
}
# Number of units of a set.
SETS: Mapping[str, tuple[int, int]] = {"single unit": (1, 1), "random set": (1, 5), "crowded set": (6, 14)}
MOST_EVENTS = 8.0  # mean number of events after the first in the busiest sequences of the default length
RANDOM_APEX = 16  # scale of the duration of the apex of a random set or a single unit [frames of 25 per second]
# In random sets, units that coders label are twice as likely as other movements.
CHANCES = np.array([2.0 if command in ACTION_UNITS else 1.0 for command in COMMANDS])

_EVENT_SPREAD, _UNIT_SPREAD = 0.30, 0.25  # added to the logarithm of the left amplitude, subtracted from the right one
_ONE_SIDED = 0.15  # share of events on one side of the face only
_WEAK, _WEAKEST, _LEAST_WEAK = 0.25, 0.0, 0.6  # share of people with one weak side, and the bounds of its strength


@dataclass(frozen=True, eq=False)
class EventSides:
    """Factors of the intensity of one event on the left and the right side.

    They are exp(+d) and exp(-d) with d = 0.30 N(0, 1) for the event + 0.25 N(0, 1) for each unit; in 15 % of events,
    one side does not move. Units of the middle of the face, and tied sides, have a factor of 1.

    Args:
        rng: None for tied sides.
    """

    rng: np.random.Generator | None
    common: float = 0.0
    still: int | None = None

    @classmethod
    def draw(cls, rng: np.random.Generator | None) -> EventSides:
        """The factors of a random event."""
        if rng is None:
            return cls(None)
        common = _EVENT_SPREAD * rng.standard_normal()
        one_sided, side = rng.random() < _ONE_SIDED, int(rng.integers(2))
        return cls(rng, common, side if one_sided else None)

    def of(self, unit: int) -> Array:
        """(2,) factors of one unit, left and right."""
        if self.rng is None or unit not in PAIRED:
            return np.ones(2)
        difference = self.common + _UNIT_SPREAD * self.rng.standard_normal()
        factors = np.exp(np.array([difference, -difference]))
        if self.still is not None:
            factors[self.still] = 0
        return factors


def weak_side(rng: np.random.Generator) -> Array:
    """(2,) strength of the left and the right half of a random person's face, 1 unless weak; a quarter of people have
    one weak side."""
    strength = np.ones(2)
    weak, side, left_over = rng.random() < _WEAK, rng.integers(2), rng.uniform(_WEAKEST, _LEAST_WEAK)
    if weak:
        strength[side] = left_over
    return strength
