"""The tables of the paper as lists of trainings."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import fields
from importlib.resources import files
from typing import Any

from biomechau.corpus import Corpus, Protocol, protocol_of
from biomechau.corpus.protocols import BP4D, DISFA
from biomechau.models import LossWeights
from biomechau.training.experiments.experiment import Experiment, PublishedRow, Row, Setup
from biomechau.training.training_config import TrainingConfig

_HEADINGS = {
    "geometry": "3D geometry",
    "force": "3D force",
    "position": "3D position",
    "position_temporal": "3D position, temporal",
    "physics": "3D physics",
    "image": "2D image",
    "physics_image": "physics + image",
}


def table1(setup: Setup) -> Experiment:
    """Table 1 of the paper, with a baseline without physics that also sees neighbouring frames."""
    (corpus,) = setup.corpora
    return Experiment(
        "table1",
        "What the head sees",
        tuple(_head_row(head, corpus) for head in _HEADINGS),
        notes=(_meshes(corpus),),
    )


def table2(setup: Setup) -> Experiment:
    """Table 2 of the paper: our scores and published ones on BP4D."""
    return _literature("table2", setup, BP4D)


def table3(setup: Setup) -> Experiment:
    """Table 3 of the paper: our scores and published ones on DISFA."""
    return _literature("table3", setup, DISFA)


def _head_row(head: str, corpus: Corpus) -> Row:
    changes: dict[str, Any] = {"detector.head": head}
    missing = ""
    if "image" in head:
        changes["detector.num_image_features"] = corpus.num_image_features
        if not corpus.num_image_features:
            missing = "the corpus has no image features"
    return Row(head, _HEADINGS[head], changes, missing=missing)


def _meshes(corpus: Corpus) -> str:
    if "vertices_residual" in corpus.tensor_names:
        return "geometry reads the meshes of the corpus"
    return "geometry reads meshes that are computed from the coefficients: the corpus has none of its own"


def _literature(name: str, setup: Setup, protocol: Protocol) -> Experiment:
    (corpus,) = setup.corpora
    source = corpus.provenance.get("source")
    if source != protocol.name or protocol_of(corpus) is not protocol:
        odd = "some are missing, or there are others" if source == protocol.name else f"the corpus is from {source!r}"
        raise ValueError(
            f"{corpus.path}: {name} compares with results published on {protocol.name}, which needs its "
            f"{sum(map(len, protocol.subject_sets.values()))} subjects; {odd}"
        )
    if setup.units(corpus) != protocol.action_units:
        raise ValueError(
            f"{corpus.path}: {name} needs the action units of {protocol.name}, "
            f"{', '.join(map(str, protocol.action_units))}; found {', '.join(map(str, setup.units(corpus)))}"
        )
    return Experiment(
        name,
        f"F1 on {protocol.name} and published results",
        tuple(_head_row(head, corpus) for head in ("position_temporal", "physics", "image", "physics_image")),
        published=published_rows(protocol),
        notes=(
            "published rows are carried over as printed but for what is marked *; protocols differ a little, and most "
            "of them chose their weights on the test subjects, see the selection of ours",
            _meshes(corpus),
        ),
    )


def published_rows(protocol: Protocol) -> tuple[PublishedRow, ...]:
    """Published rows of a data set: those of the paper in printed order, errors corrected and marked; then averages.

    The averages go up to 2025; they were read where their source says, and have no single action units.
    """
    printed = tuple(
        PublishedRow(
            method=row["method"],
            source=f"{row['authors']}, {row['venue']} {row['year']} (Table {row['table']} of Cui et al., CVPR 2023)",
            f1={unit: float(row[f"AU{unit}"]) for unit in protocol.action_units},
            average=float(row["Avg."]),
            note=row["note"],
        )
        for row in _published(protocol.name.lower())
    )
    averages = tuple(
        PublishedRow(
            method=f"{row['method']} ({row['year']})",
            source=f"average as in {row['read_in']}",
            f1={},
            average=float(row[protocol.name]),
        )
        for row in _published("averages")
    )
    return printed + averages


def _published(name: str) -> Iterator[dict[str, str]]:
    file = files("biomechau.training.experiments") / f"published_{name}.csv"
    yield from csv.DictReader(file.read_text(encoding="utf-8").splitlines())


SHARES = (0.5, 0.2, 0.05)
# All terms of Eq. 17 except that of the action units.
_BESIDE_RECONSTRUCTION = ("clean", "smooth", "slack", "inverse_dynamics")
# Labels of whole units are the only ones that the paper has.
_NO_OTHER_LABELS: dict[str, Any] = {"losses.sides": 0.0, "losses.intensity": 0.0, "detector.intensity_units": None}
ACTION_UNITS_ONLY: dict[str, Any] = {
    **{f"losses.{term}": 0.0 for term in ("reconstruction", *_BESIDE_RECONSTRUCTION)},
    **_NO_OTHER_LABELS,
}


def table4(setup: Setup) -> Experiment:
    """Table 4 of the paper: AU loss alone against all losses, with the labels of a few sequences."""
    return Experiment(
        "table4",
        "Labels of a few sequences",
        tuple(row for share in SHARES for row in _few_label_rows(share)),
        seeds=3,
        fold_of_seed=True,
        units=False,
        notes=(
            "labels are kept or hidden by whole sequences of the training subjects, drawn anew with each seed; the "
            "validation subjects keep theirs",
            '"reconstruction": Eq. 13 alone beside the labels; "all": with the other terms of the objective too',
            'gain: Avg. less that of "AU", run for run',
            "position has no physics: what the coefficients say without it",
        ),
    )


def _few_label_rows(share: float) -> Iterator[Row]:
    percent, name = f"{share:.0%}".replace("%", " %"), f"labels{share * 100:02.0f}"
    for head in ("force", "physics"):
        changes = {"detector.head": head, "label_share": share, **_NO_OTHER_LABELS}
        alone = f"{name}_{head}_au"
        yield Row(alone, f"{percent}, {head}: AU", {**changes, **ACTION_UNITS_ONLY})
        only = {**changes, **{f"losses.{term}": 0.0 for term in _BESIDE_RECONSTRUCTION}}
        yield Row(f"{name}_{head}_reconstruction", f"{percent}, {head}: AU + reconstruction", only, against=alone)
        yield Row(f"{name}_{head}", f"{percent}, {head}: AU + all", changes, against=alone)
    yield Row(f"{name}_position", f"{percent}, position", {**changes, "detector.head": "position"})


def table5(setup: Setup) -> Experiment:
    """Table 5 of the paper, in both directions, over the action units of both corpora.

    Raises:
        ValueError: not two corpora of one rig that share action units.
    """
    if len(setup.corpora) != 2:
        raise ValueError("table5 trains on one corpus and tests on another: give the other one with --other")
    first, second = setup.corpora
    if first.rig_sha256 != second.rig_sha256:
        raise ValueError(
            f"{first.path} and {second.path} have different rigs: expected SHA-256 "
            f"{first.rig_sha256[:12]}..., found {second.rig_sha256[:12]}..."
        )
    shared = tuple(unit for unit in setup.units(first) if unit in second.action_units)
    if not shared:
        raise ValueError(f"{first.path} and {second.path} share no action unit")
    names = _corpus_names(first.path.name, second.path.name)
    fps = f", {first.fps:g} and {second.fps:g} fps; the tested one is resampled to the rate of the trained one"
    return Experiment(
        "table5",
        "Trained on one corpus, tested on all subjects of another",
        tuple(row for way in ((0, 1), (1, 0)) for row in _crossed_rows(way, names, shared)),
        seeds=3,
        fold_of_seed=True,
        notes=(
            f"corpora: {names[0]} and {names[1]}{fps if first.fps != second.fps else ''}",
            'data-driven: without physics; "AU loss only" is the physics network as the paper\'s data-driven model, '
            "without the other losses; gain: Avg. less that of position, temporal, run for run",
            "own threshold: F1 of each action unit at the threshold that is best on the validation subjects; best F1: "
            "at the threshold that is best on the tested labels, which nobody knows; AUC: "
            "area under the receiver operating characteristic, whatever the threshold and the rate of positives",
            "a seed trains on the training subjects of one fold; the fold's own test subjects are not used",
        ),
    )


def _corpus_names(first: str, second: str) -> tuple[str, str]:
    return (first, second) if first != second else (f"{first} (1)", f"{second} (2)")


def _crossed_rows(way: tuple[int, int], names: tuple[str, str], units: tuple[int, ...]) -> Iterator[Row]:
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


# Options and their values; those of the base are the default row.
_FACTORS: dict[str, tuple[Any, ...]] = {
    "detector.physics.law": ("elastic", "newton"),
    "detector.physics.force": ("fibre", "vector"),
    "detector.mass": ("fixed", "region", "spd", "free"),
    "detector.context": (0, 1, 4, 8),
}
# Explicit steps of one frame are unstable with stiffness.
_ALONG_WITH = {("detector.physics.law", "elastic"): {"detector.physics.scheme": "implicit"}}
DEFAULT = "default"


def ablation(setup: Setup) -> Experiment:
    """The default, without each of the losses, and with each other law, kind of force, mass and context."""
    rows = (Row(DEFAULT, DEFAULT, {"detector.head": "physics"}), *_losses(setup.base), *_factors(setup.base))
    return Experiment(
        "ablation",
        "Losses and physics, one change at a time",
        rows,
        units=False,
        notes=("gain: Avg. less that of the default row, run for run",),
    )


def _losses(base: TrainingConfig) -> Iterator[Row]:
    for field in fields(LossWeights):
        if getattr(base.losses, field.name) > 0:
            words = f"without the {field.name.replace('_', ' ')} loss"
            along = {"detector.intensity_units": None} if field.name == "intensity" else {}
            yield _ablation_row(f"no_{field.name}_loss", words, {f"losses.{field.name}": 0.0, **along})
    if base.detector.slack:
        yield _ablation_row("no_slack", "without slack", {"detector.slack": False, "losses.slack": 0.0})


def _factors(base: TrainingConfig) -> Iterator[Row]:
    for path, values in _FACTORS.items():
        now: Any = base
        *_, option = names = path.split(".")
        for name in names:
            now = getattr(now, name)
        for value in values:
            if value != now:
                changes = {path: value, **_ALONG_WITH.get((path, value), {})}
                yield _ablation_row(f"{option}_{value}", f"{option} {value}", changes)


def _ablation_row(name: str, heading: str, changes: dict[str, Any]) -> Row:
    return Row(name, heading, {"detector.head": "physics", **changes}, against=DEFAULT)
