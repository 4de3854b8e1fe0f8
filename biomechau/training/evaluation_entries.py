"""The entries of ``evaluation.json``, checked one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from biomechau.file_errors import naming, quote
from biomechau.json_file import between, entry, is_count, is_object, is_text, list_of, or_null, read_json_object
from biomechau.training.metrics import ActionUnitScore

_SHARE, _MCC = or_null(between(0, 1)), or_null(between(-1, 1))
# Of each action unit: what its value must be, in words and as a check. The last two are missing in old files.
_ENTRIES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "action_unit": ("a whole number from 1 to 99", lambda value: is_count(value) and value < 100),
    "f1": ("a number in [0, 1] or null", _SHARE),
    "mcc": ("a number in [-1, 1] or null", _MCC),
    "always_positive_f1": ("a number in [0, 1]", between(0, 1)),
    "positive_rate": ("a number in [0, 1]", between(0, 1)),
    "known_frames": ("a whole number from 0", lambda value: is_count(value) or (value == 0 and type(value) is int)),
    "best_f1": ("a number in [0, 1] or null", _SHARE),
    "auc": ("a number in [0, 1] or null", _SHARE),
}
_OPTIONAL = ("best_f1", "auc")
# Means over the folds: a baseline without any fold that has an F1 is null.
_MEANS = {**_ENTRIES, "always_positive_f1": ("a number in [0, 1] or null", _SHARE)}


def read_unit_scores(values: Mapping[str, Any]) -> tuple[ActionUnitScore, ...]:
    """The scores of the action units of one fold.

    Raises:
        ValueError: an entry that is missing, unknown or of another kind; the message names it.
    """
    return tuple(ActionUnitScore(**unit) for unit in _units(values, _ENTRIES))


def read_scores(file: Any) -> dict[str, Any]:
    """The contents of the ``evaluation.json`` of all folds.

    Raises:
        ValueError: not such a file; the message names it and the entry.
        OSError: the file cannot be read.
    """
    scores = read_json_object(file)
    with naming(f"{file}: not an evaluation of all folds"):
        for name in ("tested_on", "means"):
            entry(scores, name, "a string", is_text)
        for name in ("mean_f1", "mean_always_positive_f1"):
            entry(scores, name, "a number in [0, 1] or null", _SHARE)
        for name in ("mean_mcc", "force_recovery_median_r"):
            entry(scores, name, "a number in [-1, 1] or null", _MCC)
        entry(scores, "reconstruction_error_over_std", "a number from 0 or null", or_null(between(0, float("inf"))))
        _units(scores, _MEANS)
        for number, fold in entry(scores, "folds", "an object", is_object).items():
            entry(scores["folds"], number, "an object", is_object, "folds.")
            entry(fold, "mean_f1", "a number in [0, 1] or null", _SHARE, f"folds.{number}.")
            entry(fold, "protocol", "an object", is_object, f"folds.{number}.")
    return scores


def _units(values: Mapping[str, Any], entries: Mapping[str, tuple[str, Callable[[Any], bool]]]) -> list[dict[str, Any]]:
    units = entry(values, "action_units", "a list of objects", list_of(is_object))
    for number, unit in enumerate(units):
        where = f"action_units[{number}]."
        if unknown := sorted(unit.keys() - entries.keys()):
            raise ValueError(f'"{where}" has an unknown entry {quote(unknown[0])}')
        for name, (expected, fits) in entries.items():
            if name in unit or name not in _OPTIONAL:
                entry(unit, name, expected, fits, where)
    return units
