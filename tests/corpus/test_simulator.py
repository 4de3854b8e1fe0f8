"""The simulator as a whole: reproducible, in the ranges it promises, and written as a corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biomechau.commands.simulate import Simulate
from biomechau.corpus import Corpus
from biomechau.corpus.simulator import (
    ACTION_UNITS,
    SimulatedSequence,
    SimulationConfig,
    simulate,
    write_simulated_corpus,
)
from biomechau.corpus.simulator._tracker import tracked_names
from biomechau.corpus.simulator.muscle_table import find_muscles
from biomechau.rig import FaceRig, Muscles

CONFIG = SimulationConfig(subjects=2, sequences=1, frames=48, coarse_vertices=300)
TENSORS = (
    *("coefficients", "labels", "timestamp", "valid", "muscle_forces"),
    *("activations", "intensities", "side_intensities", "side_labels", "thresholds", "clean_labels"),
)


@pytest.fixture(scope="module")
def rig() -> FaceRig:
    return FaceRig.builtin(1000)


@pytest.fixture(scope="module")
def sequences(rig: FaceRig) -> list[SimulatedSequence]:
    return list(simulate(rig, CONFIG))


def assert_same(first: list[SimulatedSequence], second: list[SimulatedSequence]) -> None:
    for a, b in zip(first, second, strict=True):
        assert (a.id, a.subject, a.task, a.muscle_names) == (b.id, b.subject, b.task, b.muscle_names)
        for name in TENSORS:
            assert torch.equal(getattr(a, name), getattr(b, name)), name


def with_threads(rig: FaceRig, count: int) -> list[SimulatedSequence]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        result = list(simulate(rig, CONFIG))
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    return result


def test_same_seed_same_bytes_for_any_number_of_threads(rig, sequences):
    assert_same(sequences, with_threads(rig, 1))
    assert_same(sequences, with_threads(rig, 2))


def test_another_seed_differs(rig, sequences):
    for a, b in zip(sequences, simulate(rig, replace(CONFIG, seed=1)), strict=True):
        assert not torch.equal(a.coefficients, b.coefficients)
        assert not torch.equal(a.muscle_forces, b.muscle_forces)


def test_more_subjects_leave_the_motion_of_the_first_ones_alone(rig, sequences):
    more = list(simulate(rig, replace(CONFIG, subjects=3)))
    assert len(more) == 3
    for a, b in zip(sequences, more, strict=False):
        assert torch.equal(a.coefficients, b.coefficients)


def test_shapes_dtypes_and_ranges(rig, sequences):
    assert [(s.id, s.subject, s.task) for s in sequences] == [("S001_T1", "S001", "T1"), ("S002_T1", "S002", "T1")]
    for s in sequences:
        num_muscles = len(s.muscle_names)
        for name, dtype, shape in (
            ("coefficients", torch.float32, (48, rig.num_shapes)),
            ("labels", torch.int8, (48, 12)),
            ("clean_labels", torch.int8, (48, 12)),
            ("timestamp", torch.float64, (48,)),
            ("valid", torch.bool, (48,)),
            ("muscle_forces", torch.float32, (48, num_muscles)),
            ("activations", torch.float32, (48, num_muscles)),
            ("intensities", torch.float32, (48, 12)),
            ("side_intensities", torch.float32, (48, 12, 2)),
            ("side_labels", torch.int8, (48, 12, 2)),
            ("thresholds", torch.float32, (12,)),
        ):
            assert getattr(s, name).dtype == dtype, name
            assert getattr(s, name).shape == shape, name
        assert s.coefficients.isfinite().all()
        assert -1 < s.coefficients.min() < 0.3 < s.coefficients.max() < 2.5
        assert set(s.labels.unique().tolist()) <= {0, 1}
        assert (s.muscle_forces >= 0).all()
        assert s.muscle_forces.max() > 0.1
        assert 0 <= s.activations.min() <= s.activations.max() <= 1.2
        assert torch.equal(s.timestamp, torch.arange(48, dtype=torch.float64) / 25)
        assert s.valid.any()
    assert any(s.labels.any() for s in sequences)


def test_progress_counts_sequences(rig):
    seen = []
    config = replace(CONFIG, sequences=2, frames=8)
    assert len(list(simulate(rig, config, lambda done, total: seen.append((done, total))))) == 4
    assert seen == [(0, 4), (2, 4), (4, 4)]


def test_clean_labels_are_intensity_above_threshold_and_coders_mostly_agree(rig):
    size = SimulationConfig(subjects=6, sequences=4, frames=96, coarse_vertices=200, displays="table", label_level=None)
    sequences = list(simulate(rig, size))
    clean, coded = (torch.cat([getattr(s, name) for s in sequences]) for name in ("clean_labels", "labels"))
    for s in sequences:
        assert torch.equal(s.clean_labels, (s.intensities > s.thresholds).to(torch.int8))
    both = (clean * coded).sum().item()
    f1 = 2 * both / (clean.sum() + coded.sum()).item()
    assert 0.85 < f1 < 0.97
    # AU6, 7, 10 and 12 are on in about half of the frames, AU2 and 24 seldom.
    rates = dict(zip(ACTION_UNITS, coded.double().mean(0).tolist(), strict=True))
    assert min(rates[6], rates[7], rates[10], rates[12]) > 0.25 > max(rates[2], rates[24])


def test_forces_are_activations_times_one_gain_per_person_and_muscle(sequences):
    for s in sequences:
        active = s.activations > 0.01
        gain = torch.where(active, s.muscle_forces / s.activations, torch.nan)
        spread = gain.nan_to_num(-torch.inf).amax(0) - gain.nan_to_num(torch.inf).amin(0)
        assert active.any(0).sum() > 3
        assert (spread[active.any(0)] < 1e-4).all()
    gains = [(s.muscle_forces.sum(0) / s.activations.sum(0)) for s in sequences]
    assert not torch.allclose(gains[0], gains[1], equal_nan=True)


def test_muscles_are_those_of_the_package_where_they_exist(sequences, rig):
    names = sequences[0].muscle_names
    known = Muscles.facs().match(rig.names).muscles.names
    own = {muscle.name for muscle in find_muscles(rig.names, rig.names, others=False)}
    assert len(set(names)) == len(names) == len(own) + 10
    assert len(own) == 35
    assert own - set(known) == {"orbicularis_oris_marginalis"}
    assert {"zygomaticus_major_left", "zygomaticus_major_right", "digastric"} <= set(names)


def test_unsplit_shapes_make_one_muscle_for_both_sides(rig):
    names = [name.replace("browInnerUp_L", "browInnerUp") for name in rig.names if name != "browInnerUp_R"]
    muscles = {muscle.name: muscle for muscle in find_muscles(names, names)}
    assert muscles["frontalis_medialis"].shapes == {names.index("browInnerUp"): 1.0}
    assert "frontalis_medialis_left" not in muscles


def test_identity_modes_are_used_where_the_rig_has_them(rig, sequences):
    generator = torch.Generator().manual_seed(0)
    identity = 0.1 * torch.randn(3, *rig.neutral.shape, generator=generator)
    other = next(simulate(replace(rig, identity=identity, identity_names=("a", "b", "c")), CONFIG))
    assert torch.equal(other.clean_labels, sequences[0].clean_labels)
    assert not torch.equal(other.coefficients, sequences[0].coefficients)


def test_shapes_that_are_not_tracked_stay_zero(rig):
    rig = replace(
        rig,
        blendshapes=torch.cat([rig.blendshapes, rig.blendshapes[:2], torch.zeros_like(rig.blendshapes[:1])]),
        names=(*rig.names, "eyeLookUp_L", "cheekRaiser_L", "tongueOut"),
    )
    assert tracked_names(rig) == list(rig.names[:-3])
    first = next(simulate(rig, replace(CONFIG, trackers="alike")))
    assert not first.coefficients[:, -3:].any()
    assert first.coefficients[:, :-3].any(0).all()


def test_written_corpus_holds_the_simulated_sequences(rig, sequences, tmp_path: Path):
    write_simulated_corpus(rig, tmp_path / "corpus", CONFIG)
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.action_units == ACTION_UNITS
    assert corpus.fps == 25
    assert corpus.shapes == rig.names
    assert corpus.provenance["simulation"]["seed"] == 0
    for written, simulated in zip(corpus, sequences, strict=True):
        assert (written.id, written.subject, written.task) == (simulated.id, simulated.subject, simulated.task)
        assert corpus.muscles == simulated.muscle_names
        for name in (
            "coefficients",
            "labels",
            "timestamp",
            "valid",
            "muscle_forces",
            "side_intensities",
            "side_labels",
        ):
            assert torch.equal(getattr(written, name), getattr(simulated, name)), name
    with pytest.raises(FileExistsError, match="corpus exists"):
        write_simulated_corpus(rig, tmp_path / "corpus", CONFIG)


def test_command_writes_the_corpus_and_says_so(sequences, tmp_path: Path, capsys):
    Simulate(out=tmp_path / "corpus", rig="builtin:1000", simulation=CONFIG).run()
    assert capsys.readouterr().out == f"{tmp_path / 'corpus'}: 2 subjects, 2 sequences, 96 frames\n"
    assert torch.equal(Corpus.open(tmp_path / "corpus")["S002_T1"].labels, sequences[1].labels)


@pytest.mark.slow
def test_vertices_in_one_place_do_no_harm(rig):
    """Every vertex of the rig twice, as a mesh that is cut along its seams has them."""
    offset = rig.faces + rig.num_vertices
    double = FaceRig(
        neutral=rig.neutral.repeat(2, 1),
        faces=torch.cat([rig.faces, torch.stack([rig.faces[:, 0], offset[:, 1], offset[:, 2]], 1)]),
        blendshapes=rig.blendshapes.repeat(1, 2, 1),
        names=rig.names,
    )
    config = replace(CONFIG, frames=8, coarse_vertices=2000)
    for s in simulate(double, config):
        assert s.coefficients.isfinite().all()


def test_rig_without_facs_shapes_is_refused_before_anything_is_written(tiny_rig, tmp_path: Path):
    with pytest.raises(ValueError, match="AU2 needs browOuterUp_L, browOuterUp_R; AU6 needs cheekSquint_L"):
        simulate(tiny_rig, CONFIG)
    with pytest.raises(ValueError, match="no moving shapes for action units"):
        write_simulated_corpus(tiny_rig, tmp_path / "corpus", CONFIG)
    assert not list(tmp_path.iterdir())


def test_a_shape_that_does_not_move_is_a_missing_one(rig):
    still = rig.blendshapes.clone()
    still[rig.shape_indices(["mouthFrown_L"])] = 0
    with pytest.raises(ValueError, match="AU15 needs mouthFrown_L"):
        simulate(replace(rig, blendshapes=still), CONFIG)


def test_more_action_units_can_be_labelled(rig, sequences):
    """The same people, with labels of lids, nose, stretched lips and jaw beside those of BP4D."""
    config = replace(CONFIG, frames=200, action_units="all")
    plain, more = (list(simulate(rig, c)) for c in (replace(config, action_units="bp4d"), config))
    assert config.labelled == (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 26, 45)
    own = [config.labelled.index(unit) for unit in ACTION_UNITS]
    for a, b in zip(plain, more, strict=True):
        assert torch.equal(a.coefficients, b.coefficients)
        assert torch.equal(a.muscle_forces, b.muscle_forces)
        assert b.labels.shape == (200, 17)
        for name in ("intensities", "side_intensities", "side_labels", "clean_labels"):
            assert torch.equal(getattr(a, name), getattr(b, name)[:, own]), name
    # A unit is seen where its muscle pulls: blinks and the jaw in speech too.
    names = more[0].muscle_names
    for muscle, unit in (("orbicularis_oculi_pretarsalis_left", 45), ("digastric", 26)):
        force = torch.cat([s.muscle_forces[:, names.index(muscle)] for s in more])
        seen = torch.cat([s.side_intensities[:, config.labelled.index(unit), 0] for s in more])
        assert torch.corrcoef(torch.stack([force, seen]))[0, 1] > 0.8, unit
    blinks = torch.cat([s.clean_labels[:, config.labelled.index(45)] for s in more])
    assert 0 < blinks.float().mean() < 0.5


def test_a_unit_that_is_not_asked_for_needs_no_shape(rig):
    still = rig.blendshapes.clone()
    still[rig.shape_indices(["noseSneer_L", "noseSneer_R"])] = 0
    lacking = replace(rig, blendshapes=still)
    simulate(lacking, CONFIG)
    with pytest.raises(ValueError, match="action units to simulate: AU9 needs noseSneer_L, noseSneer_R"):
        simulate(lacking, replace(CONFIG, action_units="all"))
    with pytest.raises(ValueError, match='action_units "all" needs a label_level'):
        SimulationConfig(action_units="all", label_level=None)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("subjects", 0, "subjects must be an integer in [1, 10000], got 0"),
        ("sequences", 1.5, "sequences must be an integer in [1, 1000], got 1.5"),
        ("frames", 7, "frames must be an integer in [8, 10000], got 7"),
        ("frames", True, "frames must be an integer in [8, 10000], got True"),
        ("fps", 0.0, "fps must be a finite number in [10, 240], got 0.0"),
        ("fps", float("nan"), "fps must be a finite number in [10, 240], got nan"),
        ("hardness", -1.0, "hardness must be a finite number in [0, 4], got -1.0"),
        ("seed", -1, "seed must be an integer in [0, 4294967295], got -1"),
        ("coarse_vertices", "300", "coarse_vertices must be an integer in [100, 5000], got '300'"),
    ],
)
def test_bad_options_are_refused(option, value, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the whole message is compared
        SimulationConfig(**{option: value})
    assert str(error.value) == message
