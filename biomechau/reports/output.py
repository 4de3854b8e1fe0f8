"""The files of a report, written all together or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biomechau.analysis import CaptureForces, FaceForces, Prediction, RecordingAnalysis
from biomechau.corpus import FaceSequence
from biomechau.corpus.video import VideoFrame
from biomechau.csv_output import write_rows
from biomechau.files import staged_directory
from biomechau.reports.figures import viz_available
from biomechau.reports.replay import FILE as REPLAY, Replay


def write_report(
    found: CaptureForces, summary: dict[str, Any], out: str | Path, draw: Callable[[Path], None] | None = None
) -> list[Path]:
    """Write ``forces.csv``, ``summary.json``, ``replay.safetensors`` and, with the ``viz`` extra, ``forces.png``.

    Cells of frames that were not measured are empty.

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
        write_forces(found, found.quality, stage / "forces.csv", found.deviation)
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

    Cells of frames that were not measured are empty. The forces are those that the prediction shows, if there are any.
    Detectors that were trained on intensities add ``action_unit_intensities.csv``, 0 (absent), 1 (barely visible) to 5
    (maximum) as OpenFace's.

    Args:
        prediction: of the recording.
        summary: contents of ``summary.json``.
        out: directory to write to, created if missing; see :func:`biomechau.files.staged_directory`.

    Returns:
        The files, in order of their names.

    Raises:
        OSError: ``out`` cannot be written.
    """
    with staged_directory(out) as stage:
        _write_action_units(prediction, stage)
        if prediction.has_forces:
            write_forces(prediction.face, prediction.quality, stage / "forces.csv")
        write_summary(summary, stage / "summary.json")
        Replay.of_prediction(prediction).save(stage / REPLAY)
        if viz_available():
            from biomechau.reports.picture_files import draw_prediction

            draw_prediction(prediction, stage / "prediction.png")
        names = sorted(path.name for path in stage.iterdir())
    return [Path(out) / name for name in names]


def write_analysis(
    analysis: RecordingAnalysis,
    summary: dict[str, Any],
    out: str | Path,
    overlay: bool,
    filmed: Iterable[VideoFrame] | None = None,
) -> list[Path]:
    """Write ``forces.csv``, ``action_units.csv``, ``summary.json``, ``replay.safetensors`` and, with the ``viz`` extra,
    ``forces.png`` and ``report.html``; ``action_unit_intensities.csv`` as :func:`write_prediction`.

    Args:
        analysis: of one recording.
        summary: contents of ``summary.json``.
        out: directory to write to, created if missing; see :func:`biomechau.files.staged_directory`.
        overlay: also write ``overlay.mp4``.
        filmed: the frames of the video that was tracked, to show beside the face in it.

    Returns:
        The files, in order of their names.

    Raises:
        OSError: ``out`` cannot be written.
        ImportError: PyAV is not installed and ``overlay`` is set.
    """
    found, prediction = analysis.found, analysis.prediction
    with staged_directory(out) as stage:
        write_forces(found, found.quality, stage / "forces.csv", found.deviation)
        _write_action_units(prediction, stage)
        write_summary(summary, stage / "summary.json")
        Replay.of_analysis(analysis).save(stage / REPLAY)
        if viz_available():
            from biomechau.reports.html_report import recording_page
            from biomechau.reports.picture_files import draw_forces

            draw_forces(found, stage / "forces.png")
            (stage / "report.html").write_text(recording_page(stage), encoding="utf-8", errors="backslashreplace")
        if overlay:
            from biomechau.reports._overlay import write_overlay

            write_overlay(found, stage / "overlay.mp4", filmed)
        names = sorted(path.name for path in stage.iterdir())
    return [Path(out) / name for name in names]


def _write_action_units(prediction: Prediction, folder: Path) -> None:
    write_frames(prediction.sequence, prediction.probability_of(), folder / "action_units.csv")
    if intensities := prediction.intensity_of():
        write_frames(prediction.sequence, intensities, folder / "action_unit_intensities.csv")


def write_forces(
    face: FaceForces,
    quality: npt.NDArray[np.float64],
    path: Path,
    deviation: npt.NDArray[np.float64] | None = None,
) -> None:
    """Write ``forces.csv``: one column per muscle, see :func:`write_frames`; vector forces add ``_x,_y,_z`` before it.

    Args:
        face: the face and its forces.
        quality: (T,) how far each frame can be trusted.
        path: of the file.
        deviation: (T, M) standard deviation of each force, written as ``NAME_sd`` after it.
    """
    forces = face.forces.double().numpy()
    columns: dict[str, npt.NDArray[np.floating]] = {}
    for index, identifier in enumerate(face.identifiers):
        if forces.ndim == 3:
            columns |= {f"{identifier}_{axis}": forces[:, index, a] for a, axis in enumerate("xyz")}
        columns[identifier] = face.strength[:, index]
        if deviation is not None:
            columns[f"{identifier}_sd"] = deviation[:, index]
    write_frames(face.sequence, columns, path, quality)


def write_frames(
    sequence: FaceSequence,
    columns: Mapping[str, npt.NDArray[np.floating]],
    path: Path,
    quality: npt.NDArray[np.float64] | None = None,
) -> None:
    """Write ``frame,timestamp,recorded_frame``, ``quality`` if given, and some columns, each (T,).

    ``recorded_frame`` is the number of the frame in the recording, empty if none is near. Frames without a measurement
    have empty cells in the columns, and quality 0.
    """
    recorded = ["" if number < 0 else str(number) for number in sequence.recorded_frame.tolist()]
    trust = [] if quality is None else [f"{value:.3f}" for value in quality.tolist()]
    valid, values = sequence.valid.tolist(), np.column_stack(list(columns.values())) + 0.0  # no -0

    def rows() -> Iterator[list[str]]:
        for frame, (time, row) in enumerate(zip(sequence.timestamp.tolist(), values.tolist(), strict=True)):
            cells = (f"{value:.6g}" if valid[frame] else "" for value in row)
            yield [str(frame), f"{time:.6f}", recorded[frame], *trust[frame : frame + 1], *cells]

    write_rows(path, ["frame", "timestamp", "recorded_frame", *(["quality"] if trust else []), *columns], rows())


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Write ``summary.json``."""
    path.write_text(to_json(summary) + "\n", encoding="utf-8")


def to_json(summary: dict[str, Any]) -> str:
    """Indented JSON without control characters; raises ``ValueError`` for NaN and infinity, which JSON lacks."""
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
