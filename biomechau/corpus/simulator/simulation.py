"""The simulator: random people on any rig with FACS-named shapes, their motion as a tracker sees it, and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from biomechau.corpus.simulator._coarse_face import CoarseFace
from biomechau.corpus.simulator._fine_face import FineFace
from biomechau.corpus.simulator._labels import VISIBILITY, clean_labels, coded_labels, thresholds
from biomechau.corpus.simulator._performance import (
    APPROACH,
    STEPS_PER_FRAME,
    Actor,
    Array,
    Performance,
    activate,
    critically_damped,
    perform,
    saturate,
)
from biomechau.corpus.simulator._person import Person
from biomechau.corpus.simulator._scene import Scene
from biomechau.corpus.simulator._tissue import FREQUENCIES, Tissue, weighted_rms
from biomechau.corpus.simulator._tracker import Tracker, fit_shapes, tracked_names
from biomechau.corpus.simulator.muscle_table import ACTION_UNITS, COMMANDS, GeneratorMuscle, find_muscles
from biomechau.corpus.simulator.simulation_config import SimulationConfig
from biomechau.rig import FaceRig
from biomechau.threads import one_thread

_ACTIVATION_NOISE = 0.04  # of the activation itself
_GAIN_SPREAD, _ASYMMETRY = 0.25, 0.12  # log-normal; the first for hardness 1
_LABELLED = [COMMANDS.index(unit) for unit in ACTION_UNITS]
# Independent streams of random numbers, so that what one part draws does not change another.
_CHARACTER, _BODY, _PERFORMANCE, _OBSERVATION, _LOOK, _CAMERA = range(6)


@dataclass(frozen=True, eq=False)
class SimulatedSequence:
    """One recording of a simulated person, T frames.

    Attributes:
        id: unique name, subject and task.
        subject: name of the person.
        task: name of the recording.
        coefficients: (T, K) float32, what the tracker saw, in the order of the rig's shapes; 0 for shapes that it does
            not follow.
        labels: (T, R) int8, what the coders saw of ``ACTION_UNITS``, 0 or 1.
        timestamp: (T,) float64 [s].
        valid: (T,) bool, all true.
        muscle_forces: (T, M) float32, the true force of each muscle, >= 0 [1 moves the face as far as its shape].
        muscle_names: M identifiers.
        activations: (T, M) float32, saturated activation of each muscle, before its gain.
        intensities: (T, R) float32, visible intensity of each action unit.
        thresholds: (R,) float32, intensity above which an action unit is on.
        clean_labels: (T, R) int8, labels of a coder without error.
        vertices_residual: (T, N, 3) float16, what the captured mesh has beside sum_k c_k B_k [cm]; None without meshes.
        vertices: (T, N, 3) float32, the true face, which a camera sees [cm]: the person's own shapes, by the
            coefficients that fit the motion best, without the tracker's errors; None without images.
    """

    id: str
    subject: str
    task: str
    coefficients: Tensor
    labels: Tensor
    timestamp: Tensor
    valid: Tensor
    muscle_forces: Tensor
    muscle_names: tuple[str, ...]
    activations: Tensor
    intensities: Tensor
    thresholds: Tensor
    clean_labels: Tensor
    vertices_residual: Tensor | None = None
    vertices: Tensor | None = None


def simulate(
    rig: FaceRig, config: SimulationConfig | None = None, progress: Callable[[int, int], None] | None = None
) -> Iterator[SimulatedSequence]:
    """Sequences of simulated people, subject by subject; the same for the same seed, whatever the number of threads.

    Coefficients are what a tracker with noise saw of a mass-spring face that muscles move; labels are those of coders
    with errors. Nothing of it is shared with the models of :mod:`biomechau.physics`.

    Args:
        rig: the face; identity modes are used where it has them.
        config: size, difficulty and seed; the defaults if not given.
        progress: called with (sequences done, sequences in all).

    Returns:
        An iterator over ``config.subjects * config.sequences`` sequences.

    Raises:
        ValueError: the rig lacks shapes of the action units to simulate; while iterating, the coarse mesh is too coarse
            for a shape, or the rig's mesh has no area.
    """
    config = SimulationConfig() if config is None else config
    tracked = tracked_names(rig)
    muscles = find_muscles(rig.names, tracked)
    return _simulate(rig, config, muscles, rig.shape_indices(tracked), progress or (lambda done, total: None))


def _simulate(
    rig: FaceRig,
    config: SimulationConfig,
    muscles: tuple[GeneratorMuscle, ...],
    followed: list[int],
    progress: Callable[[int, int], None],
) -> Iterator[SimulatedSequence]:
    total = config.subjects * config.sequences
    progress(0, total)
    characters = [_Character.draw(config, subject) for subject in range(config.subjects)]
    # Thresholds are those of the whole corpus, so what there is to see is played once ahead of the rest.
    plays = [(character, sequence) for character in characters for sequence in range(config.sequences)]
    limits = thresholds(np.concatenate([_play(config, *play)[1] for play in plays]), config.label_rate)
    with one_thread():
        face = CoarseFace.from_rig(rig, config.coarse_vertices)
        fine = FineFace.from_rig(rig, face) if config.meshes or config.images else None
    _check_moving(face, rig.names, followed)
    for character in characters:
        with one_thread():
            person, recordings = _record(face, muscles, followed, limits, character, config)
        for recording, truth in recordings:  # meshes are large: one sequence at a time
            yield recording if fine is None else _with_meshes(recording, truth, fine, person, config)
        progress((character.subject + 1) * config.sequences, total)


@dataclass(frozen=True, eq=False)
class _Character:
    """What makes one person's behaviour: the actor and the natural frequency of the face [1/s]."""

    subject: int
    actor: Actor
    omega: float

    @classmethod
    def draw(cls, config: SimulationConfig, subject: int) -> _Character:
        rng = _stream(config, _CHARACTER, subject)
        return cls(subject, Actor.draw(rng), 2 * np.pi * rng.uniform(*FREQUENCIES))


