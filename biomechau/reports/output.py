"""The files of a report: all of them appear, or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from biomechau.files import staged_directory
from biomechau.reports.figures import viz_available
from biomechau.reports.forces_report import ForcesReport


def write_report(
    report: ForcesReport, summary: dict[str, Any], out: str | Path, draw: Callable[[Path], None] | None = None
) -> list[Path]:
    """Write ``forces.csv``, ``summary.json`` and, with the ``viz`` extra, ``forces.png``.

    Args:
        report: the forces.
        summary: of the report.
        out: directory to write to, made when missing; see :func:`biomechau.files.staged_directory`.
        draw: writes more pictures into the directory it is called with; called with the ``viz`` extra only.

    Returns:
        The files, in order of their names.

    Raises:
        OSError: ``out`` cannot be written.
    """
    with staged_directory(out) as stage:
        write_forces(report, stage / "forces.csv")
        write_summary(summary, stage / "summary.json")
        if viz_available():
            from biomechau.reports.pictures import draw_forces

            draw_forces(report, stage / "forces.png")
            if draw is not None:
                draw(stage)
        names = sorted(path.name for path in stage.iterdir())
    return [Path(out) / name for name in names]


def write_forces(report: ForcesReport, path: Path) -> None:
    """Write ``forces.csv``: ``frame,timestamp`` and one column a muscle; vector forces add its ``_x,_y,_z`` before."""
    forces = report.result.forces.double().numpy()
    header, blocks = ["frame", "timestamp"], [np.arange(len(forces)), report.sequence.timestamp.numpy()]
    for column, identifier in enumerate(report.identifiers):
        if forces.ndim == 3:
            header += [f"{identifier}_{axis}" for axis in "xyz"]
            blocks += list(forces[:, column].T)
        header.append(identifier)
        blocks.append(report.strength[:, column])
    formats = ["%d", "%.6f"] + ["%.6g"] * (len(header) - 2)
    np.savetxt(path, np.column_stack(blocks), formats, delimiter=",", header=",".join(header), comments="")


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Write ``summary.json``."""
    path.write_text(to_json(summary) + "\n", encoding="utf-8")


def to_json(summary: dict[str, Any]) -> str:
    """Indented JSON; NaN and infinity, which JSON lacks, are refused."""
    return json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
