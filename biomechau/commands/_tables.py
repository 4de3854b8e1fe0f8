"""The tables and notes that the commands print: forces, action units, rigs, scores."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from biomechau.analysis import Demonstration, FaceForces, Leaks
from biomechau.analysis.asymmetry import asymmetry_in_words
from biomechau.commands.terminal import listing, new_table
from biomechau.reports.curves import ForceCurves
from biomechau.rig.action_unit_names import NAMES, column_name
from biomechau.rig.muscles import split_identifier

if TYPE_CHECKING:
    from biomechau.training.cross_validation import CrossValidation

# Number of gaps that are listed; the JSON has all.
NUM_GAPS = 4
# Rates that differ by no more than this share are the same.
SAME_RATE = 0.01


def forces_table(face: FaceForces, summary: dict[str, Any], count: int = 10) -> Table:
    """The strongest muscles: peak of each side, time of the peak, ratio of the sums of both sides."""
    table = new_table(f"Strongest muscles, peak force [{face.force_unit}]")
    table.add_column("muscle")
    for heading in ("left", "right", "unpaired", "time [s]", "(L-R)/(L+R)"):
        table.add_column(heading, justify="right")
    curves = ForceCurves.of(face)
    for name, sides in curves.strongest(count):
        rows = {side: summary["muscles"][face.identifiers[column]] for side, column in sides.items()}
        peaks = [f"{rows[side]['peak']:.2f}" if side in rows else "" for side in ("left", "right", "both")]
        time = max(rows.values(), key=lambda row: row["peak"])["time_of_peak"]
        index = summary["ratio_of_sums"].get(name.replace(" ", "_"))
        if curves.is_undetermined(sides):
            name = f"{name} (not determined)"
        table.add_row(name, *peaks, f"{time:.2f}", "" if index is None else _signed(index))
    return table


def forces_notes(summary: dict[str, Any]) -> list[str]:
    """Lines about the input, unused channels, and the share of the motion that is explained."""
    slack = summary["slack_share"]
    # With the learned metric what is known of muscles makes up for what the motion does not say.
    determined = (
        ""
        if summary["inverse"]["metric"] == "learned"
        else f"; rank {summary['rank']} of {summary['unknowns']} unknown forces, condition number "
        f"{summary['condition']:.1f}"
    )
    notes = [
        *input_notes(summary),
        *muscle_notes(summary),
        f"{slack:.1%} of the motion belongs to shapes without a muscle and was left out" if slack else "",
        listing("not determined by this face and tracker", summary.get("not_determined", ())),
        f"{1 - summary['residual_share']:.1%} of the motion of the other shapes is explained by the forces{determined}",
        f"mean quality of the frames {summary['quality']:.2f}, from 0 to 1; those in doubt are grey in the picture",
    ]
    return [note for note in notes if note]


def input_notes(summary: dict[str, Any]) -> list[str]:
    """Lines about frames and channels."""
    frames, channels, recorded = summary["frames"], summary["channels"], summary["frames"]["recorded"]
    meshes = summary["meshes"]
    rates = f"{recorded['fps']:.4g} to {frames['fps']:g} frames a second"
    keeps = "" if "inverse" not in summary else f"; --fps {recorded['fps']:.4g} keeps them"
    empty = len(frames["filled"])
    notes = [
        f"{frames['count']} frames at {frames['fps']:g} fps, {frames['end'] - frames['start']:.2f} s",
        f"resampled from {rates}{keeps}" if abs(recorded["fps"] / frames["fps"] - 1) > SAME_RATE else "",
        f"no face in {recorded['without_face']} of {recorded['count']} frames" if recorded["without_face"] else "",
        _drops(frames["dropped"]),
        f"{empty} of {frames['count']} frames were not measured: their cells are empty" if empty else "",
        f"{meshes['share_left_over']:.1%} of the meshes' shape and {meshes['share_of_motion_left_over']:.1%} of their "
        f"motion are left over by the rig ({meshes['residual_mm']:.2f} of {meshes['departure_mm']:.2f} mm)"
        if meshes
        else "",
        listing("channels that drive no shape", channels["unused"]),
        listing("shapes without a channel", channels["missing_shapes"]),
    ]
    return [note for note in notes if note]


def _drops(dropped: Sequence[dict[str, int]]) -> str:
    """Frames that are missing in the recording, with the longest gaps."""
    if not dropped:
        return ""
    longest = sorted(dropped, key=lambda gap: -gap["count"])[:NUM_GAPS]
    gaps = ", ".join(f"{gap['count']} after frame {gap['after_recorded_frame']}" for gap in longest)
    more = f" and {len(dropped) - len(longest)} more gaps" if len(dropped) > len(longest) else ""
    return f"{sum(gap['count'] for gap in dropped)} frames dropped in the recording: {gaps}{more}"


def muscle_notes(summary: dict[str, Any]) -> list[str]:
    """Lines about left and right, and about muscles whose forces are not measured."""
    unmeasured = [name for name, row in summary["muscles"].items() if not row["measured"]]
    sides = {region: asymmetry_in_words(index) for region, index in summary["asymmetry_index"].items()}
    parts = "; ".join(f"{region} face {sides[region]}" for region in ("upper", "lower") if sides[region])
    notes = [
        f"side that moves more (asymmetry index): {sides['total']} ({parts})" if sides["total"] else "",
        listing("muscles without a channel", unmeasured),
        listing("muscles without shapes in the rig", summary["muscles_left_out"]),
    ]
    return [note for note in notes if note]


def prediction_table(summary: dict[str, Any], action_units: tuple[int, ...]) -> Table:
    """How long each action unit is on, and its highest probability, also of each side."""
    table = new_table("Action units: how often on, highest probability")
    table.add_column("", no_wrap=True)
    for heading in ("on", "peak"):
        table.add_column(heading, justify="right")
    scores = summary["labels"]
    rows = summary["action_units"].values()
    sides = list(dict.fromkeys(side for row in rows for side in row["sides"]))
    for side in sides:
        table.add_column(side, justify="right")
    intense = any(row["intensity"] is not None for row in rows)
    if intense:
        table.add_column("0-5", justify="right")
    tested = any(row["test_f1"] is not None for row in rows)
    if tested:
        table.add_column("test F1", justify="right")
    if scores is not None:
        table.add_column("labelled on", justify="right")
        table.add_column("F1", justify="right")
    if any(map(_doubt, rows)):
        table.add_column("doubt")
    for unit, row in zip(action_units, summary["action_units"].values(), strict=True):
        cells = [f"{row['share_on']:.0%}", f"{row['peak']:.2f}"]
        cells += [_two_digits(row["sides"].get(side, {}).get("peak")) for side in sides]
        if intense:
            cells.append("" if row["intensity"] is None else f"{row['intensity']['peak']:.1f}")
        if tested:
            cells.append(_two_digits(row["test_f1"]))
        if scores is not None:
            score = next(score for score in scores["action_units"] if score["action_unit"] == unit)
            known = score["known_frames"]
            cells += [f"{score['positive_rate']:.0%}" if known else "", _two_digits(score["f1"])]
        name = f"{column_name(unit)} {NAMES.get(unit, '')}"
        table.add_row(name, *cells, *filter(None, [_doubt(row)]))
    return table


def training_notes(summary: dict[str, Any]) -> list[str]:
    """Whom the detectors were trained on, and on whom the F1 beside their units was measured."""
    training = summary["training"]
    tested = training["tested_on"]
    rows = summary["action_units"].values()
    flagged = any(row["flagged"] for row in rows)
    level = "0-5: highest intensity" if any(row["intensity"] is not None for row in rows) else None
    doubt = "doubt: share of the frames in which the unit contradicts the force of its muscles" if flagged else None
    return list(filter(None, [training["note"], f"test F1: on {tested}" if tested else None, level, doubt]))


def _doubt(row: dict[str, Any]) -> str:
    """Why not to trust what is said of an action unit; empty where nothing is known against it."""
    if row["measured"] is False:
        return "no channel"
    return f"{row['disagrees_with_force']:.0%}" if row["flagged"] else ""


def recovery_table(demonstration: Demonstration) -> Table:
    """True and recovered force of each muscle, and the medians."""
    table = new_table("Recovery of known muscle forces: peaks, correlation, relative error")
    table.add_column("muscle")
    for heading in ("side", "true peak", "recovered", "r", "error"):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    for row in demonstration.recoveries:
        name, side = split_identifier(row.identifier)
        scores = [("" if value is None else f"{value:.3f}") for value in (row.correlation, row.relative_error)]
        table.add_row(name, "" if side == "both" else side, f"{row.peak:.2f}", f"{row.recovered_peak:.2f}", *scores)
    table.add_section()
    medians = [f"{demonstration.median(what):.3f}" for what in ("correlation", "relative_error")]
    table.add_row("median of active muscles", "", "", "", *medians, style="bold")
    return table


def leaks_table(file: str, leaks: Leaks, count: int = 5) -> Table:
    """The largest leaks, slow and fast, and their median over the moving muscles."""
    table = new_table(f"{file}: force of muscles at rest, share of the moving muscle's own")
    for column in ("movement", "moving", "at rest"):
        table.add_column(column)
    table.add_column("share", justify="right")
    for speed, shares in (("slow", leaks.slow), ("fast", leaks.fast)):
        rows = leaks.worst(shares)
        for moving, other, share in rows[:count]:
            if share > 0:
                table.add_row(speed, *(name.replace("_", " ") for name in (moving, other)), f"{share:.2f}")
        table.add_row(speed, "median", "", f"{statistics.median(share for _, _, share in rows):.2f}", end_section=True)
    return table


def rig_table(file: str, description: dict[str, Any]) -> Table:
    """The contents of ``rig info``."""
    table = new_table(file, header=False)
    table.add_column("what", style="bold")
    table.add_column("value")
    muscles, coverage = description["muscles"], description["coverage"]
    x, y, z = description["extent_cm"]
    rows = {
        "vertices": f"{description['vertices']:,}",
        "faces": f"{description['faces']:,}",
        "shapes": f"{len(description['shapes'])}: {', '.join(description['shapes'])}",
        "identity modes": str(description["identity_modes"]),
        "extent": f"{x:.1f} x {y:.1f} x {z:.1f} cm",
        **{f"provenance: {key.replace('_', ' ')}": text for key, text in description["provenance"].items() if text},
        "muscles found": f"{len(muscles['found'])} of {muscles['of']}: {', '.join(_without_sides(muscles['found']))}",
        "muscles missing": "\n".join(
            f"{name} (lacks {', '.join(shapes)})" if shapes else f"{name} (no known shape)"
            for name, shapes in muscles["missing"].items()
        ),
    }
    if coverage is not None:
        rows["coverage"] = (
            f"{1 - coverage['uncovered']:.1%} of the vertices have a muscle, {coverage['muscles_per_vertex']:.1f} each"
        )
        rows["overlap"] = "\n".join(
            f"{pair['cosine']:.2f}  {' / '.join(pair['muscles'])}" for pair in description["overlap"]
        )
    if description["mass_condition"] is not None:
        rows["condition of the mass matrix"] = f"{description['mass_condition']:.3g}"
    rows["shapes that hardly move"] = ", ".join(description["dropped_shapes"])
    rows["doubts"] = "\n".join(description["doubts"])
    rows["problems"] = "\n".join(description["problems"])
    for what, value in rows.items():
        if value:
            table.add_row(what, value)
    return table


def scores_table(scores: CrossValidation) -> Table:
    """F1 of each action unit [%]: mean, each fold, at its own threshold, MCC and the baseline."""
    table = new_table("F1 and MCC of each action unit [%]")
    table.add_column("")
    folds, means = scores.evaluations.values(), scores.scores
    numbers = [f"fold {number}" for number in scores.evaluations] if len(scores.evaluations) > 1 else []
    own = ["own\nF1"] if means.means.threshold_f1 is not None else []
    for heading in ("F1", *numbers, *own, "MCC", "always\non", "rate"):
        table.add_column(heading, justify="right")
    for row, unit in enumerate(means.units):
        by_fold = [evaluation.scores.units[row].f1 for evaluation in folds] if numbers else []
        at_own = [unit.threshold_f1] if own else []
        values = [unit.f1, *by_fold, *at_own, unit.mcc, unit.always_positive_f1, unit.positive_rate]
        table.add_row(f"AU{unit.action_unit:02d}", *map(_percent, values))
    table.add_section()
    by_fold = [evaluation.scores.mean_f1 for evaluation in folds] if numbers else []
    mean = means.means
    at_own = [mean.threshold_f1] if own else []
    values = [mean.f1, *by_fold, *at_own, mean.mcc, mean.always_positive_f1]
    table.add_row("mean", *map(_percent, values), "", style="bold")
    return table


def sides_table(scores: CrossValidation) -> Table | None:
    """How well frames that show a unit on one side are told from the others; None if no sides are labelled."""
    if not scores.sides:
        return None
    table = new_table("Either side: area under the ROC curve [%], 50 is chance")
    table.add_column("")
    columns = [{unit.action_unit: unit.auc for unit in each.units} for each in scores.sides.values()]
    for side in scores.sides:
        table.add_column(side, justify="right")
    for number in dict.fromkeys(number for column in columns for number in column):
        table.add_row(f"AU{number:02d}", *(_percent(column.get(number)) for column in columns))
    return table


def intensity_table(scores: CrossValidation) -> Table | None:
    """Agreement with the coded intensity of each unit, beside the scaled probability; None if none were coded."""
    if not scores.intensities:
        return None
    table = new_table("Intensity of each action unit, 0 to 5: ICC(3,1), correlation, mean absolute error")
    table.add_column("")
    for heading in ("ICC", "r", "MAE", "scaled\nICC", "scaled\nr", "scaled\nMAE"):
        table.add_column(heading, justify="right")
    from biomechau.training.intensity_scores import mean_intensity_scores

    rows = [(f"AU{unit.action_unit:02d}", asdict(unit)) for unit in scores.intensities]
    for name, row in [*rows, ("mean", mean_intensity_scores(scores.intensities))]:
        cells = [_two_digits(row[key]) for key in ("icc", "r", "mae", "scaled_icc", "scaled_r", "scaled_mae")]
        table.add_row(name, *cells, style="bold" if name == "mean" else None)
    return table


def scores_notes(scores: CrossValidation) -> list[str]:
    """Lines about the test subjects, forces and reconstruction, and units without positives."""
    evaluations, means = scores.evaluations, scores.scores.means
    tested = [len(evaluation.protocol["test"]["subjects"]) for evaluation in evaluations.values()]
    frames = [evaluation.protocol["test"]["frames"] for evaluation in evaluations.values()]
    where = "their own test subjects" if scores.same_corpus else "all subjects of another corpus"
    recovered = {n: e.forces.median for n, e in evaluations.items() if e.forces is not None}
    rebuilt = {n: e.reconstruction for n, e in evaluations.items() if e.reconstruction is not None}
    without = {f"AU{unit:02d}" for e in evaluations.values() for unit in e.scores.without_positives}
    selection = {evaluation.protocol["selection"] for evaluation in evaluations.values()}
    subject_sets = {evaluation.protocol["subject_sets"] for evaluation in evaluations.values()}
    rates = {
        test["resampled_from_fps"]: test["fps"] for e in evaluations.values() if "fps" in (test := e.protocol["test"])
    }
    rigs = [test["another_rig"] for e in evaluations.values() if "another_rig" in (test := e.protocol["test"])]
    unlabelled = {u for e in evaluations.values() for u in e.protocol["test"].get("without_labels", ())}
    missing = listing("no shape for", sorted({shape for rig in rigs for shape in rig["missing_shapes"]}))
    notes = [
        f"{_folds(len(evaluations))} tested on {where}: {_sequence(tested)} subjects, {_sequence(frames)} frames",
        *(f"resampled from {recorded:g} to {fps:g} frames per second" for recorded, fps in rates.items()),
        "on another rig or number of vertices than in training: shapes are matched by name" if rigs else "",
        missing,
        f"subject sets: {', '.join(sorted(subject_sets))}; weights: {', '.join(sorted(selection))}",
        "F1 at the threshold 0.5, as in the literature",
        "own F1: at the unit's threshold, chosen on the validation subjects" if means.threshold_f1 else "",
        "always on: F1 of saying on in every frame; rate: share of the frames that are labelled on",
        "scaled: the probability times the factor that fits these intensities best" if scores.intensities else "",
        f"forces of the detector: median r with the true ones {_with_folds(scores.force_recovery, recovered)}"
        if recovered
        else "",
        f"reconstruction error / std: {_with_folds(scores.reconstruction, rebuilt)}" if rebuilt else "",
        listing("without labels in this corpus, not tested", [f"AU{unit:02d}" for unit in sorted(unlabelled)]),
        listing("without positives in some fold, left out of its means", sorted(without)),
    ]
    return [note for note in notes if note]


def _folds(count: int) -> str:
    return "1 fold" if count == 1 else f"{count} folds"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-0.00", "+0.00")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _sequence(values: Iterable[int]) -> str:
    return " / ".join(f"{value:,}" for value in values)


def _with_folds(mean: float | None, by_fold: Mapping[int, float | None]) -> str:
    words = ["none" if value is None else f"{value:.2f}" for value in (mean, *by_fold.values())]
    return f"{words[0]} ({' / '.join(words[1:])})" if len(by_fold) > 1 else words[0]


def _without_sides(identifiers: Iterable[str]) -> list[str]:
    """Readable names, with both sides as one: ``"zygomaticus major (2)"``."""
    names = [split_identifier(identifier)[0] for identifier in identifiers]
    return [f"{name} (2)" if names.count(name) == 2 else name for name in dict.fromkeys(names)]


def _two_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
