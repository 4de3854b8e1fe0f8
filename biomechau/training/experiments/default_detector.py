"""The default detector, which ships with the package: how it is trained on simulated people, tested and described."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from biomechau.corpus import Corpus, CorpusSequence, CorpusWriter, Fold
from biomechau.corpus.simulator import SimulationConfig, simulate
from biomechau.files import staged_directory
from biomechau.json_file import read_json_object
from biomechau.models import Detector, DetectorConfig
from biomechau.rig import FaceRig, Muscles
from biomechau.threads import one_thread
from biomechau.training._movements import (
    Movement,
    movement_probabilities,
    named_rightly,
    paired_movements,
    single_movements,
)
from biomechau.training.cross_validation import CrossValidation
from biomechau.training.evaluation import SUMMARY, evaluate
from biomechau.training.experiments._detector_card import card_text
from biomechau.training.experiments._one_sided import one_sided_scores
from biomechau.training.fold_training import train
from biomechau.training.run import CONFIG, PROTOCOL, THRESHOLDS, Run
from biomechau.training.training_config import TrainingConfig

MOVEMENTS, TEXT = "movements.json", "card.md"

# On from a coefficient of about 0.35: a visible intensity of 0.5 moves a shape about so far, where the tissue blurs it.
_PEOPLE = SimulationConfig(sequences=4, coarse_vertices=300, label_level=0.5, action_units="all")
_POSED = replace(_PEOPLE, trackers="posed")
_TESTED = replace(_PEOPLE, subjects=24)
# Their trackers fit shapes: a full dimple reaches 0.4, beside a smile less.
_FITTED = (
    replace(_PEOPLE, subjects=96, displays="random", hardness=0.5, seed=11),
    replace(_PEOPLE, subjects=84, displays="random", hardness=1.0, seed=12),
    replace(_PEOPLE, subjects=36, hardness=1.0, seed=13),
    replace(_PEOPLE, subjects=24, hardness=2.0, seed=14),
)
# Of a former recipe, which knew the action units of BP4D alone.
FITTED_PEOPLE = tuple(replace(config, action_units="bp4d") for config in _FITTED)


@dataclass(frozen=True)
class Recipe:
    """What the default detector is made of; the defaults are those of the one that ships.

    Attributes:
        num_vertices: of the built-in face.
        people: corpora of simulated people to train on, and to choose the weights by every sixth of them; those of the
            recipe before there were trackers calibrated to poses are ``FITTED_PEOPLE``. The detector knows the action
            units that the first of them has labelled, and so do the tests.
        tests: corpora to test on, by what the people show; one for each seed.
        main_test: the one whose F1 is shown beside the units of a prediction.
        seeds: of the tests.
        training: of the detector.
    """

    num_vertices: int = 1000
    people: tuple[SimulationConfig, ...] = (
        replace(_FITTED[0], subjects=60),
        *_FITTED[1:],
        replace(_PEOPLE, subjects=36, hardness=1.0, seed=15),
        replace(_POSED, subjects=36, displays="random", hardness=0.5, seed=21),
        replace(_POSED, subjects=30, displays="random", hardness=1.0, seed=22),
        replace(_POSED, subjects=36, hardness=1.0, seed=23),
        replace(_POSED, subjects=60, displays="crowded", hardness=0.5, seed=24),
        replace(_POSED, subjects=42, displays="crowded", hardness=1.0, seed=25),
    )
    tests: Mapping[str, SimulationConfig] = field(
        default_factory=lambda: {
            "mixed": replace(_TESTED, hardness=1.0),
            "harder": replace(_TESTED, hardness=2.0),
            "calibrated trackers": replace(_TESTED, hardness=1.0, trackers="posed"),
            "displays alone": replace(_TESTED, hardness=1.0, displays="table", sides="tied", trackers="alike"),
        }
    )
    main_test: str = "mixed"
    seeds: tuple[int, ...] = (101, 102, 103)
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            detector=DetectorConfig(
                action_units=_PEOPLE.labelled,
                intensity_units=_PEOPLE.labelled,
                hidden=64,
                head_hidden=64,
                context=3,
                dropout=0.0,
            ),
            batch_size=48,
            epochs=20,
            learning_rate=5e-3,
            weight_decay=1e-2,
            seed=1,
            accelerator="cpu",
        )
    )

    @property
    def action_units(self) -> tuple[int, ...]:
        """Those that the detector knows."""
        return self.people[0].labelled

    def of_its_units(self) -> Recipe:
        """The recipe with tests and a detector of the units that its people have labelled."""
        known = self.people[0].action_units
        units = {"action_units": self.action_units, "intensity_units": self.action_units}
        return replace(
            self,
            tests={name: replace(config, action_units=known) for name, config in self.tests.items()},
            training=replace(self.training, detector=replace(self.training.detector, **units)),
        )


def make_default_detector(
    out: str | Path, recipe: Recipe | None = None, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Simulate people, train on them, test on others, and write it all down.

    The same recipe gives the same bytes on machines of one kind with the same versions of torch and numpy: everything
    random has a seed, and one thread does the sums.

    Args:
        out: folder to make or to replace the files of: a run, as :func:`biomechau.training.train` makes them, without
            its checkpoints, with ``evaluation.json`` of the tests, ``movements.json`` and ``card.md``.
        recipe: the parts and sizes; those of the detector that ships if not given.
        progress: called with (steps done, steps in all).

    Returns:
        The contents of ``movements.json``.

    Raises:
        OSError: ``out`` cannot be written.
        ValueError: people too few to train on every action unit.
    """
    recipe = Recipe() if recipe is None else recipe
    recipe = recipe.of_its_units()
    report = progress or (lambda done, total: None)
    num_tests = len(recipe.tests) * len(recipe.seeds)
    total, done = 2 + num_tests, 0
    rig = FaceRig.builtin(recipe.num_vertices)
    with TemporaryDirectory() as folder, one_thread():
        work = Path(folder)
        report(done, total)
        corpus = write_people(work / "people", rig, recipe.people)
        report(done := done + 1, total)
        run = train(corpus, _fold(corpus), recipe.training, work / "run", progress=False)
        report(done := done + 1, total)
        tested: dict[str, CrossValidation] = {}
        main: list[Corpus] = []
        for name, config in recipe.tests.items():
            evaluations = {}
            for seed in recipe.seeds:
                people = write_people(work / f"test{done}", rig, [replace(config, seed=seed)])
                evaluations[seed] = evaluate(run, people, people.subjects)
                main += [people] if name == recipe.main_test else []
                report(done := done + 1, total)
            tested[name] = CrossValidation(evaluations, same_corpus=False)
        detector = run.detector()
        found = {**describe_movements(detector), "one_side_alone": one_sided_scores(detector, main)}
        _write(Path(out), run, tested, found, recipe)
    return found