def _play(config: SimulationConfig, character: _Character, sequence: int) -> tuple[Performance, Array]:
    """One sequence with its approach, and the intensity (T, R) visible in the frames that are kept."""
    rng = _stream(config, _PERFORMANCE, character.subject, sequence)
    performance = perform(character.actor, _approach(config) + config.frames, config.fps, rng)
    step = 1 / (STEPS_PER_FRAME * config.fps)
    visible = critically_damped(performance.expression[:, _LABELLED], VISIBILITY * character.omega, step)
    return performance, _kept_frames(visible, config)


def _record(
    face: CoarseFace,
    muscles: tuple[GeneratorMuscle, ...],
    followed: list[int],
    limits: Array,
    character: _Character,
    config: SimulationConfig,
) -> tuple[Person, list[tuple[SimulatedSequence, Array | None]]]:
    """One person and all their sequences, each with the true coefficients (T, K) where images are wanted.

    The sequences move together, so that every step is one sparse product.
    """
    rng = _stream(config, _BODY, character.subject)
    gains = _gains(muscles, config.hardness, rng)
    tissue = Tissue.draw(face, muscles, character.omega, config.hardness, rng)
    tracker = Tracker.draw(tissue, followed, config.hardness, rng)
    plays = [_play(config, character, sequence) for sequence in range(config.sequences)]
    streams = [_stream(config, _OBSERVATION, character.subject, sequence) for sequence in range(config.sequences)]
    commands = [muscle.command for muscle in muscles]
    excitations = [performance.excitation[:, commands] for performance, _ in plays]
    pulls = np.stack([_pull(*pair, config) for pair in zip(excitations, streams, strict=True)])
    motion = tissue.move(pulls * gains, config.fps)[:, _approach(config) :]

    recordings = []
    for sequence, ((_, intensity), stream) in enumerate(zip(plays, streams, strict=True)):
        coefficients = np.zeros((config.frames, len(face.shapes)))
        coefficients[:, followed] = tracker.track(face, motion[sequence], stream)
        labels = coded_labels(intensity, limits, config.fps, stream)
        activation = _kept_frames(pulls[sequence], config)
        subject, task = f"S{character.subject + 1:03d}", f"T{sequence + 1}"
        recording = SimulatedSequence(
            id=f"{subject}_{task}",
            subject=subject,
            task=task,
            coefficients=torch.from_numpy(coefficients).float(),
            labels=torch.from_numpy(labels),
            timestamp=torch.arange(config.frames, dtype=torch.float64) / config.fps,
            valid=torch.ones(config.frames, dtype=torch.bool),
            muscle_forces=torch.from_numpy(activation * gains).float(),
            muscle_names=tuple(muscle.name for muscle in muscles),
            activations=torch.from_numpy(activation).float(),
            intensities=torch.from_numpy(intensity).float(),
            thresholds=torch.from_numpy(limits).float(),
            clean_labels=torch.from_numpy(clean_labels(intensity, limits)),
        )
        truth = None
        if config.images:
            truth = np.zeros_like(coefficients)
            truth[:, followed] = fit_shapes(tissue.shapes[followed], tissue.masses, motion[sequence])
        recordings.append((recording, truth))
    return tissue.person, recordings


