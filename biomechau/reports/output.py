"""The files of a report, written all together or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biomechau.analysis import CaptureForces, FaceForces, Prediction
from biomechau.corpus import FaceSequence
from biomechau.csv_output import write_rows
from biomechau.files import staged_directory
from biomechau.reports.figures import viz_available
from biomechau.reports.replay import FILE as REPLAY, Replay
from biomechau.rig.action_unit_names import column_name


def write_report(
    found: CaptureForces, summary: dict[str, Any], out: str | Path, draw: Callable[[Path], None] | None = None
) -> list[Path]:
    """Write ``forces.csv``, ``summary.json``, ``replay.safetensors`` and, with the ``viz`` extra, ``forces.png``.

    Args:
        found: the forces.
        summary: contents of ``summary.json``.
        out: directory to write to, created if missing; see :func:`biomechau.files.staged_directory`.
        draw: called with a directory to write more pictures into, if the ``viz`` extra is installed.

    Returns:
        The files, in order of their names.

    Raises:
        OSError: ``out`` cannot be written.
    """
    with staged_directory(out) as stage:
        write_forces(found, stage / "forces.csv")
        write_summary(summary, stage / "summary.json")
        Replay.of_forces(found).save(stage / REPLAY)
        if viz_available():
            from biomechau.reports.picture_files import draw_forces

            draw_forces(found, stage / "forces.png")
            if draw is not None:
                draw(stage)
        names = sorted(path.name for path in stage.iterdir())
    return [Path(out) / name for name in names]


def write_prediction(prediction: Prediction, summary: dict[str, Any], out: str | Path) -> list[Path]:
    """Write ``action_units.csv``, ``forces.csv``, ``summary.json``, ``replay.safetensors`` and, with the ``viz`` extra,
    ``prediction.png``.

    Cells of frames that were not recorded are empty. Without physics there are no forces.

    Args:
        prediction: of the recording.
        summary: contents of ``summary.json``.
        out: directory to write to, created if missing; see :func:`biomechau.files.staged_directory`.

    Returns:
        The files, in order of their names.

    Raises:
        OSError: ``out`` cannot be written.
    """
    masked, probabilities = ~prediction.sequence.valid.numpy(), prediction.probabilities.double().numpy()
    columns = {column_name(unit): probabilities[:, r] for r, unit in enumerate(prediction.action_units)}
    with staged_directory(out) as stage:
        write_frames(prediction.sequence, columns, stage / "action_units.csv", masked)
        if prediction.forces is not None:
            write_forces(prediction.face, stage / "forces.csv", masked)
        write_summary(summary, stage / "summary.json")
        Replay.of_prediction(prediction).save(stage / REPLAY)
        if viz_available():
            from biomechau.reports.picture_files import draw_prediction

            draw_prediction(prediction, stage / "prediction.png")
        names = sorted(path.name for path in stage.iterdir())
    return [Path(out) / name for name in names]


def write_forces(face: FaceForces, path: Path, masked: npt.NDArray[np.bool_] | None = None) -> None:
    """Write ``forces.csv``: ``frame,timestamp`` and one column per muscle; vector forces add ``_x,_y,_z`` before it.

    Args:
        face: the face and its forces.
        path: of the file.
        masked: (T,) frames whose cells stay empty, if any.
    """
    forces = face.forces.double().numpy()
    columns: dict[str, npt.NDArray[np.floating]] = {}
    for index, identifier in enumerate(face.identifiers):
        if forces.ndim == 3:
            columns |= {f"{identifier}_{axis}": forces[:, index, a] for a, axis in enumerate("xyz")}
        columns[identifier] = face.strength[:, index]
    write_frames(face.sequence, columns, path, masked)


def write_frames(
    sequence: FaceSequence,
    columns: Mapping[str, npt.NDArray[np.floating]],
    path: Path,
    masked: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Write ``frame,timestamp`` and some columns, each (T,); cells of masked frames (T,) stay empty."""
    values = np.column_stack(list(columns.values()))

    def rows() -> Iterator[list[str]]:
        for frame, (time, row) in enumerate(zip(sequence.timestamp.tolist(), values.tolist(), strict=True)):
            hidden = masked is not None and masked[frame]
            yield [str(frame), f"{time:.6f}", *("" if hidden else f"{value:.6g}" for value in row)]

    write_rows(path, ["frame", "timestamp", *columns], rows())


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Write ``summary.json``."""
    path.write_text(to_json(summary) + "\n", encoding="utf-8")


def to_json(summary: dict[str, Any]) -> str:
    """Indented JSON without control characters; raises ``ValueError`` for NaN and infinity, which JSON lacks."""
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
