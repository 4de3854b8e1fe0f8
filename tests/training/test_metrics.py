"""Scores against values computed by hand and against their defining formulas."""

from __future__ import annotations

import math

import pytest
import torch

from biomechau.training.metrics import (
    action_unit_scores,
    best_thresholds,
    force_recovery,
    relative_error,
    scores_of_counts,
)

# TP 3, FP 1, FN 2, TN 4 of one unit.
LABELS = torch.tensor([1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
PROBABILITIES = torch.tensor([0.9, 0.8, 0.51, 0.5, 0.1, 0.7, 0.2, 0.5, 0.0, 0.49])


def test_scores_by_hand() -> None:
    (unit,) = action_unit_scores(PROBABILITIES[:, None], LABELS[:, None], (12,)).units
    assert unit.action_unit == 12
    assert unit.f1 == pytest.approx(2 * 3 / (2 * 3 + 1 + 2))
    assert unit.mcc == pytest.approx((3 * 4 - 1 * 2) / math.sqrt(4 * 5 * 5 * 6))
    assert unit.positive_rate == 0.5
    assert unit.always_positive_f1 == pytest.approx(2 / 3)
    assert unit.known_frames == 10


def test_mcc_is_the_correlation_of_the_decisions() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(500, 3, generator=generator)
    labels = (probabilities + torch.randn(500, 3, generator=generator) > 0.8).long()
    scores = action_unit_scores(probabilities, labels, (1, 2, 4))
    decisions = (probabilities > 0.5).double()
    for column, unit in enumerate(scores.units):
        both = torch.stack([decisions[:, column], labels[:, column].double()])
        assert unit.mcc == pytest.approx(float(torch.corrcoef(both)[0, 1]), abs=1e-12)


def test_f1_is_of_all_frames_and_not_a_mean_over_sequences() -> None:
    # F1 of the sequences: 1 and 0; of all frames 2 / (2 + 3).
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.9]])[..., None]
    labels = torch.tensor([[1, 0], [0, 0]])[..., None]
    assert action_unit_scores(probabilities, labels, (1,)).mean_f1 == pytest.approx(2 / 4)


@pytest.mark.parametrize("whole_frame", [False, True])
def test_unknown_labels_and_invalid_frames_do_not_count(whole_frame: bool) -> None:
    more = torch.tensor([1, 0, 1])
    labels = torch.cat([LABELS, more if whole_frame else torch.full((3,), -1)])[:, None]
    valid = torch.tensor([True] * 10 + [False] * 3) if whole_frame else None
    probabilities = torch.cat([PROBABILITIES, torch.tensor([0.1, 0.9, 0.9])])[:, None]
    expected = action_unit_scores(PROBABILITIES[:, None], LABELS[:, None], (12,))
    assert action_unit_scores(probabilities, labels, (12,), valid) == expected


def test_a_unit_without_positives_is_named_and_left_out_of_the_means() -> None:
    labels = torch.stack([LABELS, torch.zeros(10, dtype=torch.int64), torch.full((10,), -1)], 1)
    scores = action_unit_scores(PROBABILITIES[:, None].expand(10, 3), labels, (12, 15, 23))
    alone = action_unit_scores(PROBABILITIES[:, None], LABELS[:, None], (12,))
    assert scores.without_positives == (15, 23)
    assert (scores.units[1].f1, scores.units[1].mcc) == (None, None)
    assert [unit.known_frames for unit in scores.units] == [10, 10, 0]
    assert (scores.means.f1, scores.means.mcc) == (alone.means.f1, alone.means.mcc)
    assert scores.means.always_positive_f1 == pytest.approx(2 / 3)


def test_no_unit_with_positives_has_no_mean() -> None:
    scores = action_unit_scores(torch.rand(4, 1), torch.zeros(4, 1), (1,))
    assert (scores.means.f1, scores.means.mcc, scores.means.always_positive_f1) == (None, None, None)


def test_a_constant_answer_has_no_correlation() -> None:
    (unit,) = action_unit_scores(torch.ones(10, 1), LABELS[:, None], (12,)).units
    assert (unit.f1, unit.mcc) == (pytest.approx(unit.always_positive_f1), 0.0)


