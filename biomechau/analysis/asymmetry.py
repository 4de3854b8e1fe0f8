"""Left against right: an index of asymmetry of a person, and the ratio of sums of each muscle."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from biomechau.rig.muscles import Muscle

Floats = npt.NDArray[np.float64]

# Shares of the strongest muscle's peak. A side whose peak is below is silent: its sum would be a sum of noise. A region
# is at rest if no force of it has a larger standard deviation: trackers' noise, which has no side, is 0.01 to 0.02 of
# an expression.
SILENT, AT_REST = 0.01, 0.03
ASYMMETRY_INDEX = (
    "which side moves more, from the forces of all valid frames: in each region the leading axis (u_L, u_R) of the "
    "2 x 2 covariance of left and right, summed over the pairs of muscles, gives (u_L - u_R) / (u_L + u_R): 1 only "
    "left, 0 even, -1 only right; total: mean of the regions (upper: forehead and eyes, lower: nose and mouth), "
    f"weighted by their summed force; null where a region is at rest: no force of it has a standard deviation above "
    f"{AT_REST:.0%} of the strongest muscle's peak, and what remains would be the tracker's noise. What is constant, "
    "such as an asymmetry at rest, does not count. There is no interval: a bootstrap over the recordings of a person "
    "does not cover"
)
RATIO_OF_SUMS = (
    "(L - R) / (L + R) of the forces summed over the valid frames: 1 only left, 0 even, -1 only right; "
    f"null where both sides stay below {SILENT:.0%} of the strongest muscle's peak. It understates an asymmetry: on "
    "simulated people the sums held .70 of the true force and a floor of 1.17, alike on both sides, that a low neutral "
    "makes of the tracker's noise; asymmetry_index is free of it"
)
# Action units of the forehead and the eyes (FACS); those of the nose and the mouth are the others.
_UPPER = frozenset({1, 2, 3, 4, 5, 6, 7, 41, 42, 43, 44, 45, 46})


class AsymmetryIndex(NamedTuple):
    """Which side moves more, from -1 (right only) to 1 (left only); None where nothing moves."""

    total: float | None
    upper: float | None
    lower: float | None


def asymmetry_index(forces: Tensor | Floats | Sequence[Tensor | Floats], muscles: Iterable[Muscle]) -> AsymmetryIndex:
    """Which side of a person's face moves more.

    In each region g, C_g is the sum over its pairs of muscles of the covariance of (F_L, F_R) over all frames, and u
    its leading eigenvector; A_g = (u_L - u_R) / (u_L + u_R). Where the signs of u differ, u is (1, 0) or (0, 1) by the
    larger one. The total is the mean of the regions, weighted by their summed force.

    A floor that both sides share (noise above a low neutral) cancels, as does an asymmetry at rest. Take plain forces:
    a prior that ties the sides hides what differs.

    Args:
        forces: (T, M) >= 0 of the frames with a face, or a list of recordings of one person; rows with NaN do not
            count.
        muscles: the M muscles, such as ``distribution.muscles``.

    Raises:
        ValueError: forces of another shape.
    """
    muscles = list(muscles)
    recordings = [forces] if isinstance(forces, (Tensor, np.ndarray)) else list(forces)
    for recording in recordings:
        if recording.ndim != 2 or recording.shape[1] != len(muscles):
            raise ValueError(f"forces must have shape (T, {len(muscles)}), got {tuple(recording.shape)}")
    frames = [np.asarray(recording, np.float64) for recording in recordings]
    values = np.concatenate([*frames, np.empty((0, len(muscles)))])
    values = values[~np.isnan(values).any(1)]
    rest = AT_REST * values.max(initial=0.0)
    found: dict[bool, float | None] = {}
    weights: dict[bool, float] = {}
    for upper in (True, False):
        columns = _pairs([muscle for muscle in muscles if in_upper_face(muscle) == upper], muscles)
        pairs = values[:, columns]  # (T, pairs, 2)
        moves = pairs.size > 0 and float(pairs.std(0).max()) > rest
        found[upper] = _axis(pairs) if moves else None
        weights[upper] = 0.0 if found[upper] is None else float(pairs.sum())
    known = [(index, weights[upper]) for upper, index in found.items() if index is not None]
    total = sum(index * weight for index, weight in known) / sum(weight for _, weight in known) if known else None
    return AsymmetryIndex(total, found[True], found[False])


def in_upper_face(muscle: Muscle) -> bool:
    """Whether a muscle is one of the forehead and the eyes, by its action units; the others are of nose and mouth."""
    return not _UPPER.isdisjoint(muscle.action_units)


def _pairs(region: Iterable[Muscle], muscles: Sequence[Muscle]) -> npt.NDArray[np.int64]:
    """(pairs, 2) columns of the left and the right muscle of each pair in a region."""
    column = {(muscle.name, muscle.side): index for index, muscle in enumerate(muscles)}
    pairs = [
        (column[muscle.name, "left"], column[muscle.name, "right"])
        for muscle in region
        if muscle.side == "left" and (muscle.name, "right") in column
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _axis(pairs: Floats) -> float:
    """(u_L - u_R) / (u_L + u_R) of forces (T, pairs, 2) that change."""
    moved = pairs - pairs.mean(0)
    left, right = (moved**2).sum((0, 1))
    both = float((moved[..., 0] * moved[..., 1]).sum())
    if both <= 0:
        return float(np.sign(left - right))
    # The leading eigenvector is (cos a, sin a) with tan 2a = 2 both / (left - right).
    return math.tan(math.pi / 4 - 0.5 * math.atan2(2 * both, left - right))


def ratio_of_sums(strength: Floats, identifiers: Iterable[str]) -> dict[str, float | None]:
    """Ratio of the summed forces of each paired muscle, see ``RATIO_OF_SUMS``.

    Args:
        strength: (T, M) forces of the valid frames, >= 0.
        identifiers: M muscle identifiers, sides as ``_left`` and ``_right``.

    Returns:
        By muscle name without the side; None if both sides are silent.
    """
    column = {identifier: index for index, identifier in enumerate(identifiers)}
    silent = SILENT * strength.max(initial=0.0)
    index: dict[str, float | None] = {}
    for identifier, left in column.items():
        name = identifier.removesuffix("_left")
        right = column.get(f"{name}_right")
        if name == identifier or right is None:
            continue
        peak = strength[:, [left, right]].max(initial=0.0)
        sums = strength[:, [left, right]].sum(0)
        index[name] = float((sums[0] - sums[1]) / sums.sum()) if peak > silent else None
    return index


def asymmetry_in_words(index: float | None) -> str:
    """The stronger side of the subject in words: ``"left, +0.25"``."""
    if index is None:
        return ""
    if abs(index) < 0.005:
        return "even"
    return f"{'left' if index > 0 else 'right'}, {index:+.2f}"
