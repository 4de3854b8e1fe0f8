"""Writes simulated sequences as a corpus folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from biomechau.corpus.corpus_files import IMAGES
from biomechau.corpus.corpus_sequence import CorpusSequence
from biomechau.corpus.corpus_writer import CorpusWriter
from biomechau.corpus.simulator._portraits import PortraitCamera, write_portraits
from biomechau.corpus.simulator._tracker import tracked_names
from biomechau.corpus.simulator.muscle_table import find_muscles
from biomechau.corpus.simulator.simulation import people, scene_of, simulate
from biomechau.corpus.simulator.simulation_config import SimulationConfig
from biomechau.rig import FaceRig


def write_simulated_corpus(
    rig: FaceRig,
    path: str | Path,
    config: SimulationConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
) -> None:
    """Simulate a corpus and write it. Its rig has only those shapes of ``rig`` that the simulated tracker follows.

    With ``config.images`` the corpus has a folder ``images`` with a subfolder of pictures for each sequence. The same
    seed gives the same pictures on one machine; graphics drivers may round colours differently.

    Args:
        rig: the face.
        path: folder to create.
        config: size, difficulty and seed; the defaults if not given.
        progress: called with (sequences done, total sequences).
        overwrite: replace a corpus at ``path``.

    Raises:
        ValueError: the rig lacks shapes of the action units to simulate, or the coarse mesh is too coarse for one.
        ImportError: ``config.images`` without the ``viz`` extra.
        FileExistsError: ``path`` exists, or, with ``overwrite``, is not a corpus.
        OSError: the corpus cannot be written.
    """
    config = SimulationConfig() if config is None else config
    tracked = rig.select(tracked_names(rig))
    writer = CorpusWriter(
        path,
        tracked,
        config.labelled,
        config.fps,
        muscles=[
            muscle.name
            for muscle in find_muscles(tracked.names, tracked.names, config.labelled, others=config.displays != "table")
        ],
        provenance={
            "source": "biomechau simulator",
            "version": version("biomechau"),
            "simulation": asdict(config),
            "people": people(config, tracked.names),
            "rig": dict(rig.provenance),
        },
        overwrite=overwrite,
    )
    camera = PortraitCamera(tracked, config.image_size) if config.images else nullcontext()
    with writer, camera:
        for index, s in enumerate(simulate(tracked, config, progress)):
            if isinstance(camera, PortraitCamera) and s.vertices is not None:
                scene = scene_of(config, *divmod(index, config.sequences))
                write_portraits(camera, scene, s.vertices.double().numpy(), writer.folder / IMAGES / s.id)
            writer.add(
                CorpusSequence(
                    s.id,
                    s.subject,
                    s.task,
                    s.coefficients,
                    s.labels,
                    s.timestamp,
                    s.valid,
                    muscle_forces=s.muscle_forces,
                    vertices_residual=s.vertices_residual,
                    side_intensities=s.side_intensities,
                    side_labels=s.side_labels,
                )
            )
