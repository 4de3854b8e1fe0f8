"""The simulator: random people on any rig with ARKit's shapes, their motion as seen by a tracker, and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from biomechau.corpus.simulator._coarse_face import CoarseFace
from biomechau.corpus.simulator._displays import Actor, Array, weak_side
from biomechau.corpus.simulator._fine_face import FineFace
from biomechau.corpus.simulator._labels import VISIBILITY, clean_labels, coded_labels, thresholds
from biomechau.corpus.simulator._performance import (
    APPROACH,
    STEPS_PER_FRAME,
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
from biomechau.corpus.simulator._tracker_make import AS_SEEN, TrackerMake
from biomechau.corpus.simulator.muscle_table import ACTION_UNITS, COMMANDS, PAIRED, GeneratorMuscle, find_muscles
from biomechau.corpus.simulator.simulation_config import SimulationConfig
from biomechau.rig import FaceRig
from biomechau.threads import one_thread

_ACTIVATION_NOISE = 0.04  # of the activation itself
_GAIN_SPREAD, _ASYMMETRY = 0.25, 0.12  # log-normal; the first for hardness 1
# Independent streams of random numbers, so that a change of one part does not affect the others.
_CHARACTER, _BODY, _PERFORMANCE, _OBSERVATION, _LOOK, _CAMERA, _WEAKNESS, _SIDES, _MAKE = range(9)
_FULL_INTENSITY = 5.0  # coders use the scale 0 to 5


@dataclass(frozen=True, eq=False)
class SimulatedSequence:
    """One recording of a simulated person, T frames.

    Attributes:
        id: unique name, subject and task.
        subject: name of the person.
        task: name of the recording.
        coefficients: (T, K) float32, output of the tracker, in the order of the rig's shapes; 0 for shapes that it does
            not follow.
        labels: (T, R) int8, labels of the coders for ``config.labelled``, 0 or 1.
        timestamp: (T,) float64 [s].
        valid: (T,) bool, False where the tracker lost the face.
        muscle_forces: (T, M) float32, true force of each muscle, >= 0 [1 moves the face as far as its shape].
        muscle_names: M identifiers.
        activations: (T, M) float32, saturated activation of each muscle, before its gain.
        intensities: (T, R) float32, visible intensity of each action unit on its stronger side, 1 for full.
        side_intensities: (T, R, 2) float32, intensity on the left and the right side on the coders' scale of 0 to 5,
            where 5 is full or more. Units of the middle of the face have equal values.
        side_labels: (T, R, 2) int8, what a coder who makes no errors says of the left and the right side.
        thresholds: (R,) float32, intensity above which an action unit is on.
        clean_labels: (T, R) int8, labels of a coder who makes no errors.
        vertices_residual: (T, N, 3) float16, the captured mesh minus sum_k c_k B_k [cm]; None without meshes.
        vertices: (T, N, 3) float32, the true face as seen by a camera [cm]: the person's own shapes with the
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
    side_intensities: Tensor
    side_labels: Tensor
    thresholds: Tensor
    clean_labels: Tensor
    vertices_residual: Tensor | None = None
    vertices: Tensor | None = None


def simulate(
    rig: FaceRig, config: SimulationConfig | None = None, progress: Callable[[int, int], None] | None = None
) -> Iterator[SimulatedSequence]:
    """Simulate sequences, subject by subject; the same seed gives the same sequences for any number of threads.

    Muscles move a mass-spring face, which a noisy tracker observes; the labels are those of coders who make errors. No
    part is shared with the models of :mod:`biomechau.physics`.

    Args:
        rig: the face; its identity modes are used if it has any.
        config: size, difficulty and seed; the defaults if not given.
        progress: called with (sequences done, total sequences).

    Returns:
        An iterator over ``config.subjects * config.sequences`` sequences.

    Raises:
        ValueError: the rig lacks shapes of the action units to simulate. While iterating: the coarse mesh is too coarse
            for a shape, or the rig's mesh has no area.
    """
    config = SimulationConfig() if config is None else config
    tracked = tracked_names(rig)
    muscles = find_muscles(rig.names, tracked, config.labelled, others=config.displays != "table")
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
    limits = np.full(len(config.labelled), config.label_level)
    if config.label_level is None:
        # Thresholds depend on the whole corpus, so all performances are played once in advance.
        plays = [(character, sequence) for character in characters for sequence in range(config.sequences)]
        seen = np.concatenate([_play(config, *play)[1].max(-1) for play in plays])
        limits = thresholds(seen, config.label_rate)
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
    """One person's behaviour: the actor, the natural angular frequency of the face [1/s] and the strength of its two
    sides (2,)."""

    subject: int
    actor: Actor
    omega: float
    strength: Array

    @classmethod
    def draw(cls, config: SimulationConfig, subject: int) -> _Character:
        rng = _stream(config, _CHARACTER, subject)
        strength = weak_side(_stream(config, _WEAKNESS, subject)) if config.sides == "free" else np.ones(2)
        return cls(subject, Actor.draw(rng), 2 * np.pi * rng.uniform(*FREQUENCIES), strength)


