"""Evaluation of a run: scores against their computation by other means, and the files they go to."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biomechau.corpus import Corpus, CorpusWriter, Fold, ResampledCorpus
from biomechau.models import DetectorConfig, LossWeights
from biomechau.rig import FaceRig
from biomechau.training import Evaluation, Run, TrainingConfig, action_unit_scores, evaluate, train


@pytest.fixture(scope="module")
def run(corpus: Corpus, fold: Fold, config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(corpus, fold, config, tmp_path_factory.mktemp("runs") / "run", progress=False)


@pytest.fixture(scope="module")
def evaluation(run: Run, corpus: Corpus) -> Evaluation:
    return evaluate(run.path, corpus)


def test_scores_are_those_of_all_test_frames(run: Run, corpus: Corpus, evaluation: Evaluation) -> None:
    detector, columns = run.detector(), [corpus.action_units.index(unit) for unit in (6, 7, 10, 12)]
    shapes = [corpus.shapes.index(name) for name in detector.dynamics.shape_names]
    sequences = [corpus[id] for id in corpus.ids_of(["S004"])]
    c = torch.stack([sequence.coefficients for sequence in sequences])[..., shapes].unflatten(1, (3, 16))
    with torch.no_grad():
        output = detector({"coefficients": c})
    on = output.logits.flatten(0, -2) > 0
    labels = torch.cat([sequence.labels for sequence in sequences])[:, columns] == 1
    agree = (on & labels).sum(0)
    for unit, tp, said, true in zip(evaluation.scores.units, agree, on.sum(0), labels.sum(0), strict=True):
        assert unit.f1 == (pytest.approx(float(2 * tp / (said + true))) if true else None)
    assert evaluation.scores.without_positives == (7,)
    assert output.forces is not None
    assert output.coefficients is not None
    error = (c - output.coefficients)[:, :, 1:].reshape(-1, c.shape[-1])
    spread = c[:, :, 1:].reshape(-1, c.shape[-1])
    expected = float(error.norm() / (spread - spread.mean(0)).norm())
    assert evaluation.reconstruction == pytest.approx(expected, rel=1e-5)
    muscle = "zygomaticus_major_left"
    found = output.forces[..., detector.dynamics.muscles.names.index(muscle)].flatten()
    truth = torch.cat([s.muscle_forces[:, corpus.muscles.index(muscle)] for s in sequences])  # type: ignore[index]
    r = float(torch.corrcoef(torch.stack([found, truth]))[0, 1])
    assert evaluation.forces is not None
    assert evaluation.forces.r[evaluation.forces.muscles.index(muscle)] == pytest.approx(r, abs=1e-5)


def test_sides_are_scored_against_their_own_labels(run: Run, corpus: Corpus, evaluation: Evaluation) -> None:
    detector, columns = run.detector(), [corpus.action_units.index(unit) for unit in (6, 7, 10, 12)]
    sequences = [corpus[id] for id in corpus.ids_of(["S004"])]
    assert list(evaluation.sides) == ["left", "right"]
    for i, side in enumerate(("left", "right")):
        found, labels = [], []
        for sequence in sequences:
            c = sequence.coefficients[:, detector.dynamics.shape_indices].unflatten(0, (3, 16))
            with torch.no_grad():
                output = detector({"coefficients": c})
            assert output.side_probabilities is not None
            assert sequence.side_labels is not None
            found.append(output.side_probabilities[..., i].flatten(0, 1))
            labels.append(sequence.side_labels[:, columns, i])
        expected = action_unit_scores(torch.cat(found), torch.cat(labels), (6, 7, 10, 12))
        for one, two in zip(evaluation.sides[side].units, expected.units, strict=True):
            assert one.auc == pytest.approx(two.auc, abs=1e-3)
            assert one.positive_rate == two.positive_rate


def test_files(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.save(tmp_path / "out")
    with (tmp_path / "out" / "action_unit_scores.csv").open(newline="") as file:
        rows = {row["action_unit"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["6", "7", "10", "12"]
    assert rows["7"]["f1"] == ""
    assert float(rows["6"]["f1"]) == pytest.approx(evaluation.scores.units[0].f1)
    with (tmp_path / "out" / "side_scores.csv").open(newline="") as file:
        rows = {(row["side"], row["action_unit"]): row for row in csv.DictReader(file)}
    assert len(rows) == 8
    assert float(rows["right", "12"]["auc"]) == pytest.approx(evaluation.sides["right"].units[3].auc)
    with (tmp_path / "out" / "force_recovery.csv").open(newline="") as file:
        assert "zygomaticus_major_left" in {row["muscle"] for row in csv.DictReader(file)}
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["without_positives"] == [7]
    assert summary["mean_f1"] == evaluation.scores.mean_f1
    assert (summary["protocol"]["test"]["subjects"], summary["protocol"]["test"]["frames"]) == (["S004"], 96)


def test_a_head_without_physics_has_no_forces(
    corpus: Corpus, fold: Fold, config: TrainingConfig, tmp_path: Path
) -> None:
    settings = replace(config, detector=replace(config.detector, head="position"), epochs=1)
    found = evaluate(train(corpus, fold, settings, tmp_path / "run", progress=False), corpus)
    assert (found.forces, found.reconstruction) == (None, None)
    assert found.scores.mean_f1 is not None
    found.save(tmp_path / "out")
    assert not (tmp_path / "out" / "force_recovery.csv").exists()


def test_the_papers_setting(corpus: Corpus, fold: Fold, tmp_path: Path) -> None:
    detector = replace(DetectorConfig.paper(), action_units=(6, 12), num_input_vertices=200, filters=(4, 4))
    settings = replace(TrainingConfig.paper(), detector=detector, losses=LossWeights.paper(), epochs=1)
    with pytest.warns(UserWarning, match="no meshes of its own"):
        run = train(corpus, fold, replace(settings, accelerator="cpu"), tmp_path / "run", progress=False)
    found = evaluate(run, corpus)
    assert found.forces is not None
    assert all(r is None or -1 <= r <= 1 for r in found.forces.r)


def test_training_subjects_cannot_test(run: Run, corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="subject 'S001' was used to train"):
        evaluate(run, corpus, ["S004", "S001"])
    with CorpusWriter(tmp_path / "other", corpus.rig, corpus.action_units, corpus.fps) as writer:
        writer.add(replace(corpus["S004_T1"], subject="S001", muscle_forces=None))
    # Another person of that name.
    found = evaluate(run, Corpus.open(tmp_path / "other"), ["S001"])
    assert (found.protocol["test"]["frames"], found.forces) == (48, None)


def test_what_was_saved_comes_back(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.save(tmp_path)
    assert Evaluation.load(tmp_path) == evaluation
    (tmp_path / "evaluation.json").write_text('{"action_units": []}')
    with pytest.raises(ValueError, match='evaluation.json: not an evaluation of this version: "mean_f1" is missing'):
        Evaluation.load(tmp_path)


def test_a_corpus_at_another_frame_rate_is_resampled(run: Run, corpus: Corpus, tmp_path: Path) -> None:
    """As one that was written at the rate of the run."""
    with CorpusWriter(tmp_path / "fast", corpus.rig, corpus.action_units, 50.0, muscles=corpus.muscles) as writer:
        for sequence in corpus:
            writer.add(replace(sequence, timestamp=sequence.timestamp / 2))
    fast = Corpus.open(tmp_path / "fast")
    with CorpusWriter(tmp_path / "slow", corpus.rig, corpus.action_units, 25.0, muscles=corpus.muscles) as writer:
        for sequence in ResampledCorpus(fast, 25.0):
            writer.add(sequence)
    found, expected = evaluate(run, fast, fast.subjects), evaluate(run, Corpus.open(tmp_path / "slow"), fast.subjects)
    assert (found.scores, found.forces, found.reconstruction) == (
        expected.scores,
        expected.forces,
        expected.reconstruction,
    )
    assert found.scores.units[0].known_frames == 8 * 24
    test = found.protocol["test"]
    assert (test["fps"], test["resampled_from_fps"], test["frames"]) == (25.0, 50.0, 8 * 24)
    assert "fps" not in expected.protocol["test"]


def test_a_corpus_of_another_rig_is_read_by_the_names_of_its_shapes(run: Run, corpus: Corpus, tmp_path: Path) -> None:
    other = FaceRig.builtin(1100).select(sorted(corpus.shapes, reverse=True))
    order = [corpus.shapes.index(name) for name in other.names]
    for name, rig, columns in (("own", corpus.rig, slice(None)), ("other", other, order)):
        with CorpusWriter(tmp_path / name, rig, corpus.action_units, corpus.fps, muscles=corpus.muscles) as writer:
            for id in corpus.ids:
                writer.add(replace(corpus[id], coefficients=corpus[id].coefficients[:, columns]))
    own, there = Corpus.open(tmp_path / "own"), Corpus.open(tmp_path / "other")
    expected, found = (evaluate(run, each, each.subjects) for each in (own, there))
    assert (found.scores, found.forces, found.sides) == (expected.scores, expected.forces, expected.sides)
    assert found.protocol["test"]["another_rig"]["missing_shapes"] == []
    assert "another_rig" not in expected.protocol["test"]


def test_a_corpus_without_the_shapes_of_the_run(run: Run, corpus: Corpus, tmp_path: Path) -> None:
    rig, few = corpus.rig, corpus.rig.select([name for name in corpus.shapes if not name.startswith("mouth")])
    with CorpusWriter(tmp_path / "few", few, corpus.action_units, corpus.fps) as writer:
        columns = [corpus.shapes.index(name) for name in few.names]
        kept = {"coefficients": corpus["S004_T1"].coefficients[:, columns], "muscle_forces": None}
        writer.add(replace(corpus["S004_T1"], **kept))
    found = evaluate(run, Corpus.open(tmp_path / "few"), ["S004"])
    assert set(found.protocol["test"]["another_rig"]["missing_shapes"]) == set(rig.names) - set(few.names)
    unknown = FaceRig(rig.neutral, rig.faces, rig.blendshapes, tuple(f"shape{k}" for k in range(rig.num_shapes)))
    with CorpusWriter(tmp_path / "unknown", unknown, corpus.action_units, corpus.fps) as writer:
        writer.add(replace(corpus["S004_T1"], muscle_forces=None))
    with pytest.raises(ValueError, match="none of the shapes of its rig drives a shape of the other"):
        evaluate(run, Corpus.open(tmp_path / "unknown"), ["S004"])


def test_a_detector_that_reads_meshes_takes_no_other_rig(run: Run, corpus: Corpus, tmp_path: Path) -> None:
    rig = corpus.rig
    moved = FaceRig(rig.neutral + 1, rig.faces, rig.blendshapes, rig.names)
    with CorpusWriter(tmp_path / "other", moved, corpus.action_units, corpus.fps) as writer:
        writer.add(replace(corpus["S004_T1"], muscle_forces=None))
    reader = replace(run, config=replace(run.config, detector=replace(run.config.detector, source="mesh")))
    with pytest.raises(ValueError, match="has another rig than .* reads meshes: expected SHA-256"):
        evaluate(reader, Corpus.open(tmp_path / "other"))


def test_units_without_labels_in_another_corpus_are_not_tested(
    run: Run, evaluation: Evaluation, corpus: Corpus, tmp_path: Path
) -> None:
    """Scores of the others are the same."""
    names = ("other", "strange")
    for name, units in zip(names, ((12, 6, 2), (2, 5)), strict=True):
        columns = [corpus.action_units.index(unit) if unit in corpus.action_units else 0 for unit in units]
        with CorpusWriter(tmp_path / name, corpus.rig, units, corpus.fps, muscles=corpus.muscles) as writer:
            for id in corpus.ids_of(["S004"]):
                sequence = corpus[id]
                assert sequence.side_labels is not None
                assert sequence.side_intensities is not None
                writer.add(
                    replace(
                        sequence,
                        labels=sequence.labels[:, columns],
                        side_labels=sequence.side_labels[:, columns],
                        side_intensities=sequence.side_intensities[:, columns],
                    )
                )
    found = evaluate(run, Corpus.open(tmp_path / "other"), ["S004"])
    own = {unit.action_unit: unit for unit in evaluation.scores.units}
    assert found.scores.units == (own[6], own[12])
    assert found.protocol["test"]["without_labels"] == [7, 10]
    for side in ("left", "right"):
        assert [unit.action_unit for unit in found.sides[side].units] == [6, 12]
        assert found.sides[side].units[1] == evaluation.sides[side].units[3]
    assert evaluation.protocol["test"].get("without_labels") is None
    with pytest.raises(ValueError, match="has no labels for AU6, AU7, AU10, AU12; it has those of AU2, AU5"):
        evaluate(run, Corpus.open(tmp_path / "strange"), ["S004"])
