"""Contents of pages: a run, the files of ``predict`` and ``forces``, scores, experiments, the demonstration."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from biomechau.analysis import Choice, Demonstration, Prediction
from biomechau.analysis.asymmetry import asymmetry_in_words
from biomechau.file_errors import naming, reason
from biomechau.json_file import entry, is_count, is_number, is_object, list_of, or_null, read_json_object
from biomechau.reports._html_page import Cell, Shown, details, page, table
from biomechau.reports.replay import FILE as REPLAY, Replay
from biomechau.rig.action_unit_names import NAMES, column_name
from biomechau.rig.muscles import split_identifier
from biomechau.training.evaluation_entries import read_scores, read_unit_scores
from biomechau.training.training_config import TrainingConfig

SUMMARY, SCORES, TABLE, CARD = "summary.json", "evaluation.json", "table.csv", "card.json"


def recording_page(folder: Path, every: int = 1) -> str:
    """The page of a folder written by ``predict`` or ``forces``.

    Args:
        folder: to show.
        every: show every n-th frame.

    Raises:
        ValueError: a file is broken; the message names it.
        OSError: a file cannot be read.
        ImportError: matplotlib is not installed.
    """
    replay, summary = Replay.load(folder / REPLAY), read_json_object(folder / SUMMARY)
    replay = replay.thinned(every)
    what = "action units and muscle forces" if replay.action_units else "muscle forces"
    with naming(folder / SUMMARY):
        subtitle, notes = _about_recording(summary, replay)
    return page(f"{replay.name}: {what}", subtitle, [details("Summary", summary)], [Shown(replay, unit_notes=notes)])


def _about_recording(summary: Mapping[str, Any], replay: Replay) -> tuple[list[str], tuple[str, ...]]:
    """Lines about the input, and the note of each action unit."""
    about, frames = (entry({name: {}, **summary}, name, "an object", is_object) for name in ("input", "frames"))
    subtitle = [str(about.get("source", ""))]
    if frames:
        count = entry(frames, "count", "a whole number", is_count, "frames.")
        subtitle.append(f"{count} frames at {entry(frames, 'fps', 'a number', is_number, 'frames.'):g} fps")
    training = entry({"training": {}, **summary}, "training", "an object", is_object)
    index = entry({"asymmetry_index": {}, **summary}, "asymmetry_index", "an object", is_object)
    total = entry({"total": None, **index}, "total", "a number or null", or_null(is_number), "asymmetry_index.")
    subtitle += [f"side that moves more (asymmetry index): {asymmetry_in_words(total)}"] if total is not None else []
    words = {"note": "detector of the action units", "tested_on": "F1 of the action units: on"}
    subtitle += [f"{words[name]} {training[name]}" for name in words if training.get(name)]
    if replay.labels is None or not summary.get("labels"):
        return subtitle, _test_notes(summary, replay)
    scores = {"action_units": entry(summary["labels"], "action_units", "a list", list_of(is_object), "labels.")}
    if len(read_unit_scores(scores)) != len(replay.action_units):
        raise ValueError(f'"labels.action_units" must have the {len(replay.action_units)} action units of {REPLAY}')
    return subtitle, unit_notes(scores)


def _test_notes(summary: Mapping[str, Any], replay: Replay) -> tuple[str, ...]:
    """The F1 of each action unit in the test of its detector, and whether it contradicts the force of its muscles."""
    units = entry({"action_units": {}, **summary}, "action_units", "an object", is_object)
    notes = []
    for name in map(column_name, replay.action_units or ()):
        where = f"action_units.{name}."
        unit = {"test_f1": None, **entry({name: {}, **units}, name, "an object", is_object, "action_units.")}
        f1 = entry(unit, "test_f1", "a number or null", or_null(is_number), where)
        tested = "" if f1 is None else f"test F1 {100 * f1:.0f}"
        notes.append(", ".join(filter(None, (tested, "contradicts the force" if unit.get("flagged") else ""))))
    return tuple(notes) if any(notes) else ()


def scores_page(folder: Path) -> str:
    """The page of a folder written by ``evaluate``.

    Raises:
        ValueError, OSError: as :func:`recording_page`.
    """
    scores = read_scores(folder / SCORES)
    return page("Scores", [f"tested on {scores['tested_on']}"], score_sections(scores))


def experiment_page(folders: Sequence[Path]) -> str:
    """The page of experiments, each a folder with ``table.csv`` and ``card.json``.

    Raises:
        ValueError, OSError: as :func:`recording_page`.
    """
    sections = []
    for folder in folders:
        about, file = read_json_object(folder / CARD), folder / TABLE
        try:
            with file.open(newline="", encoding="utf-8") as opened:
                rows = list(csv.reader(opened))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{file}: not a CSV text file: {reason(error)}") from error
        if not rows or any(len(row) != len(rows[0]) for row in rows):
            raise ValueError(f"{file}: expected a table whose rows have as many cells as its header")
        with naming(folder / CARD):
            notes = entry({"notes": [], **about}, "notes", "a list", list_of(lambda value: True))
        title = f"{folder.name}: {about['title']}" if "title" in about else folder.name
        about.pop("notes", None)
        notes = list(map(str, notes))
        sections += [table(title, rows[0], rows[1:], notes), details(f"{folder.name}: protocol", about)]
    return page("Experiments", [", ".join(folder.name for folder in folders)], sections)


def run_page(
    name: str, config: TrainingConfig, corpus: str, scores: dict[str, Any], shown: Sequence[Shown], chosen: str
) -> str:
    """The page of a run.

    Args:
        name: of the run.
        config: training options.
        corpus: description of the corpus.
        scores: contents of ``evaluation.json``.
        shown: sequences to play back.
        chosen: how they were chosen, in words.

    Raises:
        ImportError: matplotlib is not installed.
    """
    subtitle = [corpus, f"tested on {scores['tested_on']}: {_mean_f1(scores)}", chosen]
    sections = [*score_sections(scores), details("Training options", config.to_json())]
    return page(f"{name}: action units and muscle forces", subtitle, sections, shown)


def demo_page(
    demonstration: Demonstration,
    summary: Mapping[str, Any],
    scores: Mapping[str, Any] | None = None,
    shown: Sequence[Shown] = (),
) -> str:
    """The page of the demonstration.

    Args:
        demonstration: recovery of known forces.
        summary: contents of its ``summary.json``.
        scores: contents of ``evaluation.json`` of the trained detector, if there is one.
        shown: sequences of the simulated people to play back.

    Raises:
        ImportError: matplotlib is not installed.
    """
    performance = Shown(
        Replay.of_forces(demonstration.found), "a scripted performance of the built-in face, its forces recovered"
    )
    r, error = (demonstration.median(what) for what in ("correlation", "relative_error"))
    subtitle = [f"known muscle forces recovered from noisy motion: median r {r:.3f}, median error {error:.3f}"]
    if scores is not None:
        subtitle.append(f"simulated people, tested on {scores['tested_on']}: {_mean_f1(scores)}")
    sections = [
        _recovery(demonstration),
        *([] if scores is None else score_sections(scores)),
        details("Summary", summary),
    ]
    return page("Demonstration", subtitle, sections, [performance, *shown])


def score_sections(scores: Mapping[str, Any]) -> list[str]:
    """The table of scores and the protocol of each fold."""
    rows = []
    for unit in scores["action_units"]:
        number = int(unit["action_unit"])
        cells = [percent(unit[key]) for key in ("mcc", "always_positive_f1", "positive_rate")]
        known = f"{unit['known_frames']:,}"
        rows.append([column_name(number), NAMES.get(number, ""), _bar(unit["f1"]), *cells, known])
    means = [percent(scores[key]) for key in ("mean_mcc", "mean_always_positive_f1")]
    rows.append(["mean", "", _bar(scores["mean_f1"]), *means, "", ""])
    folds: Mapping[str, Any] = scores["folds"]
    by_fold = "; ".join(f"fold {number}: {percent(fold['mean_f1'])}" for number, fold in folds.items())
    notes = [f"means {scores['means']}; F1 of each fold: {by_fold}"]
    if scores["force_recovery_median_r"] is not None:
        notes.append(f"muscle forces follow the true ones with a median r of {scores['force_recovery_median_r']:.2f}")
    if scores["reconstruction_error_over_std"] is not None:
        notes.append(f"reconstruction error over standard deviation: {scores['reconstruction_error_over_std']:.2f}")
    headings = ("", "action unit", "F1 [%]", "MCC [%]", "always on, F1 [%]", "labelled on [%]", "known frames")
    scored = table("Scores", headings, rows, notes, total=True, words=2)
    protocols = [details(f"Protocol of fold {number}", fold["protocol"]) for number, fold in folds.items()]
    return [scored, *protocols]


def shown_of(chosen: Sequence[tuple[Choice, Prediction]]) -> list[Shown]:
    """Sequences to play back, each with a note on why it was chosen."""
    shown = []
    for choice, prediction in chosen:
        labelled, folds = prediction.scores(), ", ".join(map(str, prediction.folds))
        notes = unit_notes(labelled) if labelled else ()
        shown.append(Shown(Replay.of_prediction(prediction), f"{choice}, fold {folds}", notes))
    return shown


def how_chosen(choices: Sequence[Choice]) -> str:
    """How the sequences of a page were chosen, in words."""
    if choices[0].measure is None:
        return "sequences as requested"
    ranks = ", ".join(dict.fromkeys(str(choice.rank) for choice in choices))
    return f"test sequences shown: {ranks}, by {choices[0].measure}"


def unit_notes(scores: Mapping[str, Any]) -> tuple[str, ...]:
    """``"F1 84"`` for each action unit of a sequence; empty if it is not known."""
    return tuple("" if unit["f1"] is None else f"F1 {100 * unit['f1']:.0f}" for unit in scores["action_units"])


def percent(value: float | None) -> str:
    """A share in per cent with one decimal; empty for None."""
    return "" if value is None else f"{100 * value:.1f}"


def _mean_f1(scores: Mapping[str, Any]) -> str:
    always = percent(scores["mean_always_positive_f1"])
    return f"mean F1 {percent(scores['mean_f1'])} %, always saying on {always} %"


def _recovery(demonstration: Demonstration) -> str:
    """The table of true and recovered forces."""
    rows = []
    for row in demonstration.recoveries:
        name, side = split_identifier(row.identifier)
        scores = ["" if value is None else f"{value:.3f}" for value in (row.correlation, row.relative_error)]
        rows.append([name, "" if side == "both" else side, f"{row.peak:.2f}", f"{row.recovered_peak:.2f}", *scores])
    medians = [f"{demonstration.median(what):.3f}" for what in ("correlation", "relative_error")]
    rows.append(["median of active muscles", "", "", "", *medians])
    headings = ("muscle", "side", "true peak", "recovered peak", "r", "error")
    return table("Recovery of known muscle forces", headings, rows, total=True, words=2)


def _bar(value: float | None) -> str | Cell:
    return "" if value is None else Cell(percent(value), value)