def people(config: SimulationConfig, shapes: Sequence[str]) -> list[dict[str, Any]]:
    """The true properties of each person of a corpus, as JSON values.

    ``left_strength`` and ``right_strength`` are the strengths of the muscles of each half of the face, 1 unless it is
    weak; ``tracker`` has the fields of :class:`TrackerMake`.

    Args:
        config: of the corpus.
        shapes: names of the shapes that the tracker follows.
    """
    found = []
    for subject in range(config.subjects):
        left, right = _Character.draw(config, subject).strength.tolist()
        tracker = _make(config, subject, len(shapes)).to_json(tuple(shapes))
        found.append({"subject": _name(subject), "left_strength": left, "right_strength": right, "tracker": tracker})
    return found


def _name(subject: int) -> str:
    return f"S{subject + 1:03d}"


def _make(config: SimulationConfig, subject: int, num_channels: int) -> TrackerMake:
    if config.trackers not in ("varied", "posed"):
        return AS_SEEN
    return TrackerMake.draw(num_channels, _stream(config, _MAKE, subject))


def _play(config: SimulationConfig, character: _Character, sequence: int) -> tuple[Performance, Array]:
    """One sequence with its approach, and the visible intensity (T, R, 2) of each side in the frames that are kept."""
    index = character.subject, sequence
    rng, sides = _stream(config, _PERFORMANCE, *index), _stream(config, _SIDES, *index)
    performance = perform(
        character.actor,
        _approach(config) + config.frames,
        config.fps,
        rng,
        displays=config.displays,
        sides=sides if config.sides == "free" else None,
    )
    step = 1 / (STEPS_PER_FRAME * config.fps)
    columns = [COMMANDS.index(unit) for unit in config.labelled]
    of_bp4d, paired = (np.array([[unit in units] for unit in config.labelled]) for units in (ACTION_UNITS, PAIRED))
    # Coders of BP4D's units leave out what belongs to speech; a blink is a blink.
    meant = np.where(of_bp4d, performance.expression[:, columns], performance.excitation[:, columns])
    shown = meant * np.where(paired, character.strength, 1.0)
    visible = critically_damped(shown, VISIBILITY * character.omega, step)
    return performance, _kept_frames(visible, config)