def test_all_positive_labels_have_an_f1_but_no_mcc() -> None:
    (unit,) = action_unit_scores(PROBABILITIES[:, None], torch.ones(10, 1), (12,)).units
    assert (unit.f1, unit.mcc, unit.always_positive_f1) == (pytest.approx(8 / 14), None, 1.0)


def test_counts_of_a_large_corpus_do_not_overflow() -> None:
    (unit,) = scores_of_counts(torch.full((1, 4), 10**7), (1,)).units
    assert (unit.f1, unit.mcc) == (0.5, 0.0)


def test_wrong_scores_are_refused() -> None:
    good, labels = torch.rand(4, 2), torch.zeros(4, 2)
    with pytest.raises(ValueError, match=r"shape \(..., 3\)"):
        action_unit_scores(good, labels, (1, 2, 4))
    with pytest.raises(ValueError, match="at least one frame"):
        action_unit_scores(good[:0], labels[:0], (1, 2))
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        action_unit_scores(good - 2, labels, (1, 2))
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        action_unit_scores(good * math.nan, labels, (1, 2))
    with pytest.raises(ValueError, match="got 9.0"):
        action_unit_scores(good, labels + 9, (1, 2))
    with pytest.raises(TypeError, match="floating point"):
        action_unit_scores(good.long(), labels, (1, 2))
    with pytest.raises(TypeError, match="bool"):
        action_unit_scores(good, labels, (1, 2), torch.ones(4))
    with pytest.raises(ValueError, match=r"valid must have shape \(4,\)"):
        action_unit_scores(good, labels, (1, 2), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"counts must have shape \(1, 4\)"):
        scores_of_counts(torch.ones(1, 5), (1,))


def test_force_recovery_is_pearsons_r() -> None:
    truth = torch.tensor([[0.0, 1.0], [1.0, 2.0], [2.0, 4.0]])
    forces = torch.tensor([[5.0, 3.0], [7.0, 1.0], [9.0, 2.0]])
    found = force_recovery(forces, truth, ("a", "b"))
    # b: deviations (1, -1, 0) and (-4, -1, 5) / 3
    assert found.r == pytest.approx((1.0, (-4 + 1) / 3 / math.sqrt(2 * 42 / 9)))
    assert found.median == pytest.approx(sum(found.r) / 2)  # type: ignore[arg-type]


