"""Folds: no subject on both sides, about as many frames in each, the sets of the literature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from biomechau.corpus import (
    BP4D,
    DISFA,
    Corpus,
    CorpusSequence,
    CorpusWriter,
    Fold,
    Protocol,
    bp4d_folds,
    check_folds,
    corpus_folds,
    disfa_folds,
    protocol_of,
    require_positives,
    subject_folds,
)
from biomechau.rig import FaceRig

FRAMES = {f"S{number:02d}": 3 + (7 * number) % 11 for number in range(12)}


@pytest.fixture
def make_corpus(tiny_rig: FaceRig, tmp_path: Path) -> Callable[[dict[str, int]], Corpus]:
    """A corpus with this many frames of each subject, AU1 always on, AU2 on in subject S00 only."""

    def make(frames: dict[str, int]) -> Corpus:
        with CorpusWriter(tmp_path / "corpus", tiny_rig, (1, 2), 25.0, overwrite=True) as writer:
            for subject, count in frames.items():
                labels = torch.tensor([1, int(subject == "S00")], dtype=torch.int8).expand(count, 2)
                coefficients = torch.zeros(count, tiny_rig.num_shapes)
                times = torch.arange(count, dtype=torch.float64)
                valid = torch.ones(count, dtype=torch.bool)
                writer.add(CorpusSequence(subject, subject, "", coefficients, labels, times, valid))
        return Corpus.open(tmp_path / "corpus")

    return make


@pytest.fixture
def corpus(make_corpus: Callable[[dict[str, int]], Corpus]) -> Corpus:
    return make_corpus(FRAMES)


def assert_exclusive(folds: list[Fold], subjects: set[str]) -> None:
    """Each subject is tested once, and every fold shares all of them out."""
    assert sorted(subject for fold in folds for subject in fold.test) == sorted(subjects)
    for fold in folds:
        assert sorted((*fold.train, *fold.validation, *fold.test)) == sorted(subjects)


@pytest.mark.parametrize("num_folds", [2, 3, 5, 12])
def test_subject_folds(corpus: Corpus, num_folds: int) -> None:
    folds = subject_folds(corpus, num_folds, seed=1)
    assert len(folds) == num_folds
    assert_exclusive(folds, set(FRAMES))
    check_folds(folds, corpus)


def test_folds_are_balanced_by_frames(make_corpus: Callable[[dict[str, int]], Corpus]) -> None:
    frames = {"giant": 40, **{f"dwarf{number}": 4 for number in range(20)}}
    folds = subject_folds(make_corpus(frames), 3)
    assert sorted(sum(frames[subject] for subject in fold.test) for fold in folds) == [40, 40, 40]


def test_validation_takes_about_its_share(corpus: Corpus) -> None:
    for share in (0.3, 0.5):
        for fold in subject_folds(corpus, 3, validation_share=share):
            validation, train = (sum(FRAMES[s] for s in part) for part in (fold.validation, fold.train))
            # Within half of the largest subject.
            assert abs(validation - share * (validation + train)) <= max(FRAMES.values()) / 2
    tiny = subject_folds(corpus, 3, validation_share=1e-6)
    assert [len(fold.validation) for fold in tiny] == [1, 1, 1]
    huge = subject_folds(corpus, 3, validation_share=1 - 1e-6)
    assert [len(fold.train) for fold in huge] == [1, 1, 1]


def test_folds_depend_on_the_seed_alone(make_corpus: Callable[[dict[str, int]], Corpus]) -> None:
    equal = {subject: 5 for subject in FRAMES}
    folds = subject_folds(make_corpus(equal), 3, seed=4)
    assert subject_folds(make_corpus(dict(reversed(equal.items()))), 3, seed=4) == folds
    assert subject_folds(make_corpus(equal), 3, seed=5) != folds
    # Recorded, so that results of one version can be repeated with another.
    assert folds[0].test == ("S01", "S09", "S10", "S11")


def test_the_mode_of_the_literature(corpus: Corpus) -> None:
    folds = subject_folds(corpus, 3, validation="test")
    assert [fold.test for fold in folds] == [fold.test for fold in subject_folds(corpus, 3)]
    for fold in folds:
        assert fold.validation == fold.test
        assert sorted((*fold.train, *fold.test)) == sorted(FRAMES)
    check_folds(folds, corpus)


def test_bp4d() -> None:
    folds = bp4d_folds(seed=2)
    assert [fold.test for fold in folds] == list(BP4D.subject_sets.values())
    assert [len(fold.test) for fold in folds] == [14, 14, 13]
    assert_exclusive(folds, {f"F{n:03d}" for n in range(1, 24)} | {f"M{n:03d}" for n in range(1, 19)})
    assert [len(fold.validation) for fold in folds] == [4, 4, 4]
    assert folds == bp4d_folds(seed=2)
    assert folds != bp4d_folds(seed=3)
    assert BP4D.action_units == (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)


def test_disfa() -> None:
    folds = disfa_folds(validation="test")
    assert [fold.test for fold in folds] == list(DISFA.subject_sets.values())
    assert [len(fold.test) for fold in folds] == [9, 9, 9]
    assert all(len(fold.train) == 18 and fold.validation == fold.test for fold in folds)
    subjects = {subject for fold in folds for subject in fold.test}
    assert len(subjects) == 27
    # Numbers that DISFA never gave.
    assert subjects.isdisjoint({"SN014", "SN015", "SN019", "SN020", "SN022", "SN033"})
    assert DISFA.action_units == (1, 2, 4, 6, 9, 12, 25, 26)


@pytest.mark.parametrize(
    ("train", "validation", "test", "message"),
    [
        ("a b", "c", "a", "subject 'a' is in train and in test, expected in one of them"),
        ("a b", "b", "c", "subject 'b' is in train and in validation"),
        ("a b", "c d", "d e", "subject 'd' is in validation and in test"),
        ("a", "a", "a", "subject 'a' is in train and in test"),
        ("a a", "b", "c", "subject 'a' is in train and in train"),
        ("", "b", "c", "the fold has no train subjects, expected at least one"),
        ("a", "", "c", "the fold has no validation subjects"),
        ("a", "b", "", "the fold has no test subjects"),
    ],
)
def test_what_a_fold_refuses(train: str, validation: str, test: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fold(tuple(train.split()), tuple(validation.split()), tuple(test.split()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_folds": 1}, r"num_folds must lie in \[2, 12\], the number of subjects of .*corpus, got 1"),
        ({"num_folds": 13}, r"num_folds must lie in \[2, 12\]"),
        ({"validation_share": 0.0}, "validation_share must lie between 0 and 1, got 0.0"),
        ({"validation_share": 1.0}, "validation_share must lie between 0 and 1, got 1.0"),
        ({"validation": "dev"}, "validation must be 'train' or 'test', got 'dev'"),
    ],
)
def test_what_subject_folds_refuse(corpus: Corpus, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        subject_folds(corpus, **options)


def test_two_subjects_leave_none_to_validate(make_corpus: Callable[[dict[str, int]], Corpus]) -> None:
    corpus = make_corpus({"a": 5, "b": 5})
    with pytest.raises(ValueError, match="fold 1 has 1 subject left to train on, .* validation='test'"):
        subject_folds(corpus, 2)
    assert len(subject_folds(corpus, 2, validation="test")) == 2


def test_folds_that_do_not_fit_a_corpus(corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="there are no folds"):
        check_folds([], corpus)
    with pytest.raises(ValueError, match="corpus has no subject 'F001'; it has S00, S01"):
        check_folds(bp4d_folds(), corpus)
    twice = [Fold(("S01",), ("S02",), ("S00",)), Fold(("S02",), ("S01",), ("S00",))]
    with pytest.raises(ValueError, match="subject 'S00' is tested in 2 folds, expected in one"):
        check_folds(twice, corpus)


def test_an_action_unit_without_positives(corpus: Corpus) -> None:
    require_positives(corpus, corpus.subjects)
    with pytest.raises(ValueError, match="AU2 is on in no valid frame of the subjects S01, S02"):
        require_positives(corpus, ("S01", "S02"))
    with pytest.raises(ValueError, match="no subject 'X'"):
        require_positives(corpus, ("X",))


@pytest.mark.parametrize(("protocol", "folds"), [(BP4D, bp4d_folds), (DISFA, disfa_folds)])
def test_the_folds_of_the_literature_where_the_subjects_are_theirs(
    make_corpus: Callable[[dict[str, int]], Corpus], protocol: Protocol, folds: Callable[[], list[Fold]]
) -> None:
    subjects = [subject for subjects in protocol.subject_sets.values() for subject in subjects]
    whole = make_corpus(dict.fromkeys(subjects, 3))
    assert protocol_of(whole) is protocol
    assert corpus_folds(whole) == folds()
    assert corpus_folds(whole, num_folds=2) == subject_folds(whole, num_folds=2)
    part = make_corpus(dict.fromkeys(subjects[1:], 3))
    assert protocol_of(part) is None
    assert corpus_folds(part, seed=2) == subject_folds(part, seed=2)
