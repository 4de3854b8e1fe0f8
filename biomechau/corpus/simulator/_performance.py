"""Performances of simulated people over time (events, blinks, speech), and muscle activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from biomechau.corpus.simulator._displays import (
    CHANCES,
    DISPLAYS,
    KINDS,
    MOST_EVENTS,
    RANDOM_APEX,
    SETS,
    SHARES,
    SPEECH,
    Actor,
    Array,
    EventSides,
)
from biomechau.corpus.simulator.muscle_table import ACTION_UNITS, COMMANDS
from biomechau.corpus.simulator.simulation_config import Displays

# Simulation steps per frame.
STEPS_PER_FRAME = 4
# Durations are specified in frames of 25 per second.
_FRAME = 1 / 25
# Sequences have 96 frames by default, after 12 frames of approach, which are not kept.
APPROACH = 12 * _FRAME
_RECIPE_LENGTH = 108 * _FRAME

_ALIKE = EventSides(None)

RISE, FALL = 0.04, 0.08  # time constants of activation [s]
SATURATION = 0.15  # an activation a pulls with a / (1 + 0.15 a)


@dataclass(frozen=True, eq=False)
class Performance:
    """Commands to the muscles over time, ``STEPS_PER_FRAME`` steps per frame, each at the end of its step.

    The last axis is the side of the face, left and right; units of the middle have equal values.

    Attributes:
        expression: (F, C, 2) intensities that coders label.
        nuisance: (F, C, 2) intensities of blinks and speech, which coders do not label.
    """

    expression: Array
    nuisance: Array

    @property
    def excitation(self) -> Array:
        """(F, C, 2) excitation of the muscles, 0 to 1.2."""
        return np.clip(self.expression + self.nuisance, 0.0, 1.2)


def perform(
    actor: Actor,
    num_frames: int,
    fps: float,
    rng: np.random.Generator,
    displays: Displays = "mixed",
    sides: np.random.Generator | None = None,
) -> Performance:
    """A random performance of ``num_frames`` frames.

    Args:
        actor: who performs.
        num_frames: length.
        fps: frames per second [1/s].
        rng: for the events.
        displays: "mixed" for displays of the table, random sets of units and single units; "random" for the last two
            only; "crowded" for these and sets of many units; "table" for displays and single units that coders label.
        sides: for differences between left and right; None for equal sides.
    """
    step = 1 / (STEPS_PER_FRAME * fps)
    time = step * np.arange(1, num_frames * STEPS_PER_FRAME + 1, dtype=np.float64)
    expression = np.zeros((len(time), len(COMMANDS), 2))
    relative_length = num_frames / fps / _RECIPE_LENGTH
    if displays != "table":
        _add_mixed(expression, time, actor, relative_length, rng, sides, SHARES[displays])
    else:
        for _ in range(rng.poisson(3 * relative_length) + 1):
            _add_display(expression, time, actor, rng, EventSides.draw(sides))
        for _ in range(rng.poisson(1.5 * relative_length)):
            unit = ACTION_UNITS[rng.integers(len(ACTION_UNITS))]
            strength = np.clip(1.2 * rng.beta(1.6, 3.0), 0.05, 1.0)
            _overlay(expression, unit, strength * _envelope(time, _timing(time, 11, rng)), EventSides.draw(sides))
    nuisance = np.zeros_like(expression)
    _add_blinks(nuisance, time, rng)
    if rng.random() < 0.5:
        _add_speech(nuisance, time, rng)
    return Performance(expression, nuisance)


def activate(excitation: Array, step: float) -> Array:
    """Activation of muscles, which follows their excitation with a time constant of 40 ms up and 80 ms down.

    a' = (e - a) / tau with tau = ``RISE`` where e > a, else ``FALL``, solved exactly over each step of constant e.

    Args:
        excitation: e (F, ...), constant over each step.
        step: length of a step [s].

    Returns:
        a (F, ...) at the end of each step, 0 before the first.
    """
    gain_up, gain_down = 1 - np.exp(-step / RISE), 1 - np.exp(-step / FALL)
    activation = np.empty_like(excitation)
    state = np.zeros_like(excitation[0])
    for index, target in enumerate(excitation):
        state = state + np.where(target > state, gain_up, gain_down) * (target - state)
        activation[index] = state
    return activation


def saturate(activation: Array) -> Array:
    """Pull of a muscle at an activation a: a / (1 + 0.15 a)."""
    return activation / (1 + SATURATION * activation)


def _add_mixed(
    expression: Array,
    time: Array,
    actor: Actor,
    relative_length: float,
    rng: np.random.Generator,
    sides: np.random.Generator | None,
    shares: Sequence[float],
) -> None:
    """Add displays of the table, random sets of units and single units. Most sequences have few events, which are
    isolated, and some have many, which overlap."""
    for _ in range(rng.poisson(MOST_EVENTS * rng.uniform() ** 2 * relative_length) + 1):
        kind = KINDS[rng.choice(len(KINDS), p=shares)]
        event = EventSides.draw(sides)
        if kind == "display":
            _add_display(expression, time, actor, rng, event)
            continue
        fewest, most = SETS[kind]
        count = int(rng.integers(fewest, most + 1)) if fewest < most else fewest
        timing = _timing(time, RANDOM_APEX, rng)
        for column in rng.choice(len(COMMANDS), count, replace=False, p=CHANCES / CHANCES.sum()):
            level, jitter = rng.uniform(0, 1), rng.uniform(-3, 3, 4) * _FRAME
            _overlay(expression, COMMANDS[column], level * _envelope(time, timing + jitter), event)


def _add_display(expression: Array, time: Array, actor: Actor, rng: np.random.Generator, event: EventSides) -> None:
    display = list(DISPLAYS.values())[rng.choice(len(DISPLAYS), p=actor.mix)]
    strength = np.clip(1.5 * actor.expressivity * rng.beta(2.0, 2.2), 0.1, 1.2)
    timing = _timing(time, display.apex, rng)
    for unit, share in display.units.items():
        kept, spread = rng.random() < 0.85, np.exp(0.35 * rng.standard_normal())
        jitter = rng.uniform(-3, 3, 4) * _FRAME
        if kept:
            intensity = strength * share * spread * actor.bias[COMMANDS.index(unit)]
            _overlay(expression, unit, intensity * _envelope(time, timing + jitter), event)


def _timing(time: Array, apex: float, rng: np.random.Generator) -> Array:
    """Start of onset, apex and offset, and the end of an event with its middle anywhere in the sequence [s]."""
    durations = np.array([rng.uniform(5, 16), rng.gamma(2.0, apex), rng.uniform(8, 26)]) * _FRAME
    return rng.uniform(0, time[-1]) + np.concatenate([[0.0], np.cumsum(durations)]) - durations.sum() / 2


def _envelope(time: Array, timing: Array) -> Array:
    """Smooth ramps from 0 to 1 and back to 0 between the four times, which are put in order first."""
    start, full, falling, end = np.maximum.accumulate(timing)
    up = np.clip((time - start) / max(full - start, 1e-6), 0, 1)
    down = np.clip((end - time) / max(end - falling, 1e-6), 0, 1)
    ramp = np.minimum(up, down)
    return ramp * ramp * (3 - 2 * ramp)


def _overlay(commands: Array, unit: int, intensity: Array, event: EventSides = _ALIKE) -> None:
    """Add an event of one action unit; where events overlap, the stronger one is seen."""
    column = COMMANDS.index(unit)
    commands[:, column] = np.maximum(commands[:, column], intensity[:, None] * event.of(unit))


def _add_blinks(nuisance: Array, time: Array, rng: np.random.Generator) -> None:
    moment = rng.exponential(60) * _FRAME
    while moment < time[-1]:
        _overlay(nuisance, 45, _envelope(time, moment + _FRAME * np.array([0.0, 2.0, 3.0, 7.0])))
        moment += 7 * _FRAME + rng.exponential(60) * _FRAME


def _add_speech(nuisance: Array, time: Array, rng: np.random.Generator) -> None:
    """Add an utterance of 3 to 5 syllables per second; every syllable has its own mouth shape."""
    start = rng.uniform(-0.3, 0.7) * time[-1]
    stop = start + rng.uniform(0.3, 1.0) * time[-1]
    while start < stop:
        duration = 1 / rng.uniform(3, 5)
        phase = np.clip((time - start) / duration, 0, 1)
        strengths = rng.uniform(0, 1.6, len(SPEECH))
        for (unit, share), strength in zip(SPEECH.items(), strengths, strict=True):
            _overlay(nuisance, unit, share * strength * np.sin(np.pi * phase) ** 2)
        start += duration


def critically_damped(signal: Array, omega: float, step: float) -> Array:
    """Response x'' = w^2 (s - x) - 2 w x' to s (F, ...), from rest: two equal first-order lags in series."""
    decay = np.exp(-omega * step)
    for _ in range(2):
        signal = np.asarray(lfilter([1 - decay], [1, -decay], signal, axis=0))
    return signal
