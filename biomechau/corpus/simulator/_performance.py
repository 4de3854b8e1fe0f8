"""What simulated people do with their faces: displays, single action units, blinks, speech; and muscle activation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from biomechau.corpus.simulator.muscle_table import ACTION_UNITS, COMMANDS

Array = npt.NDArray[np.float64]

# Commands are followed this many times a frame.
STEPS_PER_FRAME = 4
# Durations of the recipe are counted in frames of 25 per second.
_FRAME = 1 / 25
# The recipe's sequences have 96 frames after 12 frames of approach, which are not kept.
APPROACH = 12 * _FRAME
_RECIPE_LENGTH = 108 * _FRAME

RISE, FALL = 0.04, 0.08  # time constants of activation [s]
SATURATION = 0.15  # activation a pulls as a / (1 + 0.15 a)


@dataclass(frozen=True)
class Display:
    """One kind of facial display.

    Attributes:
        share: how often it comes, among all displays.
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
# Speech moves these action units, and no coder labels them for it.
SPEECH: Mapping[int, float] = {
    **{26: 0.55, 16: 0.35, 18: 0.45, 28: 0.25},
    **{10: 0.18, 17: 0.15, 23: 0.12, 15: 0.10, 24: 0.15, 14: 0.15},
}


@dataclass(frozen=True, eq=False)
class Actor:
    """How one person behaves.

    Attributes:
        expressivity: factor of the intensity of all displays.
        bias: (C,) factor of the intensity of each command.
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
        return cls(expressivity, np.exp(0.5 * rng.standard_normal(len(COMMANDS))) ** 0.6, mix / mix.sum())


@dataclass(frozen=True, eq=False)
class Performance:
    """Commands to the muscles over time, ``STEPS_PER_FRAME`` steps a frame, each at the end of its step.

    Attributes:
        expression: (F, C) intensities that coders look for.
        nuisance: (F, C) intensities of blinks and speech, which they do not.
    """

    expression: Array
    nuisance: Array

    @property
    def excitation(self) -> Array:
        """(F, C) what the muscles get, 0 to 1.2."""
        return np.clip(self.expression + self.nuisance, 0.0, 1.2)


def perform(actor: Actor, num_frames: int, fps: float, rng: np.random.Generator) -> Performance:
    """A random performance of ``num_frames`` frames."""
    step = 1 / (STEPS_PER_FRAME * fps)
    time = step * np.arange(1, num_frames * STEPS_PER_FRAME + 1, dtype=np.float64)
    expression = np.zeros((len(time), len(COMMANDS)))
    relative_length = num_frames / fps / _RECIPE_LENGTH
    for _ in range(rng.poisson(3 * relative_length) + 1):
        _add_display(expression, time, actor, rng)
    for _ in range(rng.poisson(1.5 * relative_length)):
        unit = ACTION_UNITS[rng.integers(len(ACTION_UNITS))]
        strength = np.clip(1.2 * rng.beta(1.6, 3.0), 0.05, 1.0)
        _overlay(expression, unit, strength * _envelope(time, _timing(time, 11, rng)))
    nuisance = np.zeros_like(expression)
    _add_blinks(nuisance, time, rng)
    if rng.random() < 0.5:
        _add_speech(nuisance, time, rng)
    return Performance(expression, nuisance)


def activate(excitation: Array, step: float) -> Array:
    """Activation of muscles that follow their excitation: first order, 40 ms up and 80 ms down.

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


def _add_display(expression: Array, time: Array, actor: Actor, rng: np.random.Generator) -> None:
    display = list(DISPLAYS.values())[rng.choice(len(DISPLAYS), p=actor.mix)]
    strength = np.clip(1.5 * actor.expressivity * rng.beta(2.0, 2.2), 0.1, 1.2)
    timing = _timing(time, display.apex, rng)
    for unit, share in display.units.items():
        kept, spread = rng.random() < 0.85, np.exp(0.35 * rng.standard_normal())
        jitter = rng.uniform(-3, 3, 4) * _FRAME
        if kept:
            intensity = strength * share * spread * actor.bias[COMMANDS.index(unit)]
            _overlay(expression, unit, intensity * _envelope(time, timing + jitter))


def _timing(time: Array, apex: float, rng: np.random.Generator) -> Array:
    """Start of onset, apex and offset and the end of an event whose middle is anywhere in the sequence [s]."""
    durations = np.array([rng.uniform(5, 16), rng.gamma(2.0, apex), rng.uniform(8, 26)]) * _FRAME
    return rng.uniform(0, time[-1]) + np.concatenate([[0.0], np.cumsum(durations)]) - durations.sum() / 2


def _envelope(time: Array, timing: Array) -> Array:
    """0, up, 1, down, 0, with smooth ramps between the four moments, put in order first."""
    start, full, falling, end = np.maximum.accumulate(timing)
    up = np.clip((time - start) / max(full - start, 1e-6), 0, 1)
    down = np.clip((end - time) / max(end - falling, 1e-6), 0, 1)
    ramp = np.minimum(up, down)
    return ramp * ramp * (3 - 2 * ramp)


def _overlay(commands: Array, unit: int, intensity: Array) -> None:
    """Where events of one action unit meet, the stronger is seen."""
    column = COMMANDS.index(unit)
    commands[:, column] = np.maximum(commands[:, column], intensity)


def _add_blinks(nuisance: Array, time: Array, rng: np.random.Generator) -> None:
    moment = rng.exponential(60) * _FRAME
    while moment < time[-1]:
        _overlay(nuisance, 45, _envelope(time, moment + _FRAME * np.array([0.0, 2.0, 3.0, 7.0])))
        moment += 7 * _FRAME + rng.exponential(60) * _FRAME


def _add_speech(nuisance: Array, time: Array, rng: np.random.Generator) -> None:
    """An utterance of 3 to 5 syllables a second; every syllable has its own mouth shape."""
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
    """Response x'' = w^2 (s - x) - 2 w x' to s (F, ...), from rest: two equal first-order lags in a row."""
    decay = np.exp(-omega * step)
    for _ in range(2):
        signal = np.asarray(lfilter([1 - decay], [1, -decay], signal, axis=0))
    return signal
