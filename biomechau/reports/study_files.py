"""The files of a study: ``study.csv``, one row per recording, and ``index.html``, the page that lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from biomechau.analysis.asymmetry import asymmetry_in_words
from biomechau.analysis.study import Person, Row, study_row
from biomechau.csv_output import write_rows
from biomechau.files import replacing
from biomechau.reports._html_page import Cell, Link, page, table
from biomechau.rig.muscles import split_identifier

STUDY, INDEX, PAGE = "study.csv", "index.html", "report.html"


def write_study(
    out: Path,
    summaries: Mapping[str, Mapping[str, Any]],
    folders: Mapping[str, str],
    failed: Mapping[str, str],
    people: Sequence[Person],
) -> list[Path]:
    """Write ``study.csv`` and ``index.html``.

    Args:
        out: folder of the study.
        summaries: contents of ``summary.json``, by the name of the recording.
        folders: where each recording was found, by its name.
        failed: why a recording could not be analysed, by its name.
        people: whose recordings these are; each row has the asymmetry of its person as ``person_asymmetry_total``,
            ``person_asymmetry_upper`` and ``person_asymmetry_lower``.

    Returns:
        The files.

    Raises:
        OSError: a file cannot be written.
    """
    rows: dict[str, Row] = {name: study_row(summary) for name, summary in summaries.items()}
    for person in people:
        for name in person.recordings:
            rows[name] |= {f"person_asymmetry_{region}": value for region, value in person.asymmetry._asdict().items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    with replacing(out / STUDY) as partial:
        header = ["recording", "folder", *columns]
        write_rows(
            partial, header, ([name, folders[name], *map(_cell, map(row.get, columns))] for name, row in rows.items())
        )
    with replacing(out / INDEX) as partial:
        partial.write_text(_index(out, summaries, folders, failed, people), encoding="utf-8")
    return [out / STUDY, out / INDEX]


def _index(
    out: Path,
    summaries: Mapping[str, Mapping[str, Any]],
    folders: Mapping[str, str],
    failed: Mapping[str, str],
    people: Sequence[Person],
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
                _units(summary),
                *_strongest(summary),
                f"{frames['end'] - frames['start']:.1f}",
                f"{lost} of {recorded['count']}" if lost else "",
                Cell(f"{summary['quality']:.2f}", summary["quality"]),
            ]
        )
    headings = ("recording", "folder", "often on", "strongest muscle", "its sides", "seconds", "no face", "quality")
    notes = [
        "left and right are the subject's own",
        "often on: action units with the share of the frames in which they are on",
        "its sides: (L-R)/(L+R) of the summed forces of that muscle, from -1 (right only) to 1 (left only)",
        "quality: mean over all frames, 0 to 1; frames without a face count 0",
    ]
    sections = [_people(people), table("Recordings", headings, rows, notes, words=5)]
    warned = [[name, text] for name, summary in summaries.items() for text in summary["warnings"]]
    if warned:
        sections.append(table("Warnings", ("recording", "warning"), warned, words=2))
    if failed:
        why = [[name, folders[name], reason] for name, reason in failed.items()]
        sections.insert(0, table("Not analysed", ("recording", "folder", "why"), why, words=3))
    subtitle = [
        f"{len(summaries)} recording{'s' * (len(summaries) != 1)} analysed" + (f", {len(failed)} not" if failed else "")
    ]
    notes = {summary["training"]["note"] for summary in summaries.values()} - {None}
    subtitle += [f"action units by a detector {note}" for note in sorted(notes)]
    return page("Study", subtitle, sections)


def _people(people: Sequence[Person]) -> str:
    """The table of people: which side moves more, over all recordings of each."""
    rows = []
    for person in people:
        rows.append([person.name, str(len(person.recordings)), *map(asymmetry_in_words, person.asymmetry)])
    notes = [
        "recordings that lie in one folder are taken for those of one person",
        "side that moves more: asymmetry index over all of them, from -1 (right only) to 1 (left only); without an "
        "interval, since those that were tried hold the true index less often than they say",
    ]
    headings = ("person", "recordings", "side that moves more", "upper face", "lower face")
    return table("People", headings, rows, notes, words=1)


def _strongest(summary: Mapping[str, Any]) -> tuple[str, str]:
    """The muscle with the highest peak and its value, and its stronger side."""
    muscles = summary["muscles"]
    if not muscles:
        return "", ""
    identifier = max(muscles, key=lambda name: muscles[name]["peak"])
    name, _ = split_identifier(identifier)
    index = summary["ratio_of_sums"].get(name.replace(" ", "_"))
    doubt = " (not determined)" if identifier in summary["not_determined"] else ""
    return f"{name} {muscles[identifier]['peak']:.2f}{doubt}", asymmetry_in_words(index)


def _units(summary: Mapping[str, Any], count: int = 4) -> str:
    """The action units that are on most often, with their share of the frames."""
    units = summary.get("action_units", {})
    often = sorted((name for name in units if units[name]["share_on"] > 0), key=lambda name: -units[name]["share_on"])
    return ", ".join(f"{name} {units[name]['share_on']:.0%}" for name in often[:count])


def _cell(value: str | float | int | None) -> str | int | None:
    return f"{value:.6g}" if isinstance(value, float) else value