def write_people(path: Path, rig: FaceRig, people: Iterable[SimulationConfig]) -> Corpus:
    """Simulated people of several corpora in one, with the true action units and intensities of each side.

    Action units that share all their muscles are labelled together: no shape tells them apart.
    """
    people = list(people)
    (units,) = {config.labelled for config in people}
    with CorpusWriter(path, rig, units, _fps(people), provenance=_provenance(people, units)) as writer:
        for number, config in enumerate(people, 1):
            for s in simulate(rig, config):
                subject = f"P{number}{s.subject}"
                writer.add(
                    CorpusSequence(
                        f"{subject}_{s.task}",
                        subject,
                        s.task,
                        s.coefficients,
                        together(s.labels, units),
                        s.timestamp,
                        s.valid,
                        side_labels=together(s.side_labels, units),
                        side_intensities=together(s.side_intensities, units),
                    )
                )
    return Corpus.open(path)


def together(labels: Tensor, action_units: Sequence[int]) -> Tensor:
    """Labels or intensities (T, R, ...) in which units that share all their muscles have the largest value of these."""
    joined = labels.clone()
    for units in shared_units(action_units):
        columns = [action_units.index(unit) for unit in units]
        joined[:, columns] = labels[:, columns].amax(1, keepdim=True)
    return joined