def test_force_recovery_does_not_depend_on_the_unit() -> None:
    truth = torch.rand(50, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    forces = truth.square()
    expected = float(torch.corrcoef(torch.cat([forces, truth], 1).T)[0, 1])
    assert force_recovery(1e-100 * forces, 1e-100 * truth, ("a",)).r == pytest.approx((expected,))


def test_constant_forces() -> None:
    moving, still = torch.arange(6.0), torch.full((6,), 0.1)
    found = force_recovery(torch.stack([still, moving, moving], 1), torch.stack([moving, still, moving], 1), "abc")
    assert found.r == (0.0, None, pytest.approx(1.0))
    assert found.never_used == ("b",)
    assert found.median == pytest.approx(0.5)
    assert force_recovery(moving[:, None], still[:, None], "a").median is None


def test_wrong_forces_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(T, 2\)"):
        force_recovery(torch.rand(4, 2), torch.rand(4, 3), "ab")
    with pytest.raises(ValueError, match="T >= 2"):
        force_recovery(torch.rand(1, 2), torch.rand(1, 2), "ab")
    with pytest.raises(ValueError, match="truth must be finite"):
        force_recovery(torch.rand(4, 2), torch.rand(4, 2) * math.inf, "ab")


def test_relative_error_by_hand() -> None:
    c = torch.tensor([[0.0, 5.0], [2.0, 5.0]])
    # squared errors 0.25 each of two values; squared deviations 1 + 1
    assert relative_error(c, c + torch.tensor([[0.5, 0.0], [0.0, -0.5]])) == pytest.approx(0.5)
    assert relative_error(c, c.mean(0).expand(2, 2)) == pytest.approx(1.0)


def test_wrong_motion_is_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        relative_error(torch.rand(4, 2), torch.rand(4, 3))
    with pytest.raises(ValueError, match="finite"):
        relative_error(torch.rand(4, 2), torch.rand(4, 2) * math.nan)
    with pytest.raises(ValueError, match="is constant"):
        relative_error(torch.ones(4, 2), torch.rand(4, 2))


def test_ranking_by_its_definition() -> None:
    """The area is the share of pairs in the right order, ties half; the best F1 that of all thresholds tried."""
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(200, 3, generator=generator).mul(20).round().div(20)  # with ties
    labels = (probabilities + torch.randn(200, 3, generator=generator) > 0.8).long()
    labels[:20, 1] = -1
    for column, unit in enumerate(action_unit_scores(probabilities, labels, (1, 2, 4)).units):
        p, y = probabilities[:, column], labels[:, column]
        difference = p[y == 1][:, None] - p[y == 0]
        area = (difference > 0).double().mean() + 0.5 * (difference == 0).double().mean()
        assert unit.auc == pytest.approx(float(area), abs=1e-12)
        tried = [2 * int((y[p >= t] == 1).sum()) / int((y[p >= t] >= 0).sum() + (y == 1).sum()) for t in p.unique()]
        assert unit.best_f1 == pytest.approx(max(tried), abs=1e-12)
        assert (unit.f1 or 0) < max(tried)


def test_ranking_where_there_is_nothing_to_rank() -> None:
    labels = torch.stack([torch.ones(10), torch.zeros(10), torch.full((10,), -1)], 1)
    units = action_unit_scores(PROBABILITIES[:, None].expand(10, 3), labels, (1, 2, 4)).units
    assert [unit.best_f1 for unit in units] == [1, None, None]
    assert [unit.auc for unit in units] == [None, None, None]
    assert scores_of_counts(torch.tensor([[3, 1, 2, 4]]), (1,)).means.auc is None


def test_thresholds_are_the_best_of_all_that_could_be_chosen() -> None:
    generator = torch.Generator().manual_seed(1)
    probabilities = torch.rand(300, 4, generator=generator).mul(50).round().div(50)  # with ties
    labels = (
        probabilities + 0.4 * torch.randn(300, 4, generator=generator) > torch.tensor([0.3, 0.5, 0.8, 0.5])
    ).long()
    labels[:30, 1], labels[:, 3] = -1, 0
    chosen = best_thresholds(probabilities, labels)
    units = action_unit_scores(probabilities, labels, (1, 2, 4, 6), thresholds=chosen).units
    for column, unit in enumerate(units[:3]):
        p, y = probabilities[:, column], labels[:, column]
        best = max(2 * int((y[p > t] == 1).sum()) / int((y[p > t] >= 0).sum() + (y == 1).sum()) for t in p.unique())
        assert unit.threshold == chosen[column]
        assert unit.threshold_f1 == unit.best_f1 == pytest.approx(best, abs=1e-12)
        assert not bool((p == chosen[column]).any())
    assert (chosen[3], units[3].threshold_f1) == (0.5, None)


def test_of_equal_thresholds_the_one_nearest_to_a_half_is_chosen() -> None:
    probabilities = torch.tensor([[0.2], [0.4], [0.45], [0.9]])
    labels = torch.tensor([[0], [-1], [-1], [1]])
    assert best_thresholds(probabilities, labels) == [pytest.approx(0.55)]


def test_thresholds_whose_f1_is_hardly_worse_may_be_nearer_to_a_half() -> None:
    probabilities = torch.tensor([[0.1], [0.2], [0.3], [0.6], [0.9], [0.95]])
    labels = torch.tensor([[0], [1], [1], [0], [1], [1]])
    assert best_thresholds(probabilities, labels) == [pytest.approx(0.15)]  # F1 8 / 9; at 0.45 it is 4 / 7
    assert best_thresholds(probabilities, labels, 0.35) == [pytest.approx(0.45)]
