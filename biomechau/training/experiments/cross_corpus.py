"""Table 5: trained on one corpus, tested on another."""

from __future__ import annotations

from collections.abc import Iterator

from biomechau.training.experiments.experiment import Experiment, Row, Setup
from biomechau.training.experiments.few_labels import ACTION_UNITS_ONLY


def table5(setup: Setup) -> Experiment:
    """The paper's Table 5, in both directions, over the action units that both corpora have.

    Raises:
        ValueError: not two different corpora of one rig that share action units.
    """
    if len(setup.corpora) != 2:
        raise ValueError("table5 trains on one corpus and tests on another: give the other one with --other")
    first, second = setup.corpora
    if first.rig_sha256 != second.rig_sha256:
        raise ValueError(
            f"{first.path} and {second.path} were made with different rigs: expected SHA-256 "
            f"{first.rig_sha256[:12]}..., found {second.rig_sha256[:12]}..."
        )
    shared = tuple(unit for unit in setup.units(first) if unit in second.action_units)
    if not shared:
        raise ValueError(f"{first.path} and {second.path} share no action unit")
    names = _names(first.path.name, second.path.name)
    fps = f", {first.fps:g} and {second.fps:g} fps; the tested one is resampled to the rate of the trained one"
    return Experiment(
        "table5",
        "Trained on one corpus, tested on all subjects of another",
        tuple(row for way in ((0, 1), (1, 0)) for row in _rows(way, names, shared)),
        seeds=3,
        fold_of_seed=True,
        notes=(
            f"corpora: {names[0]} and {names[1]}{fps if first.fps != second.fps else ''}",
            'data-driven: without physics; "AU loss only" is the physics network as the paper\'s data-driven model, '
            "without the other losses; gain: Avg. less that of position, temporal, run for run",
            "best F1: each action unit at the threshold that is best on the tested labels, which nobody knows; AUC: "
            "area under the receiver operating characteristic, whatever the threshold and the rate of positives",
            "a seed trains on the training subjects of one fold; the fold's own test subjects are not used",
        ),
    )


def _names(first: str, second: str) -> tuple[str, str]:
    return (first, second) if first != second else (f"{first} (1)", f"{second} (2)")


def _rows(way: tuple[int, int], names: tuple[str, str], units: tuple[int, ...]) -> Iterator[Row]:
    train_on, test_on = way
    prefix, heading = f"{train_on + 1}to{test_on + 1}_", f"{names[train_on]} to {names[test_on]}"
    temporal = f"{prefix}position_temporal"
    for name, words, changes, against in (
        ("position", "position", {"detector.head": "position"}, ""),
        ("position_temporal", "position, temporal", {"detector.head": "position_temporal"}, ""),
        ("physics_au", "physics, AU loss only", {"detector.head": "physics", **ACTION_UNITS_ONLY}, temporal),
        ("physics", "physics", {"detector.head": "physics"}, temporal),
    ):
        yield Row(
            prefix + name,
            f"{heading}: {words}",
            {**changes, "detector.action_units": units},
            against,
            train_on=train_on,
            test_on=test_on,
        )
