"""Splits the subjects of a corpus into folds for cross-validation."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from biomechau.corpus.corpus import Corpus
from biomechau.corpus.fold import Fold, Validation
from biomechau.corpus.protocols import BP4D, DISFA, Protocol

# Share of the training frames: enough to detect over-fitting, without losing much training data.
VALIDATION_SHARE = 0.15


def subject_folds(
    corpus: Corpus,
    num_folds: int = 3,
    seed: int = 0,
    validation_share: float = VALIDATION_SHARE,
    validation: Validation = "train",
) -> list[Fold]:
    """Split the subjects into folds of about equally many frames; every subject is tested once.

    Args:
        corpus: to split.
        num_folds: at least 2, at most the number of subjects.
        seed: of the order of the subjects; the same seed gives the same folds.
        validation_share: share of the training frames for validation, in whole subjects, at least one.
        validation: ``"train"`` takes validation subjects from the training subjects, ``"test"`` uses the test subjects.

    Raises:
        ValueError: too few subjects, a share outside (0, 1), or an unknown ``validation``.
    """
    frames = corpus.frames
    if not 2 <= num_folds <= len(frames):
        raise ValueError(
            f"num_folds must lie in [2, {len(frames)}], the number of subjects of {corpus.path}, got {num_folds}"
        )
    # Largest first, each to the smallest set so far; the seed decides between subjects of the same length.
    shuffled = _shuffled(frames, seed)
    sets: list[list[str]] = [[] for _ in range(num_folds)]
    for subject in sorted(shuffled, key=frames.__getitem__, reverse=True):
        min(sets, key=lambda chosen: (sum(frames[s] for s in chosen), len(chosen))).append(subject)
    return _folds([sorted(chosen) for chosen in sets], frames, seed, validation_share, validation)


def corpus_folds(
    corpus: Corpus,
    num_folds: int = 3,
    seed: int = 0,
    validation_share: float = VALIDATION_SHARE,
    validation: Validation = "train",
) -> list[Fold]:
    """The published folds if the subjects are exactly those of BP4D or DISFA, otherwise :func:`subject_folds`.

    Arguments and errors are those of :func:`subject_folds`, which is also used unless ``num_folds`` is the published
    three.
    """
    protocol = protocol_of(corpus)
    if protocol is not None and num_folds == len(protocol.subject_sets):
        return _protocol_folds(protocol, seed, validation_share, validation)
    return subject_folds(corpus, num_folds, seed, validation_share, validation)


def protocol_of(corpus: Corpus) -> Protocol | None:
    """The protocol whose subjects are exactly those of the corpus, if there is one."""
    subjects = set(corpus.subjects)
    return next((p for p in (BP4D, DISFA) if subjects == set().union(*p.subject_sets.values())), None)


def bp4d_folds(
    seed: int = 0, validation_share: float = VALIDATION_SHARE, validation: Validation = "train"
) -> list[Fold]:
    """The three published folds of BP4D; fold i tests set i of ``BP4D.subject_sets``.

    Arguments and errors are those of :func:`subject_folds`; subjects have equal weights, regardless of their frames.
    """
    return _protocol_folds(BP4D, seed, validation_share, validation)


def disfa_folds(
    seed: int = 0, validation_share: float = VALIDATION_SHARE, validation: Validation = "train"
) -> list[Fold]:
    """The three published folds of DISFA; fold i tests set i of ``DISFA.subject_sets``.

    Arguments and errors are those of :func:`subject_folds`; subjects have equal weights, regardless of their frames.
    """
    return _protocol_folds(DISFA, seed, validation_share, validation)


def check_folds(folds: Sequence[Fold], corpus: Corpus) -> None:
    """Check that folds are consistent with a corpus and each other.

    Raises:
        ValueError: there are no folds, the corpus does not have a subject, or two folds test the same subject.
    """
    if not folds:
        raise ValueError("there are no folds, expected at least one")
    for fold in folds:
        corpus.ids_of((*fold.train, *fold.validation, *fold.test))
    for subject, count in Counter(subject for fold in folds for subject in fold.test).items():
        if count > 1:
            raise ValueError(f"subject {subject!r} is tested in {count} folds, expected in one")


def require_positives(corpus: Corpus, subjects: Iterable[str]) -> None:
    """Check that these subjects show every action unit, so that it can be trained or tested.

    Raises:
        ValueError: some action units are on in no frame, all of which are named, or a subject is unknown.
        OSError: a file cannot be read.
    """
    subjects = tuple(subjects)
    positive, _ = corpus.label_counts(subjects)
    without = [f"AU{unit}" for unit, count in zip(corpus.action_units, positive.tolist(), strict=True) if not count]
    if without:
        raise ValueError(
            f"{', '.join(without)} is on in no valid frame of the subjects {', '.join(subjects)}, expected at least one"
        )


def _protocol_folds(protocol: Protocol, seed: int, share: float, validation: Validation) -> list[Fold]:
    sets = list(protocol.subject_sets.values())
    return _folds(sets, {subject: 1 for subjects in sets for subject in subjects}, seed, share, validation)


def _folds(
    sets: Sequence[Sequence[str]], frames: Mapping[str, int], seed: int, share: float, validation: Validation
) -> list[Fold]:
    if not 0 < share < 1:
        raise ValueError(f"validation_share must lie between 0 and 1, got {share}")
    if validation not in ("train", "test"):
        raise ValueError(f"validation must be 'train' or 'test', got {validation!r}")
    folds = []
    for number, test in enumerate(sets):
        others = [subject for subjects in sets if subjects is not test for subject in subjects]
        if validation == "test":
            folds.append(Fold(tuple(sorted(others)), tuple(test), tuple(test)))
            continue
        if len(others) < 2:
            raise ValueError(
                f"fold {number + 1} has {len(others)} subject left to train on, too few to split off validation "
                "subjects; use fewer folds, more subjects or validation='test'"
            )
        # A different order in every fold, reproducible for the same seed.
        chosen = _cut_share(_shuffled(others, f"{seed}/{number}"), frames, share)
        folds.append(Fold(tuple(sorted(set(others) - chosen)), tuple(sorted(chosen)), tuple(test)))
    return folds


def _cut_share(subjects: Sequence[str], frames: Mapping[str, int], share: float) -> set[str]:
    """The first subjects, at least one and not all, whose frames come nearest to the share."""
    wanted = share * sum(frames[subject] for subject in subjects)
    sums = [sum(frames[subject] for subject in subjects[:count]) for count in range(1, len(subjects))]
    nearest = min(range(len(sums)), key=lambda at: abs(sums[at] - wanted))
    return set(subjects[: nearest + 1])


def _shuffled(subjects: Iterable[str], seed: int | str) -> list[str]:
    # Sorted first, so that the order of the corpus does not matter. Python's own generator gives the same shuffle for a
    # seed in all versions.
    ordered = sorted(subjects)
    random.Random(seed).shuffle(ordered)
    return ordered