def _record(
    face: CoarseFace,
    muscles: tuple[GeneratorMuscle, ...],
    followed: list[int],
    limits: Array,
    character: _Character,
    config: SimulationConfig,
) -> tuple[Person, list[tuple[SimulatedSequence, Array | None]]]:
    """One person and all their sequences, each with the true coefficients (T, K) if images are wanted.

    All sequences are integrated together, so that every step is one sparse product.
    """
    rng = _stream(config, _BODY, character.subject)
    gains = _gains(muscles, config.hardness, rng) * _strengths(muscles, character.strength)
    tissue = Tissue.draw(face, muscles, character.omega, config.hardness, rng)
    make = _make(config, character.subject, len(followed))
    tracker = Tracker.draw(tissue, followed, config.hardness, rng, make, posed=config.trackers == "posed")
    plays = [_play(config, character, sequence) for sequence in range(config.sequences)]
    streams = [_stream(config, _OBSERVATION, character.subject, sequence) for sequence in range(config.sequences)]
    excitations = [_excitation(performance, muscles) for performance, _ in plays]
    pulls = np.stack([_pull(*pair, config) for pair in zip(excitations, streams, strict=True)])
    motion = tissue.move(pulls * gains, config.fps)[:, _approach(config) :]

    recordings = []
    for sequence, ((_, sides), stream) in enumerate(zip(plays, streams, strict=True)):
        intensity = sides.max(-1)
        coefficients = np.zeros((config.frames, len(face.shapes)))
        if config.trackers == "clean":
            coefficients[:, followed] = fit_shapes(tracker.basis, tracker.masses, motion[sequence])
            valid = np.ones(config.frames, bool)
        else:
            coefficients[:, followed], valid = tracker.track(face, motion[sequence], config.fps, stream)
        labels = coded_labels(intensity, limits, config.fps, stream)
        activation = _kept_frames(pulls[sequence], config)
        subject, task = _name(character.subject), f"T{sequence + 1}"
        recording = SimulatedSequence(
            id=f"{subject}_{task}",
            subject=subject,
            task=task,
            coefficients=torch.from_numpy(coefficients).float(),
            labels=torch.from_numpy(labels),
            timestamp=torch.arange(config.frames, dtype=torch.float64) / config.fps,
            valid=torch.from_numpy(valid),
            muscle_forces=torch.from_numpy(activation * gains).float(),
            muscle_names=tuple(muscle.name for muscle in muscles),
            activations=torch.from_numpy(activation).float(),
            intensities=torch.from_numpy(intensity).float(),
            side_intensities=torch.from_numpy(_FULL_INTENSITY * np.minimum(sides, 1)).float(),
            side_labels=torch.from_numpy(clean_labels(sides, limits[:, None])),
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
    """Add the requested meshes to a recording: those of the capture, and the true ones for the camera."""
    with one_thread():
        if config.meshes:
            residual = fine.residual(person, recording.coefficients.double().numpy())
            recording = replace(recording, vertices_residual=residual)
        if truth is not None:
            recording = replace(recording, vertices=torch.from_numpy(fine.meshes(person, truth)).float())
    return recording


def _pull(excitation: Array, rng: np.random.Generator, config: SimulationConfig) -> Array:
    """(F, M) saturated activation of each muscle with proportional noise that is constant over a frame."""
    activation = activate(excitation, 1 / (STEPS_PER_FRAME * config.fps))
    noise = rng.standard_normal((len(activation) // STEPS_PER_FRAME, activation.shape[1]))
    return saturate(activation * np.maximum(1 + _ACTIVATION_NOISE * noise, 0).repeat(STEPS_PER_FRAME, axis=0))


def _excitation(performance: Performance, muscles: tuple[GeneratorMuscle, ...]) -> Array:
    """(F, M) excitation of each muscle: that of its side, or the greater of both for muscles of both sides."""
    both = performance.excitation
    sides = {"left": both[..., 0], "right": both[..., 1], "": both.max(-1)}
    return np.stack([sides[muscle.side][:, muscle.command] for muscle in muscles], 1)


def _gains(muscles: tuple[GeneratorMuscle, ...], hardness: float, rng: np.random.Generator) -> Array:
    """(M,) strength of a person's muscles; the two sides differ less than people."""
    pairs = {stem: position for position, stem in enumerate(dict.fromkeys(muscle.stem for muscle in muscles))}
    common = _GAIN_SPREAD * hardness * rng.standard_normal(len(pairs))
    uneven = _ASYMMETRY * rng.standard_normal(len(pairs))
    side = [(muscle.side == "left") - (muscle.side == "right") for muscle in muscles]
    pair = [pairs[muscle.stem] for muscle in muscles]
    return np.exp(common[pair] + np.array(side) * uneven[pair])


def _strengths(muscles: tuple[GeneratorMuscle, ...], sides: Array) -> Array:
    """(M,) strength of the half of the face (2,) of each muscle, 1 for muscles of both sides."""
    of_side = {"left": sides[0], "right": sides[1], "": 1.0}
    return np.array([of_side[muscle.side] for muscle in muscles])


def scene_of(config: SimulationConfig, subject: int, sequence: int) -> Scene:
    """The scene of a recording, by the index of its subject and its index among the subject's recordings."""
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
