"""Which entry of which evaluation is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biomechau.training.cross_validation import CrossValidation
from biomechau.training.evaluation import SUMMARY, Evaluation
from biomechau.training.evaluation_entries import read_scores
from biomechau.training.metrics import action_unit_scores, force_recovery

Change = Callable[[Any], object]


@pytest.fixture
def evaluation() -> Evaluation:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (20, 2), generator=generator)
    scores = action_unit_scores(torch.rand(20, 2, generator=generator), labels, (1, 12))
    forces = torch.rand(20, 2, generator=generator)
    sides = {"left": scores, "right": scores}
    return Evaluation(scores, force_recovery(forces, forces, ("a_left", "a_right")), 0.5, {"test": {}}, sides)


BROKEN: dict[str, tuple[Change, str]] = {
    "lacks": (
        lambda v: v["action_units"][1].pop("always_positive_f1"),
        r'"action_units\[1\].always_positive_f1" is mis',
    ),
    "range": (
        lambda v: v["action_units"][0].update(f1=1e39),
        r'"action_units\[0\].f1": expected a number in \[0, 1\] or',
    ),
    "kind": (
        lambda v: v["action_units"][0].update(mcc="x" * 9000),
        r'"action_units\[0\].mcc": expected .* found .x{40}',
    ),
    "unknown": (lambda v: v["action_units"][0].update(other=1), r'"action_units\[0\]." has an unknown entry .other.'),
    "side": (lambda v: v["sides"].pop("left"), '"sides": expected an object with "left" and "right", or empty'),
    "of a side": (
        lambda v: v["sides"]["right"][1].update(auc=2),
        r'"sides.right\[1\].auc": expected a number in \[0, 1\] or null',
    ),
    "list": (lambda v: v.update(action_units={}), '"action_units": expected a list of objects'),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_entry_of_a_fold_or_of_all_is_named(
    evaluation: Evaluation, tmp_path: Path, change: Change, message: str
) -> None:
    for folder, saved, read in (
        ("fold", evaluation, lambda path: Evaluation.load(path.parent)),
        ("all", CrossValidation({1: evaluation}, True), read_scores),
    ):
        saved.save(tmp_path / folder)
        path = tmp_path / folder / SUMMARY
        read(path)
        values = json.loads(path.read_bytes())
        change(values)
        path.write_text(json.dumps(values))
        with pytest.raises(ValueError, match=rf"evaluation\.json: not an evaluation of .*: {message}") as caught:
            read(path)
        assert len(str(caught.value).replace(str(tmp_path), "")) < 400


def test_the_entries_of_muscles_and_folds_are_checked(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.save(tmp_path)
    values = json.loads((tmp_path / SUMMARY).read_bytes())
    (tmp_path / SUMMARY).write_text(json.dumps({**values, "force_recovery": {"a_left": 2}}))
    with pytest.raises(ValueError, match=r'"force_recovery.a_left": expected a number in \[-1, 1\] or null, found 2'):
        Evaluation.load(tmp_path)
    CrossValidation({1: evaluation}, True).save(tmp_path)
    values = json.loads((tmp_path / SUMMARY).read_bytes())
    (tmp_path / SUMMARY).write_text(json.dumps({**values, "folds": {"1": {"mean_f1": 0.5}}}))
    with pytest.raises(ValueError, match='"folds.1.mean_mcc" is missing, expected a number in'):
        read_scores(tmp_path / SUMMARY)


@pytest.mark.parametrize(
    ("entries", "name"),
    [
        ({"mean_auc": 2}, "mean_auc"),
        ({"mean_mcc": "high"}, "mean_mcc"),
        ({"without_positives": [0.5]}, "without_positives"),
        ({"force_recovery": {"a_left": 2}}, "force_recovery.a_left"),
        ({"muscles_never_used": 3}, "muscles_never_used"),
        ({"reconstruction_error_over_std": -1}, "reconstruction_error_over_std"),
        ({"protocol": None}, "protocol"),
        ({"action_units": [{"action_unit": 1}]}, r"action_units\[0\].f1"),
    ],
)
def test_every_entry_of_every_fold_is_checked(
    evaluation: Evaluation, tmp_path: Path, entries: dict[str, Any], name: str
) -> None:
    """Those too that no page shows."""
    CrossValidation({1: evaluation, 2: evaluation}, True).save(tmp_path)
    values = json.loads((tmp_path / SUMMARY).read_bytes())
    values["folds"]["2"].update(entries)
    (tmp_path / SUMMARY).write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f'"folds.2.{name}"'):
        read_scores(tmp_path / SUMMARY)