def shared_units(action_units: Iterable[int]) -> list[tuple[int, ...]]:
    """Groups of these action units that have the same muscles and are thus told by the same shapes: AU23 and AU24."""
    muscles = Muscles.facs()
    groups: dict[frozenset[str], list[int]] = {}
    for unit in action_units:
        own = frozenset(muscle.identifier for muscle in muscles if unit in muscle.action_units and muscle.shapes)
        groups.setdefault(own, []).append(unit)
    return [tuple(units) for own, units in groups.items() if own and len(units) > 1]


def describe_movements(detector: Detector) -> dict[str, Any]:
    """The contents of ``movements.json``: what a detector says of each shape alone, and of every two.

    Of each group of movements: ``rightly``, the share of those whose units and no others are named, and of each of them
    ``units``, the ones it shows, and ``percent``, the probabilities in the order of ``action_units``.
    """
    units, names = detector.config.action_units, detector.dynamics.shape_names
    single = single_movements(names)
    groups = {
        "single": single,
        "one_sided": single_movements(names, one_sided=True),
        "paired": paired_movements(single),
    }
    return {"action_units": list(units), **{name: _group(detector, moved) for name, moved in groups.items()}}


def _group(detector: Detector, movements: Sequence[Movement]) -> dict[str, Any]:
    units = detector.config.action_units
    found = movement_probabilities(detector, movements)
    return {
        "rightly": float(named_rightly(found, movements, units).double().mean()),
        "movements": {
            movement.name: {
                "units": sorted(movement.units.intersection(units)),
                "percent": [round(100 * p) for p in row],
            }
            for movement, row in zip(movements, found.tolist(), strict=True)
        },
    }


def _fold(corpus: Corpus) -> Fold:
    """Every sixth subject chooses the weights, one more is the fold's test; others test the detector."""
    validation = corpus.subjects[::6]
    test = corpus.subjects[1:2]
    return Fold(tuple(s for s in corpus.subjects if s not in {*validation, *test}), validation, test)


def _fps(people: Iterable[SimulationConfig]) -> float:
    (fps,) = {config.fps for config in people}
    return fps


def _provenance(people: Iterable[SimulationConfig], action_units: Sequence[int]) -> dict[str, Any]:
    return {
        "source": "biomechau simulator",
        "simulations": [config.to_json() for config in people],
        "together": [list(units) for units in shared_units(action_units)],
    }


def _write(out: Path, run: Run, tested: Mapping[str, CrossValidation], found: dict[str, Any], recipe: Recipe) -> None:
    seeds = ", ".join(map(str, recipe.seeds))
    main = tested[recipe.main_test].summary()
    for fold in main["folds"].values():
        # The protocol of the run is beside it, the people are in the card, and the means of these are above.
        fold |= {"protocol": {}, "sides": {}, "intensities": []}
    main["tested_on"] = f"simulated people that it was not trained on (seeds {seeds})"
    tests = {name: (recipe.tests[name], result) for name, result in tested.items()}
    text = card_text(recipe.training, recipe.people, shared_units(recipe.action_units), tests, found)
    with staged_directory(out) as stage:
        for name in (CONFIG, THRESHOLDS, *Detector.FILES):
            if name.endswith(".json"):
                _save_small(read_json_object(run.path / name), stage / name)
            else:
                shutil.copyfile(run.path / name, stage / name)
        _save_small(read_json_object(run.path / PROTOCOL), stage / PROTOCOL)
        short = json.loads(json.dumps(main), parse_float=lambda text: round(float(text), 5))
        _save_small(short, stage / SUMMARY)
        _save_small(found, stage / MOVEMENTS)
        (stage / TEXT).write_text(text, encoding="utf-8")


def _save_small(values: dict[str, Any], path: Path) -> None:
    """Without white space: the package stays small."""
    path.write_text(json.dumps(values, separators=(",", ":")) + "\n", encoding="utf-8")
