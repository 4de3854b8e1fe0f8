"""The files of a report: all of them appear, or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biomechau.analysis import CaptureForces, FaceForces, Prediction, RecordingAnalysis
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

    Cells of frames that were not recorded are empty.

    Args:
        found: the forces.
        summary: of them.
        out: directory to write to, made when missing; see :func:`biomechau.files.staged_directory`.
        draw: writes more pictures into the directory it is called with; called with the ``viz`` extra only.

    Returns:
        The files, in order of their names.

    Raises:
        OSError: ``out`` cannot be written.
    """
    with staged_directory(out) as stage:
        write_forces(found, stage / "forces.csv", ~found.sequence.valid.numpy())
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
        prediction: what the detectors say.
        summary: of it.
        out: directory to write to, made when missing; see :func:`biomechau.files.staged_directory`.

    Returns:
        The files, in order of their names.

    Raises:
        OSError: ``out`` cannot be written.
    """
    with staged_directory(out) as stage:
        _write_action_units(prediction, stage / "action_units.csv")
        if prediction.forces is not None:
            write_forces(prediction.face, stage / "forces.csv", ~prediction.sequence.valid.numpy())
        write_summary(summary, stage / "summary.json")
        Replay.of_prediction(prediction).save(stage / REPLAY)
        if viz_available():
            from biomechau.reports.picture_files import draw_prediction

            draw_prediction(prediction, stage / "prediction.png")
        names = sorted(path.name for path in stage.iterdir())
    return [Path(out) / name for name in names]


def write_analysis(analysis: RecordingAnalysis, summary: dict[str, Any], out: str | Path, overlay: bool) -> list[Path]:
    """Write ``forces.csv``, ``action_units.csv``, ``summary.json``, ``replay.safetensors`` and, with the ``viz`` extra,
    ``forces.png`` and ``report.html``.

    Args:
        analysis: of one recording.
        summary: of it.
        out: directory to write to, made when missing; see :func:`biomechau.files.staged_directory`.
        overlay: whether to write ``overlay.mp4``, too.

    Returns:
        The files, in order of their names.

    Raises:
        OSError: ``out`` cannot be written.
        ImportError: PyAV is not installed and ``overlay`` is set.
    """
    found, prediction = analysis.found, analysis.prediction
    with staged_directory(out) as stage:
        write_forces(found, stage / "forces.csv", ~found.sequence.valid.numpy())
        _write_action_units(prediction, stage / "action_units.csv")
        write_summary(summary, stage / "summary.json")
        Replay.of_analysis(analysis).save(stage / REPLAY)
        if viz_available():
            from biomechau.reports.html_report import recording_page
            from biomechau.reports.picture_files import draw_forces

            draw_forces(found, stage / "forces.png")
            (stage / "report.html").write_text(recording_page(stage), encoding="utf-8", errors="backslashreplace")
        if overlay:
            from biomechau.reports.overlay import write_overlay

            write_overlay(found, stage / "overlay.mp4")
        names = sorted(path.name for path in stage.iterdir())
    return [Path(out) / name for name in names]


def _write_action_units(prediction: Prediction, path: Path) -> None:
    probabilities = prediction.probabilities.double().numpy()
    columns = {column_name(unit): probabilities[:, r] for r, unit in enumerate(prediction.action_units)}
    write_frames(prediction.sequence, columns, path, ~prediction.sequence.valid.numpy())


def write_forces(face: FaceForces, path: Path, masked: npt.NDArray[np.bool_] | None = None) -> None:
    """Write ``forces.csv``: one column a muscle below :func:`write_frames`; vector forces add its ``_x,_y,_z`` before.

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
    """Write ``frame,timestamp,recorded_frame`` and these columns, each (T,); cells of masked frames (T,) stay empty.

    ``recorded_frame`` is the number of the frame in the recording, empty where none is near.
    """
    recorded = ["" if number < 0 else str(number) for number in sequence.recorded_frame.tolist()]
    values = np.column_stack(list(columns.values()))

    def rows() -> Iterator[list[str]]:
        for frame, (time, row) in enumerate(zip(sequence.timestamp.tolist(), values.tolist(), strict=True)):
            hidden = masked is not None and masked[frame]
            yield [str(frame), f"{time:.6f}", recorded[frame], *("" if hidden else f"{value:.6g}" for value in row)]

    write_rows(path, ["frame", "timestamp", "recorded_frame", *columns], rows())


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Write ``summary.json``."""
    path.write_text(to_json(summary) + "\n", encoding="utf-8")


def to_json(summary: dict[str, Any]) -> str:
    """Indented JSON, as safe on a terminal as in a file; NaN and infinity, which JSON lacks, are refused."""
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
