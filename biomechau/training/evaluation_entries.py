"""The entries of ``evaluation.json``, checked one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from biomechau.file_errors import naming, quote
from biomechau.json_file import between, entry, is_count, is_object, is_text, list_of, or_null, read_json_object
from biomechau.rig.action_unit_names import SIDE_NAMES
from biomechau.training.intensity_scores import IntensityScore
from biomechau.training.metrics import ActionUnitScore, ActionUnitScores

# What a value must be, in words and as a check.
_Entries = Mapping[str, tuple[str, Callable[[Any], bool]]]
_SHARE = ("a number in [0, 1] or null", or_null(between(0, 1)))
_CORRELATION = ("a number in [-1, 1] or null", or_null(between(-1, 1)))
# Of each action unit.
_UNIT: _Entries = {
    "action_unit": ("a whole number from 1 to 99", lambda value: is_count(value) and value < 100),
    "f1": _SHARE,
    "mcc": _CORRELATION,
    "always_positive_f1": ("a number in [0, 1]", between(0, 1)),
    "positive_rate": ("a number in [0, 1]", between(0, 1)),
    "known_frames": ("a whole number from 0", lambda value: is_count(value) or (value == 0 and type(value) is int)),
    "best_f1": _SHARE,
    "auc": _SHARE,
    "threshold": _SHARE,
    "threshold_f1": _SHARE,
}
_INTENSITY: _Entries = {
    **{name: _UNIT[name] for name in ("action_unit", "known_frames")},
    **dict.fromkeys(("icc", "r", "scaled_icc", "scaled_r"), _CORRELATION),
    **dict.fromkeys(("mae", "scaled_mae"), ("a number in [0, 5] or null", or_null(between(0, 5)))),
}
# The baseline of a mean over folds is null where no fold has an F1.
_MEAN_UNIT: _Entries = {**_UNIT, "always_positive_f1": _SHARE}
# Of a fold, and of the means over the folds.
_SUMMARY: _Entries = {
    "mean_f1": _SHARE,
    "mean_mcc": _CORRELATION,
    "mean_always_positive_f1": _SHARE,
    "mean_best_f1": _SHARE,
    "mean_auc": _SHARE,
    "mean_threshold_f1": _SHARE,
    "force_recovery_median_r": _CORRELATION,
    "reconstruction_error_over_std": ("a number from 0 or null", or_null(between(0, float("inf")))),
}
# Of a fold alone.
_FOLD: _Entries = {
    **_SUMMARY,
    "without_positives": ("a list of whole numbers", list_of(is_count)),
    "force_recovery": ("an object or null", or_null(is_object)),
    "muscles_never_used": ("a list of strings", list_of(is_text)),
    "protocol": ("an object", is_object),
}
# Missing in files of versions before these were computed.
_OPTIONAL = ("best_f1", "auc", "threshold", "threshold_f1", "mean_best_f1", "mean_auc", "mean_threshold_f1")


def check_fold(values: Mapping[str, Any], parent: str = "") -> tuple[ActionUnitScore, ...]:
    """Check all entries of one fold.

    Args:
        values: contents of its ``evaluation.json``, or its part in that of all folds.
        parent: where that part is, as ``"folds.1."``.

    Returns:
        The scores of its action units.

    Raises:
        ValueError: an entry that is missing or of another kind, or an unknown one of an action unit; the message names
            it.
    """
    _check(values, _FOLD, parent)
    for muscle in values["force_recovery"] or {}:
        entry(values["force_recovery"], muscle, *_CORRELATION, f"{parent}force_recovery.")
    read_sides(values, parent)
    read_intensities(values, parent)
    return read_unit_scores(values, parent)


def read_sides(values: Mapping[str, Any], parent: str = "") -> dict[str, ActionUnitScores]:
    """The scores of the left and the right side of one fold; empty if no side was labelled.

    Raises:
        ValueError: as :func:`read_unit_scores`.
    """
    found = _sides(values, _UNIT, parent)
    return {side: ActionUnitScores(tuple(ActionUnitScore(**unit) for unit in units)) for side, units in found.items()}


def _sides(values: Mapping[str, Any], entries: _Entries, parent: str = "") -> dict[str, list[dict[str, Any]]]:
    sides = entry({"sides": {}, **values}, "sides", 'an object with "left" and "right", or empty', _are_sides, parent)
    return {side: _units(sides, entries, f"{parent}sides.", side) for side in sides}


def read_intensities(values: Mapping[str, Any], parent: str = "") -> tuple[IntensityScore, ...]:
    """The agreement of the intensities of one fold, or the means over folds; empty if none were coded.

    Raises:
        ValueError: as :func:`read_unit_scores`.
    """
    units = _units({"intensities": [], **values}, _INTENSITY, parent, "intensities")
    return tuple(IntensityScore(**unit) for unit in units)


def _are_sides(value: Any) -> bool:
    return is_object(value) and list(value) in ([], [*SIDE_NAMES])


def read_unit_scores(values: Mapping[str, Any], parent: str = "") -> tuple[ActionUnitScore, ...]:
    """The scores of the action units of one fold, as :func:`check_fold` alone.

    Raises:
        ValueError: an entry that is missing, unknown or of another kind; the message names it.
    """
    return tuple(ActionUnitScore(**unit) for unit in _units(values, _UNIT, parent))


def read_scores(file: Any) -> dict[str, Any]:
    """The contents of the ``evaluation.json`` of all folds, every entry checked.

    Raises:
        ValueError: not such a file; the message names it and the entry.
        OSError: the file cannot be read.
    """
    scores = read_json_object(file)
    with naming(f"{file}: not an evaluation of all folds"):
        for name in ("tested_on", "means"):
            entry(scores, name, "a string", is_text)
        _check(scores, _SUMMARY)
        _units(scores, _MEAN_UNIT)
        _sides(scores, _MEAN_UNIT)
        read_intensities(scores)
        for number in entry(scores, "folds", "an object", is_object):
            check_fold(entry(scores["folds"], number, "an object", is_object, "folds."), f"folds.{number}.")
    return scores


def _check(values: Mapping[str, Any], entries: _Entries, parent: str = "") -> None:
    for name, (expected, fits) in entries.items():
        if name in values or name not in _OPTIONAL:
            entry(values, name, expected, fits, parent)


def _units(
    values: Mapping[str, Any], entries: _Entries, parent: str = "", name: str = "action_units"
) -> list[dict[str, Any]]:
    units = entry(values, name, "a list of objects", list_of(is_object), parent)
    for number, unit in enumerate(units):
        where = f"{parent}{name}[{number}]."
        if unknown := sorted(unit.keys() - entries.keys()):
            raise ValueError(f'"{where}" has an unknown entry {quote(unknown[0])}')
        _check(unit, entries, where)
    return units
