"""Simulated people without habits: what goes with what, left and right, and the family of trackers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from biomechau.corpus import Corpus
from biomechau.corpus.simulator import (
    ACTION_UNITS,
    SimulatedSequence,
    SimulationConfig,
    simulate,
    write_simulated_corpus,
)
from biomechau.corpus.simulator._displays import Actor, Array, EventSides, weak_side
from biomechau.corpus.simulator._performance import STEPS_PER_FRAME, perform
from biomechau.corpus.simulator._tracker_make import TrackerMake
from biomechau.corpus.simulator.muscle_table import COMMANDS, PAIRED, UNITS
from biomechau.corpus.simulator.simulation import people
from biomechau.corpus.simulator.simulation_config import Displays
from biomechau.rig import FaceRig

SIZE = SimulationConfig(subjects=2, sequences=2, frames=48, coarse_vertices=300)
# The recipe of version 0.1.0.
FIRST = replace(SIZE, displays="table", sides="tied", trackers="alike", label_level=None)


@pytest.fixture(scope="module")
def rig() -> FaceRig:
    return FaceRig.builtin(1000)


@pytest.fixture(scope="module")
def many(rig: FaceRig) -> list[SimulatedSequence]:
    """24 people with free sides, who show what the table says, seen by one tracker."""
    return list(simulate(rig, replace(FIRST, subjects=24, sequences=1, frames=48, coarse_vertices=100, sides="free")))


def peaks(displays: Displays, sides: bool = False, count: int = 200) -> Array:
    """(count, C, 2) strongest command of each unit, left and right, in performances of different people."""
    found = []
    for seed in range(count):
        actor = Actor.draw(np.random.default_rng(seed))
        free = np.random.default_rng((1, seed)) if sides else None
        found.append(perform(actor, 108, 25.0, np.random.default_rng((0, seed)), displays, free).expression.max(0))
    return np.stack(found)


def test_the_first_recipe_gives_what_it_gave(rig: FaceRig) -> None:
    """Sums of coefficients, forces and labels of version 0.1.0, where these options were not there."""
    known = [
        (407.87302886802354, 242.4409080147816, 103),
        (445.63836905198696, 241.9367887313624, 221),
        (360.23013529579293, 137.92840145690585, 171),
        (432.41976155512384, 313.8302280915923, 116),
    ]
    for s, (coefficients, forces, labels) in zip(simulate(rig, FIRST), known, strict=True):
        assert s.coefficients.double().sum().item() == pytest.approx(coefficients, rel=1e-5)
        assert s.muscle_forces.double().sum().item() == pytest.approx(forces, rel=1e-5)
        assert s.labels.sum().item() == labels
        assert len(s.muscle_names) == 35
        assert s.valid.all()


@pytest.mark.parametrize(
    "option", [{"sides": "free"}, {"trackers": "varied"}, {"trackers": "posed"}, {"label_level": 0.4}]
)
def test_options_do_not_change_each_other(rig: FaceRig, option: dict[str, object]) -> None:
    """What is shown when, and how the body moves, is the same whatever the tracker and the coders do."""
    for a, b in zip(simulate(rig, FIRST), simulate(rig, replace(FIRST, **option)), strict=True):  # type: ignore[arg-type]
        assert torch.equal(a.activations, b.activations) == ("sides" not in option)
        assert torch.equal(a.coefficients, b.coefficients) == ("label_level" in option)
        assert torch.equal(a.intensities, b.intensities) == ("sides" not in option)


def test_table_ties_units_together_and_mixed_people_less() -> None:
    """How well the other units tell one: R^2 of a linear fit over frames. And how often a unit is there alone."""
    columns = [COMMANDS.index(unit) for unit in ACTION_UNITS]
    told, alone = {}, {}
    for displays in ("table", "mixed", "random"):
        actors = [Actor.draw(np.random.default_rng(seed)) for seed in range(200)]
        plays = [
            perform(actor, 108, 25.0, np.random.default_rng((0, seed)), displays).expression[::STEPS_PER_FRAME].max(-1)
            for seed, actor in enumerate(actors)
        ]
        shown, fits, lonely = np.concatenate(plays), [], []
        for column in columns:
            others = np.delete(shown, column, 1)
            known = np.column_stack([shown[:, [c for c in columns if c != column]], np.ones(len(shown))])
            unknown = shown[:, column]
            rest = unknown - known @ np.linalg.lstsq(known, unknown, rcond=None)[0]
            fits.append(1 - rest.var() / unknown.var())
            on = unknown > 0.4
            lonely.append((on & (others < 0.2).all(1)).sum() / on.sum())
        told[displays], alone[displays] = np.array(fits), np.array(lonely)
    assert (told["mixed"] < told["table"]).mean() > 0.8
    assert told["mixed"].mean() < 0.75 * told["table"].mean()
    assert told["random"].mean() < 0.6 * told["mixed"].mean()
    assert np.median(alone["random"]) > np.median(alone["mixed"]) > 1.2 * np.median(alone["table"])


def test_mixed_people_show_every_movement_at_every_level() -> None:
    strongest = peaks("mixed").max(-1)
    assert (strongest > 0).mean(0).min() > 0.05
    levels = strongest[(strongest > 0) & (strongest < 1)]
    shares = np.histogram(levels, np.linspace(0, 1, 6))[0] / len(levels)
    assert shares.min() > 0.1
    table = peaks("table").max(-1)
    assert not table[:, len(UNITS) :].any()


def test_crowded_people_move_many_units_at_once() -> None:
    counts = {}
    for displays in ("random", "crowded"):
        actors = [Actor.draw(np.random.default_rng(seed)) for seed in range(200)]
        shown = [perform(actor, 4, 25.0, np.random.default_rng((0, k)), displays) for k, actor in enumerate(actors)]
        counts[displays] = np.array([(each.expression.max((0, 2)) > 0).sum() for each in shown])
    assert (counts["crowded"] >= 6).mean() > 0.4 > 0.1 > (counts["random"] >= 6).mean()
    assert counts["crowded"].max() >= 12


def test_single_units_come_alone() -> None:
    """Among short performances with one event, a good share has one unit, and others up to five."""
    counts = []
    for seed in range(400):
        actor = Actor.draw(np.random.default_rng(seed))
        shown = perform(actor, 4, 25.0, np.random.default_rng((0, seed))).expression
        counts.append(int((shown.max((0, 2)) > 0).sum()))
    counts = np.array(counts)[np.array(counts) > 0]
    assert 0.2 < (counts == 1).mean() < 0.6
    assert {1, 2, 3, 4, 5} <= set(counts.tolist())


def test_sides_go_apart_in_every_event() -> None:
    smile, chin = COMMANDS.index(12), COMMANDS.index(17)
    tied, free = peaks("mixed"), peaks("mixed", sides=True)
    assert np.array_equal(tied[..., 0], tied[..., 1])
    assert np.array_equal(free[:, chin, 0], free[:, chin, 1])
    paired = [COMMANDS.index(unit) for unit in COMMANDS if unit in PAIRED]
    shown = free[:, paired][free[:, paired].max(-1) > 0]
    assert 0.08 < (shown.min(-1) == 0).mean() < 0.2
    both = shown[shown.min(-1) > 0]
    assert 0.5 < np.log(both[:, 0] / both[:, 1]).std() < 1.1
    assert abs(np.log(both[:, 0] / both[:, 1]).mean()) < 0.15
    # The same things happen at the same time, as tied sides' generator is another one.
    assert np.array_equal(free[:, smile].max(-1) > 0, tied[:, smile].max(-1) > 0)
    assert np.array_equal(free[:, chin], tied[:, chin])


def test_event_sides_follow_their_law() -> None:
    events = [EventSides.draw(np.random.default_rng(seed)) for seed in range(4000)]
    still = np.array([event.still is not None for event in events])
    assert still.mean() == pytest.approx(0.15, abs=0.02)
    assert np.mean([event.still == 0 for event in events]) == pytest.approx(0.075, abs=0.015)
    factors = np.stack([event.of(12) for event in events])
    assert (factors[still].min(1) == 0).all()
    half = np.log(factors[~still]) @ np.array([0.5, -0.5])
    assert half.std() == pytest.approx(np.hypot(0.30, 0.25), abs=0.02)
    assert factors[~still].prod(1) == pytest.approx(1)
    assert events[0].of(17).tolist() == [1, 1]
    assert EventSides.draw(None).of(12).tolist() == [1, 1]


def test_a_quarter_of_the_people_has_a_weak_side() -> None:
    strengths = np.stack([weak_side(np.random.default_rng(seed)) for seed in range(4000)])
    weak = strengths.min(1) < 1
    assert weak.mean() == pytest.approx(0.25, abs=0.02)
    assert (strengths.max(1) == 1).all()
    left_over = strengths[weak].min(1)
    assert left_over.max() <= 0.6
    assert left_over.mean() == pytest.approx(0.3, abs=0.02)
    assert (strengths[weak].argmin(1) == 0).mean() == pytest.approx(0.5, abs=0.05)


def test_forces_and_intensities_have_the_weak_side(rig: FaceRig, many: list[SimulatedSequence]) -> None:
    config = replace(FIRST, subjects=24, sequences=1, sides="free")
    truth = people(config, rig.names)
    strengths = np.array([[person["left_strength"], person["right_strength"]] for person in truth])
    assert 2 <= (strengths.min(1) < 0.6).sum() <= 14
    names = many[0].muscle_names
    left = [position for position, name in enumerate(names) if name.endswith("_left")]
    right = [names.index(names[position].replace("_left", "_right")) for position in left]
    column = ACTION_UNITS.index(17)
    for s, strength in zip(many, strengths, strict=True):
        force, shown = s.muscle_forces.double().numpy(), s.side_intensities.numpy()
        ratio = force[:, left].sum() / force[:, right].sum()
        if strength.min() < 0.3:
            assert (ratio < 1) == (strength[0] < strength[1])
        gains = force.sum(0) / np.maximum(s.activations.double().numpy().sum(0), 1e-9)
        seen = (gains[left] > 0) & (gains[right] > 0)
        assert np.median(gains[left][seen] / gains[right][seen]) == pytest.approx(strength[0] / strength[1], rel=0.35)
        assert np.array_equal(shown[..., column, 0], shown[..., column, 1])
        assert 0 <= shown.min() <= shown.max() <= 5
        assert shown.max(-1) == pytest.approx(5 * np.minimum(s.intensities.numpy(), 1), abs=1e-5)


def test_left_and_right_forces_are_no_longer_one(many: list[SimulatedSequence], rig: FaceRig) -> None:
    tied = simulate(rig, replace(FIRST, subjects=24, sequences=1, coarse_vertices=100))
    found = []
    for people_ in (many, list(tied)):
        force = torch.cat([s.muscle_forces for s in people_]).numpy()
        pair = [people_[0].muscle_names.index(f"zygomaticus_major_{side}") for side in ("left", "right")]
        found.append(np.corrcoef(force[:, pair].T)[0, 1])
    assert found[0] < 0.9 < found[1]


def test_label_level_is_the_threshold_of_all_units(rig: FaceRig) -> None:
    for s in simulate(rig, replace(SIZE, label_level=0.25)):
        assert torch.equal(s.thresholds, torch.full((12,), 0.25))
        assert torch.equal(s.clean_labels, (s.intensities > 0.25).to(torch.int8))
    with pytest.raises(ValueError, match="label_rate 0.7 scales the rates of BP4D, which label_level 0.4 overrides"):
        SimulationConfig(label_rate=0.7)


def test_trackers_are_a_family() -> None:
    makes = [TrackerMake.draw(45, np.random.default_rng(seed)) for seed in range(1000)]
    for field, bounds in (
        ("smoothing", (0.02, 0.10)),
        ("delay", (0, 0.12)),
        ("lost", (0, 0.12)),
        ("step", (0.004, 0.05)),
    ):
        values = np.array([getattr(make, field) for make in makes])
        assert (values == 0).mean() == pytest.approx(0.4, abs=0.05), field
        assert bounds[0] <= values[values > 0].min() <= values.max() <= bounds[1], field
    assert np.median([make.noise for make in makes]) == pytest.approx(1, abs=0.1)
    assert 0 <= min(make.crosstalk for make in makes) < max(make.crosstalk for make in makes) <= 1.5
    dead = [len(make.dead) for make in makes]
    assert np.mean(dead) == pytest.approx(0.8, abs=0.1)
    assert all(0 <= channel < 45 for make in makes for channel in make.dead)


def test_each_property_of_a_tracker() -> None:
    rng = np.random.default_rng(0)
    seen = np.cumsum(0.1 * rng.standard_normal((100, 4)), 0)
    as_it_is, valid = TrackerMake().deliver(seen, 25.0, np.random.default_rng(1))
    assert np.array_equal(as_it_is, seen)
    assert valid.all()

    step = np.zeros((50, 1))
    step[10:] = 1
    smooth = TrackerMake(smoothing=0.08).deliver(step, 25.0, rng)[0][:, 0]
    assert smooth[9] == 0
    assert smooth[11] == pytest.approx(1 - np.exp(-1), abs=1e-9)  # two frames of 40 ms
    assert TrackerMake(smoothing=0.08).deliver(np.ones((5, 1)), 25.0, rng)[0] == pytest.approx(1)

    late = TrackerMake(delay=0.10).deliver(np.arange(50.0)[:, None], 25.0, rng)[0][:, 0]
    assert late[10:] == pytest.approx(np.arange(10, 50) - 2.5)
    assert late[0] == 0

    stepped = TrackerMake(step=0.05).deliver(seen, 25.0, rng)[0]
    assert stepped / 0.05 == pytest.approx(np.rint(stepped / 0.05))
    assert np.abs(stepped - seen).max() <= 0.025 + 1e-12

    dead = TrackerMake(dead=(1, 3)).deliver(seen, 25.0, rng)[0]
    assert not dead[:, [1, 3]].any()
    assert np.array_equal(dead[:, [0, 2]], seen[:, [0, 2]])


def test_lost_frames_hold_the_last_value_and_are_not_valid() -> None:
    seen = np.arange(20_000.0)[:, None]
    held, valid = TrackerMake(lost=0.1).deliver(seen, 25.0, np.random.default_rng(0))
    assert 1 - valid.mean() == pytest.approx(0.1, abs=0.02)
    assert np.array_equal(held[valid], seen[valid])
    gap = np.flatnonzero(~valid)
    assert (held[gap, 0] < gap).all() or not valid[0]
    edges = np.diff(np.concatenate([[0], ~valid, [0]]).astype(int))
    assert (np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)).mean() == pytest.approx(5, abs=0.8)
    everything = TrackerMake(lost=1.0).deliver(seen[:30], 10.0, np.random.default_rng(0))[1]
    assert everything.any()


def test_the_truth_is_in_the_corpus(rig: FaceRig, tmp_path: Path) -> None:
    write_simulated_corpus(rig, tmp_path / "corpus", SIZE)
    corpus = Corpus.open(tmp_path / "corpus")
    truth = corpus.provenance["people"]
    assert truth == people(SIZE, rig.names)
    assert [person["subject"] for person in truth] == list(corpus.subjects)
    for person in truth:
        for id in corpus.ids:
            if id.startswith(person["subject"]):
                dead = rig.shape_indices(person["tracker"]["dead"])
                assert not corpus[id].coefficients[:, dead].any()
                assert corpus[id].valid.all() or person["tracker"]["lost"]
    assert corpus[corpus.ids[0]].tensors["side_intensities"].shape == (48, 12, 2)
    write_simulated_corpus(rig, tmp_path / "again", SIZE)
    for path in sorted((tmp_path / "corpus").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "corpus")).read_bytes()


def test_side_intensities_of_another_shape_are_refused(rig: FaceRig, tmp_path: Path) -> None:
    from biomechau.corpus import CorpusWriter

    write_simulated_corpus(rig, tmp_path / "corpus", replace(SIZE, subjects=1, sequences=1, frames=8))
    corpus = Corpus.open(tmp_path / "corpus")
    sequence = corpus[corpus.ids[0]]
    with CorpusWriter(tmp_path / "other", rig, corpus.action_units, 25.0, muscles=corpus.muscles) as writer:
        with pytest.raises(
            ValueError, match=r"tensor side_intensities: expected shape \(T, 12, 2\), found \(T, 12, 3\)"
        ):
            writer.add(replace(sequence, side_intensities=torch.zeros(8, 12, 3)))
        writer.add(sequence)
