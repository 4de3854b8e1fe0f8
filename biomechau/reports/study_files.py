"""The files of a study: ``study.csv``, one row per recording, and ``index.html``, the page that lists them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from biomechau.analysis.study import Row, asymmetry_in_words, study_row
from biomechau.csv_output import write_rows
from biomechau.files import replacing
from biomechau.reports._html_page import Cell, Link, page, table
from biomechau.rig.muscles import split_identifier

STUDY, INDEX, PAGE = "study.csv", "index.html", "report.html"


def write_study(
    out: Path, summaries: Mapping[str, Mapping[str, Any]], folders: Mapping[str, str], failed: Mapping[str, str]
) -> list[Path]:
    """Write ``study.csv`` and ``index.html``.

    Args:
        out: folder of the study.
        summaries: contents of ``summary.json``, by the name of the recording.
        folders: where each recording was found, by its name.
        failed: why a recording could not be analysed, by its name.

    Returns:
        The files.

    Raises:
        OSError: a file cannot be written.
    """
    rows: dict[str, Row] = {name: study_row(summary) for name, summary in summaries.items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    with replacing(out / STUDY) as partial:
        header = ["recording", "folder", *columns]
        write_rows(
            partial, header, ([name, folders[name], *map(_cell, map(row.get, columns))] for name, row in rows.items())
        )
    with replacing(out / INDEX) as partial:
        partial.write_text(_index(out, summaries, folders, failed), encoding="utf-8")
    return [out / STUDY, out / INDEX]


def _index(
    out: Path, summaries: Mapping[str, Mapping[str, Any]], folders: Mapping[str, str], failed: Mapping[str, str]
) -> str:
    rows = []
    for name, summary in summaries.items():
        frames = summary["frames"]
        recorded = frames["recorded"]
        lost = recorded["without_face"]
        link = Link(name, f"{quote(name)}/{PAGE}") if (out / name / PAGE).is_file() else name
        rows.append(
            [
                link,
                folders[name],
                f"{frames['end'] - frames['start']:.1f}",
                f"{lost} of {recorded['count']}" if lost else "",
                Cell(f"{summary['quality']:.2f}", summary["quality"]),
                *_strongest(summary),
                _units(summary),
            ]
        )
    headings = ("recording", "folder", "seconds", "no face", "quality", "strongest muscle", "stronger side", "often on")
    notes = [
        "left and right are the subject's own",
        "stronger side: (L - R) / (L + R) of the summed forces of that muscle, from -1 (right only) to 1 (left only)",
        "quality: mean over all frames, 0 to 1; frames without a face count 0",
    ]
    sections = [table("Recordings", headings, rows, notes, words=2)]
    warned = [[name, text] for name, summary in summaries.items() for text in summary["warnings"]]
    if warned:
        sections.append(table("Warnings", ("recording", "warning"), warned, words=2))
    if failed:
        why = [[name, folders[name], reason] for name, reason in failed.items()]
        sections.insert(0, table("Not analysed", ("recording", "folder", "why"), why, words=3))
    subtitle = [f"{len(summaries)} recordings analysed" + (f", {len(failed)} not" if failed else "")]
    notes = {summary["training"]["note"] for summary in summaries.values()} - {None}
    subtitle += [f"action units by a detector {note}" for note in sorted(notes)]
    return page("Study", subtitle, sections)


def _strongest(summary: Mapping[str, Any]) -> tuple[str, str]:
    """The muscle with the highest peak and its value, and its stronger side."""
    muscles = summary["muscles"]
    if not muscles:
        return "", ""
    identifier = max(muscles, key=lambda name: muscles[name]["peak"])
    name, _ = split_identifier(identifier)
    index = summary["asymmetry"].get(name.replace(" ", "_"))
    return f"{name} {muscles[identifier]['peak']:.2f}", asymmetry_in_words(index)


def _units(summary: Mapping[str, Any], count: int = 4) -> str:
    """The action units that are on most often, with their share of the frames."""
    units = summary.get("action_units", {})
    often = sorted((name for name in units if units[name]["share_on"] > 0), key=lambda name: -units[name]["share_on"])
    return ", ".join(f"{name} {units[name]['share_on']:.0%}" for name in often[:count])


def _cell(value: str | float | int | None) -> str | int | None:
    return f"{value:.6g}" if isinstance(value, float) else value
