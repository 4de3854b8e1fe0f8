"""The default detector: what ships is small, whole and described, names units, and is made again by its recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from biomechau.analysis import predict
from biomechau.corpus import FaceSequence, read_sequence
from biomechau.corpus.simulator import ACTION_UNITS, SimulationConfig
from biomechau.models import Detector
from biomechau.rig.names import mirror_order
from biomechau.training import open_runs
from biomechau.training._movements import movement_probabilities, single_movements
from biomechau.training.evaluation_entries import read_intensities, read_scores, read_sides
from biomechau.training.experiments.default_detector import (
    MOVEMENTS,
    TEXT,
    Recipe,
    describe_movements,
    make_default_detector,
    shared_units,
    together,
)
from biomechau.training.run import DEFAULT_RUN

UNITS = SimulationConfig(action_units="all").labelled


@pytest.fixture(scope="module")
def detector() -> Detector:
    (run,) = open_runs(DEFAULT_RUN).values()
    return run.detector()


def test_what_ships_is_a_whole_run_below_a_megabyte() -> None:
    files = {path.name: path.stat().st_size for path in DEFAULT_RUN.iterdir()}
    assert set(files) == {
        *("config.json", "protocol.json", "thresholds.json", "evaluation.json", MOVEMENTS, TEXT),
        *("detector.json", "detector.safetensors", "rig.safetensors"),
    }
    assert sum(files.values()) < 1_000_000
    card = json.loads((DEFAULT_RUN / "protocol.json").read_text())
    assert card["corpus"]["source"] == "biomechau simulator"


def test_the_card_says_what_it_is_and_what_it_reached() -> None:
    text = (DEFAULT_RUN / TEXT).read_text(encoding="utf-8")
    assert "trained on simulated people alone and has seen no labelled real face" in text
    scores = read_scores(DEFAULT_RUN / "evaluation.json")
    assert len(scores["folds"]) >= 3
    for unit in scores["action_units"]:
        assert f"{100 * unit['f1']:.1f} +- " in text
        assert unit["f1"] > 1.5 * unit["always_positive_f1"]
    assert "AU23 and AU24 have one muscle" in text


def test_it_names_units_and_not_habits(detector: Detector) -> None:
    """The matrix of the card: of ten movements of one or two shapes at least nine are named rightly."""
    found, written = describe_movements(detector), json.loads((DEFAULT_RUN / MOVEMENTS).read_text())
    assert found["action_units"] == written["action_units"] == list(UNITS)
    text = (DEFAULT_RUN / TEXT).read_text(encoding="utf-8")
    for group in ("single", "one_sided", "paired"):
        assert found[group]["rightly"] >= 0.9, group
        assert found[group]["movements"].keys() == written[group]["movements"].keys()
        for name, row in found[group]["movements"].items():
            assert row["units"] == written[group]["movements"][name]["units"]
            assert row["percent"] == pytest.approx(written[group]["movements"][name]["percent"], abs=2)
            assert group == "paired" or f"| {name} | " in text
    shown = {unit for row in found["single"]["movements"].values() for unit in row["units"]}
    assert shown == set(UNITS)


def test_nothing_is_on_in_a_face_at_rest(detector: Detector) -> None:
    still = torch.zeros(50, detector.dynamics.num_shapes)
    with torch.no_grad():
        assert detector({"coefficients": still}).probabilities.max() < 0.5


def test_a_mirrored_recording_gives_the_same_units(detector: Detector) -> None:
    movements = single_movements(detector.dynamics.shape_names, one_sided=True)
    order = mirror_order(detector.dynamics.shape_names)
    mirrored = [replace(movement, shapes=tuple(order[k] for k in movement.shapes)) for movement in movements]
    first, second = movement_probabilities(detector, movements), movement_probabilities(detector, mirrored)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def test_a_movement_of_one_side_is_said_of_that_side(detector: Detector) -> None:
    movements = single_movements(detector.dynamics.shape_names, one_sided=True)
    motion = torch.stack([each.coefficients(detector.dynamics.num_shapes, 25.0) for each in movements])
    with torch.no_grad():
        output = detector({"coefficients": motion})
    assert output.side_probabilities is not None
    held = output.side_probabilities[:, 30:45].mean(1)
    rightly, shown = 0, 0
    for movement, sides in zip(movements, held, strict=True):
        own = 0 if movement.name.endswith("_L") else 1
        for unit in movement.units.intersection(detector.paired_units):
            row = sides[detector.config.action_units.index(unit)]
            rightly, shown = rightly + int(row[own] >= 0.5 and row[1 - own] < 0.5), shown + 1
    assert shown == 26
    assert rightly >= 0.9 * shown


def test_left_and_right_are_told_apart_and_intensities_agree() -> None:
    """The figures of the card: where one side alone is on, and the agreement with the visible intensity."""
    scores = read_scores(DEFAULT_RUN / "evaluation.json")
    for side in read_sides(scores).values():
        assert [unit.action_unit for unit in side.units] == [1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 20, 45]
        assert all(unit.auc is not None and unit.auc >= 0.9 for unit in side.units)
    alone = json.loads((DEFAULT_RUN / MOVEMENTS).read_text())["one_side_alone"]
    assert all(unit["auc"] >= 0.8 and unit["rightly"] >= 0.8 for unit in alone.values())
    intensities = read_intensities(scores)
    assert [score.action_unit for score in intensities] == list(UNITS)
    for score in intensities:
        assert score.icc is not None
        assert score.scaled_icc is not None
        assert score.icc > 0.4
    text = (DEFAULT_RUN / TEXT).read_text(encoding="utf-8")
    assert "## Left and right" in text
    assert "## Intensities" in text


def captured(channels: dict[str, Tensor]) -> FaceSequence:
    values = torch.stack(list(channels.values()), 1)
    time, valid = torch.arange(len(values)).double() / 25, torch.ones(len(values), dtype=torch.bool)
    return FaceSequence("made", values, tuple(channels), time, valid, fps=25.0)


def test_it_takes_any_channels_of_arkit_by_name(detector: Detector) -> None:
    """Some channels, in any spelling and order: those that are missing count as 0, and their units are marked."""
    up = torch.cat([torch.zeros(15), torch.linspace(0, 0.8, 10), torch.full((25,), 0.8), torch.zeros(10)])
    prediction = predict(DEFAULT_RUN, captured({"MouthSmileRight": up, "browDown_L": 0 * up, "mouth_smile_left": up}))
    units = prediction.action_units
    on = (prediction.probabilities[30:50] >= 0.5).double().mean(0)
    assert on[units.index(12)] == 1
    assert on.sum() == 1
    assert prediction.intensities is not None
    strength = prediction.intensities[:, units.index(12)]
    assert strength[30:50].mean() > 3
    assert strength[:10].mean() < 0.5
    rows = prediction.summary()["action_units"]
    assert {name for name, row in rows.items() if row["measured"]} == {"AU12", "AU04"}
    assert rows["AU12"]["test_f1"] is not None


def test_a_real_capture(capture_csv: Path, detector: Detector) -> None:
    """No unit is on for half of the frames while its channels stay below .33, nor off where one reaches .6.

    One falls short of that, as the card says, and is held to less: AU4 in a wink, with one brow at .63 and the other
    at .37.
    """
    prediction = predict(DEFAULT_RUN, read_sequence(capture_csv, detector.rig))
    names, valid = detector.dynamics.shape_names, prediction.sequence.valid
    movements = single_movements(names)
    for column, unit in enumerate(prediction.action_units):
        own = [shape for movement in movements if unit in movement.units for shape in movement.shapes]
        channel, p = prediction.coefficients[valid][:, own].amax(1), prediction.probabilities[valid, column]
        if channel.max() < 0.33:
            assert (p >= 0.5).double().mean() < 0.5, unit
        high = channel >= 0.6
        assert (p[high] >= 0.5).double().mean() >= (0.75 if unit == 4 else 0.9) if high.any() else True, unit


def test_units_with_one_muscle_are_labelled_together() -> None:
    assert shared_units(UNITS) == [(23, 24)]
    assert shared_units((1, 2, 23)) == []
    labels = torch.zeros(3, 12, dtype=torch.int8)
    labels[0, ACTION_UNITS.index(23)] = labels[1, ACTION_UNITS.index(24)] = labels[2, 0] = 1
    joined = together(labels, ACTION_UNITS)
    assert joined[:, [ACTION_UNITS.index(23), ACTION_UNITS.index(24)]].tolist() == [[1, 1], [1, 1], [0, 0]]
    assert joined[:, 0].tolist() == [0, 0, 1]


@pytest.mark.slow
def test_the_recipe_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    whole = Recipe()
    tiny = {"subjects": 10, "sequences": 2, "frames": 48, "coarse_vertices": 100}
    tiny |= {"displays": "crowded", "label_level": 0.05}  # so that every unit is on at some time
    recipe = replace(
        whole,
        people=(replace(whole.people[0], **tiny),),
        tests={"others": replace(whole.people[0], **tiny)},
        main_test="others",
        seeds=(1, 2),
        training=replace(whole.training, epochs=1, detector=replace(whole.training.detector, hidden=8, head_hidden=8)),
    )
    steps = []
    make_default_detector(tmp_path / "a", recipe, lambda done, total: steps.append((done, total)))
    make_default_detector(tmp_path / "b", recipe)
    assert steps == [(done, 4) for done in range(5)]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {path.name for path in DEFAULT_RUN.iterdir()}
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    Detector.load(tmp_path / "a")
