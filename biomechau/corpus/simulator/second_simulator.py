"""A second simulator, for tests of what was learned from the first: other tissue, tracker, muscles and behaviour.

Nothing is shared with the first but the rig, the names of the muscles and the solver of bounded least squares.

- Behaviour: random bursts of random sets of muscles, each person with their own habits; nothing of displays or speech.
- Muscles: each moves its shapes and, less, those of its neighbours, along a direction that differs between people.
- Tissue: no masses and no springs; it follows with a lag, creeps, stiffens with force and saturates where muscles meet.
- Tracker: landmarks with poor depth and jitter of the head's pose, fitted with the rig's own shapes; channels bent by a
  power law, smoothed and late.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.signal import lfilter
from scipy.special import expit
from torch import Tensor

from biomechau.corpus.simulator._coarse_face import farthest_points
from biomechau.corpus.simulator._displays import Array
from biomechau.rig import FaceRig, Muscles
from biomechau.rig.bounded_least_squares import solve_bounded
from biomechau.rig.distribution import muscle_displacements
from biomechau.threads import one_thread

NUM_LANDMARKS = 160
_FPS = 25.0
# Shares of the displacement of other muscles, of the same side, in that of a muscle.
_NEIGHBOURS: Mapping[str, Mapping[str, float]] = {
    "frontalis_medialis": {"frontalis_lateralis": 0.25},
    "frontalis_lateralis": {"frontalis_medialis": 0.15, "levator_palpebrae": 0.1},
    "corrugator_supercilii": {"orbicularis_oculi_palpebralis": 0.15},
    "orbicularis_oculi_orbitalis": {"orbicularis_oculi_palpebralis": 0.3},
    "orbicularis_oculi_palpebralis": {"orbicularis_oculi_pretarsalis": 0.1},
    "levator_labii_alaeque_nasi": {"levator_labii_superioris": 0.3},
    "levator_labii_superioris": {"levator_labii_alaeque_nasi": 0.15, "orbicularis_oculi_orbitalis": 0.1},
    "zygomaticus_major": {"orbicularis_oculi_orbitalis": 0.2, "buccinator": 0.1},
    "buccinator": {"risorius": 0.1},
    "depressor_anguli_oris": {"risorius": 0.15},
    "depressor_labii_inferioris": {"risorius": 0.1},
    "risorius": {"buccinator": 0.2},
    "mentalis": {"orbicularis_oris_inferior": 0.1},
    "incisivii_labii": {"orbicularis_oris_peripheralis": 0.15},
    "digastric": {"depressor_labii_inferioris": 0.1},
}
_NUM_HABITS, _HABIT_SIZE = 6, (2, 6)  # sets of muscles that a person often uses together
_BURSTS_PER_SECOND = 1.0
_SIDE_SPREAD, _ONE_SIDED = 0.35, 0.15  # of the logarithm of an amplitude; share of bursts on one side
_GAIN_SPREAD = 0.2  # log-normal, of a muscle's strength; for hardness 1 like all below
_DIRECTION, _SCALE = 0.15, 0.2  # of a person's fields, against those of the rig
_WHITE, _SLOW, _DEPTH = 0.02, 0.02, 3.0  # noise of landmarks [cm]; factor of the noise in depth
_SHIFT, _TURN = 0.02, 0.003  # of the head's pose [cm, rad]
_BENDING = 0.15  # of the logarithm of the exponent of a channel
_LARGEST = 1.2  # coefficient


@dataclass(frozen=True, eq=False)
class SecondRecording:
    """One person of the second simulator, T frames at 25 per second.

    Attributes:
        coefficients: (T, K) float64, what the tracker saw, in the order of the rig's shapes.
        clean: (T, K) float64, what it would have seen without noise, jitter, bending and lag.
        forces: (T, M) float64, the true forces of the muscles of the rig [1 moves the face as far as its shapes].
        strength: (2,) of the muscles of the left and the right half of the face, 1 where it is not weak.
    """

    coefficients: Tensor
    clean: Tensor
    forces: Tensor
    strength: Array


def simulate_second(
    rig: FaceRig,
    muscles: Muscles,
    people: int = 20,
    frames: int = 600,
    hardness: float = 1.0,
    weak: float = 0.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    weak_muscles: Collection[str] | None = None,
) -> Iterator[SecondRecording]:
    """Recordings of random people, one each; the same for the same seed.

    Args:
        rig: the face.
        muscles: with shapes of the rig, as of ``Distribution.from_rig(rig).muscles``.
        people: number of recordings.
        frames: T, at 25 per second.
        hardness: scale of what makes people different and the tracker noisy; 0 leaves the differences of the model.
        weak: share of the people with one weak side, whose muscles keep 0 to 60 % of their strength.
        seed: of everything random.
        progress: called with (people done, people in all).
        weak_muscles: names, without sides, of the muscles that are weak on a weak side; all if not given.
    """
    face = _Landmarks.of(rig, muscles, weak_muscles)
    for person in range(people):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(person,)))
        with one_thread():
            yield face.record(rng, frames, hardness, weak)
        if progress is not None:
            progress(person + 1, people)


@dataclass(frozen=True, eq=False)
class _Landmarks:
    """The rig at L vertices, with x, y and depth of the frontal view.

    Attributes:
        rest: (L, 3) neutral [cm].
        shapes: (K, L, 3) blendshapes [cm].
        fields: (M, L, 3) displacement by a unit force of each muscle [cm].
        others: (J, L, 3) shapes of no muscle.
        pairs: for each muscle, its side (0 left, 1 right, None) and the number of its name.
        weak: (M,) bool, muscles that are weak on a weak side.
    """

    rest: Array
    shapes: Array
    fields: Array
    others: Array
    pairs: tuple[tuple[int | None, int], ...]
    weak: tuple[bool, ...]

    @classmethod
    def of(cls, rig: FaceRig, muscles: Muscles, weak: Collection[str] | None) -> _Landmarks:
        axes = rig.axes.double()
        positions = (rig.neutral.double() @ axes.T).numpy()
        moving = (rig.blendshapes.abs().amax((0, 2)) > 0).numpy() & (rig.vertex_masses > 0).numpy()
        chosen = farthest_points(positions, np.flatnonzero(moving), NUM_LANDMARKS)
        own = (muscle_displacements(rig, muscles)[:, chosen] @ axes.T).numpy()
        fields = own.copy()
        for row, muscle in enumerate(muscles):
            for name, share in _NEIGHBOURS.get(muscle.name, {}).items():
                beside = [i for i, m in enumerate(muscles) if m.name == name and muscle.side in (m.side, "both")]
                fields[row] += share * own[beside].sum(0)
        taken = {shape for muscle in muscles for shape in muscle.shapes}
        shapes = (rig.blendshapes[:, chosen].double() @ axes.T).numpy()
        free = [k for k, name in enumerate(rig.names) if name not in taken and np.abs(shapes[k]).max() > 0]
        stems = {name: index for index, name in enumerate(dict.fromkeys(muscle.name for muscle in muscles))}
        side = {"left": 0, "right": 1}
        pairs = tuple((side.get(muscle.side), stems[muscle.name]) for muscle in muscles)
        weakened = tuple(weak is None or muscle.name in weak for muscle in muscles)
        return cls(positions[chosen], shapes, fields, shapes[free], pairs, weakened)

    def record(self, rng: np.random.Generator, frames: int, hardness: float, weak: float) -> SecondRecording:
        strength = np.ones(2)
        side, left_over = rng.integers(2), rng.uniform(0, 0.6)
        if rng.random() < weak:
            strength[side] = left_over
        forces, beside = self._behave(rng, frames, hardness)
        sides = [side if weakened else None for (side, _), weakened in zip(self.pairs, self.weak, strict=True)]
        forces = forces * np.array([1.0 if side is None else strength[side] for side in sides])
        moved = self._move(rng, forces, beside, hardness)
        clean = self._fit(moved)
        return SecondRecording(
            coefficients=torch.from_numpy(self._track(rng, moved, hardness)),
            clean=torch.from_numpy(clean),
            forces=torch.from_numpy(forces),
            strength=strength,
        )

    def _behave(self, rng: np.random.Generator, frames: int, hardness: float) -> tuple[Array, Array]:
        """Forces (T, M), and coefficients (T, J) of the shapes of no muscle."""
        stems = 1 + max(stem for _, stem in self.pairs)
        time = np.arange(frames) / _FPS
        activation = np.zeros((frames, stems, 2))
        beside = np.zeros((frames, len(self.others)))
        habits = [rng.choice(stems, min(rng.integers(*_HABIT_SIZE), stems), replace=False) for _ in range(_NUM_HABITS)]
        for _ in range(1 + rng.poisson(_BURSTS_PER_SECOND * time[-1])):
            habit = rng.random() < 0.5
            used = habits[rng.integers(_NUM_HABITS)] if habit else rng.choice(stems, rng.integers(1, 4))
            start, peak = rng.uniform(-0.5, time[-1]), rng.uniform(0.1, 1.0)
            common, still = _SIDE_SPREAD * rng.standard_normal(), rng.integers(2) if rng.random() < _ONE_SIDED else -1
            for stem in used:
                course = peak * rng.uniform(0.4, 1.0) * self._burst(rng, time - start)
                uneven = common + _SIDE_SPREAD * rng.standard_normal()
                for side, sign in ((0, 1), (1, -1)):
                    if side != still:
                        activation[:, stem, side] = np.maximum(
                            activation[:, stem, side], course * math.exp(sign * uneven)
                        )
            if len(self.others) and rng.random() < 0.3:
                beside[:, rng.integers(len(self.others))] += peak * self._burst(rng, time - start)
        gains = np.exp(_GAIN_SPREAD * hardness * rng.standard_normal(stems))
        of = [activation[:, stem].max(-1) if side is None else activation[:, stem, side] for side, stem in self.pairs]
        return np.minimum(np.stack(of, 1), 1.2) * gains[[stem for _, stem in self.pairs]], np.minimum(beside, 1)

    @staticmethod
    def _burst(rng: np.random.Generator, time: Array) -> Array:
        """Logistic rise, plateau and decay."""
        rise, hold, fall = rng.uniform(0.04, 0.25), rng.gamma(2.0, 0.4), rng.uniform(0.08, 0.5)
        since = time - 3 * rise
        return np.clip(expit(since / rise) - expit((since - hold) / fall), 0, 1)

    def _move(self, rng: np.random.Generator, forces: Array, beside: Array, hardness: float) -> Array:
        """Displacements of the landmarks (T, L, 3) [cm]."""
        stiffening = rng.uniform(0.0, 0.6, forces.shape[1])
        pull = forces * (1 + stiffening) / (1 + stiffening * forces)
        quick, creep = np.exp(-1 / (_FPS * rng.uniform(0.03, 0.1))), np.exp(-1 / _FPS)
        quick_part = np.asarray(lfilter([1 - quick], [1, -quick], pull, axis=0))
        pull = 0.85 * quick_part + 0.15 * np.asarray(lfilter([1 - creep], [1, -creep], quick_part, axis=0))
        fields = self.fields * np.exp(_SCALE * hardness * self._smooth(rng, len(self.fields)))[..., None]
        size = np.linalg.norm(fields, axis=-1, keepdims=True)
        fields = fields + _DIRECTION * hardness * size * rng.standard_normal((len(fields), 1, 3))
        moved = np.tensordot(pull, fields, 1) + np.tensordot(beside, self.others, 1)
        limit = 2.0 * np.linalg.norm(self.fields, axis=-1).max(0)[:, None] + 1e-3
        return moved / np.sqrt(1 + np.square(np.linalg.norm(moved, axis=-1, keepdims=True) / limit))

    def _smooth(self, rng: np.random.Generator, count: int) -> Array:
        """(count, L) random fields of long waves."""
        wave = 0.25 * rng.standard_normal((count, 3, 3))
        phase = np.einsum("mwa,la->mwl", wave, self.rest) + rng.uniform(0, 2 * math.pi, (count, 3, 1))
        return np.sin(phase).sum(1) / math.sqrt(1.5)

    def _track(self, rng: np.random.Generator, moved: Array, hardness: float) -> Array:
        """Coefficients (T, K) of noisy landmarks, as the tracker hands them on."""
        frames = len(moved)
        depth = np.array([1.0, 1.0, _DEPTH])
        slow = lfilter([math.sqrt(1 - 0.9**2)], [1, -0.9], rng.standard_normal(moved.shape), axis=0)
        noise = depth * hardness * (_WHITE * rng.standard_normal(moved.shape) + _SLOW * np.asarray(slow))
        pose = np.asarray(lfilter([math.sqrt(1 - 0.97**2)], [1, -0.97], rng.standard_normal((frames, 6)), axis=0))
        centred = self.rest - self.rest.mean(0)
        turned = _TURN * np.cross(pose[:, None, 3:], centred[None])
        seen = self._fit(moved + noise + hardness * (_SHIFT * pose[:, None, :3] + turned))
        seen = seen ** np.exp(_BENDING * hardness * rng.standard_normal(seen.shape[1]))
        decay = np.exp(-1 / (_FPS * rng.uniform(0.005, 0.06)))
        return np.asarray(lfilter([1 - decay], [1, -decay], seen, axis=0, zi=decay * seen[:1])[0])

    def _fit(self, moved: Array) -> Array:
        """Coefficients (T, K) >= 0 of displacements (T, L, 3) by the rig's own shapes; depth counts less."""
        weight = np.array([1.0, 1.0, 1 / _DEPTH])
        basis = torch.from_numpy((self.shapes * weight).reshape(len(self.shapes), -1))
        gram = basis @ basis.T
        gram = gram + 2e-3 * gram.trace() / len(gram) * torch.eye(len(gram), dtype=torch.float64)
        rhs = torch.from_numpy((moved * weight).reshape(len(moved), -1)) @ basis.T
        lower = torch.zeros(len(gram), dtype=torch.float64)
        return solve_bounded(gram, rhs, lower, lower + _LARGEST).numpy()