def _with_meshes(
    recording: SimulatedSequence, truth: Array | None, fine: FineFace, person: Person, config: SimulationConfig
) -> SimulatedSequence:
    """The recording with the meshes that are wanted: those of the capture, and the true ones of a camera."""
    with one_thread():
        if config.meshes:
            residual = fine.residual(person, recording.coefficients.double().numpy())
            recording = replace(recording, vertices_residual=residual)
        if truth is not None:
            recording = replace(recording, vertices=torch.from_numpy(fine.meshes(person, truth)).float())
    return recording


def _pull(excitation: Array, rng: np.random.Generator, config: SimulationConfig) -> Array:
    """(F, M) saturated activation of each muscle with noise that grows with it, constant over a frame."""
    activation = activate(excitation, 1 / (STEPS_PER_FRAME * config.fps))
    noise = rng.standard_normal((len(activation) // STEPS_PER_FRAME, activation.shape[1]))
    return saturate(activation * np.maximum(1 + _ACTIVATION_NOISE * noise, 0).repeat(STEPS_PER_FRAME, axis=0))


def _gains(muscles: tuple[GeneratorMuscle, ...], hardness: float, rng: np.random.Generator) -> Array:
    """(M,) strength of a person's muscles; the two sides differ less than people do."""
    stems = [muscle.name.removesuffix("_left").removesuffix("_right") for muscle in muscles]
    pairs = {stem: position for position, stem in enumerate(dict.fromkeys(stems))}
    common = _GAIN_SPREAD * hardness * rng.standard_normal(len(pairs))
    uneven = _ASYMMETRY * rng.standard_normal(len(pairs))
    side = [muscle.name.endswith("_left") - muscle.name.endswith("_right") for muscle in muscles]
    pair = [pairs[stem] for stem in stems]
    return np.exp(common[pair] + np.array(side) * uneven[pair])


def scene_of(config: SimulationConfig, subject: int, sequence: int) -> Scene:
    """How a recording is seen, by the indices of its subject and of it among the subject's."""
    return Scene.draw(_stream(config, _LOOK, subject), _stream(config, _CAMERA, subject, sequence))


def _check_moving(face: CoarseFace, names: Sequence[str], shapes: Sequence[int]) -> None:
    size = weighted_rms(face.areas, face.shapes)
    still = [names[shape] for shape in shapes if not size[shape] > 0]
    if still:
        raise ValueError(f"no vertex of the coarse mesh moves with {', '.join(still)}; raise coarse_vertices")


def _kept_frames(steps: Array, config: SimulationConfig) -> Array:
    """The last step (T, ...) of each frame (F, ...) after the approach."""
    return steps[STEPS_PER_FRAME - 1 :: STEPS_PER_FRAME][_approach(config) :]


def _approach(config: SimulationConfig) -> int:
    return round(APPROACH * config.fps)


def _stream(config: SimulationConfig, part: int, *index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(part, *index)))
