"""Which sequences of a run to look at: the best, the median and the worst, or those asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from biomechau.corpus import Corpus
from biomechau.reports.html_page import Shown
from biomechau.reports.html_report import unit_notes
from biomechau.reports.prediction_report import PredictionReport
from biomechau.training.run import Run

if TYPE_CHECKING:
    from biomechau.training.prediction import Prediction

RANKS = ("best", "median", "worst")
F1, ERROR = "mean F1 of the sequence", "residual of the sequence"


@dataclass(frozen=True)
class Choice:
    """A sequence to look at.

    Attributes:
        id: of the sequence.
        rank: one of :data:`RANKS`; None where it was asked for.
        measure: what was ranked, :data:`F1` or :data:`ERROR`; None where it was asked for.
        value: of the measure.
    """

    id: str
    rank: str | None = None
    measure: str | None = None
    value: float | None = None

    def __str__(self) -> str:
        if self.rank is None or self.value is None:
            return "as asked for"
        return f"{self.rank}, F1 {100 * self.value:.0f}" if self.measure == F1 else f"{self.rank}, {self.value:.2f} mm"


def fit_to_test(runs: Mapping[int, Run], corpus: Corpus) -> dict[str, dict[int, Run]]:
    """By sequence, the runs that may be tested on it: the fold that tests its subject; all on another corpus."""
    if not all(run.trained_on(corpus) for run in runs.values()):
        return {id: dict(runs) for id in corpus.ids}
    return {id: {number: run} for number, run in runs.items() for id in corpus.ids_of(run.fold.test)}


def predictions(
    runs: Mapping[int, Run], corpus: Corpus, ids: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> Iterator[Prediction]:
    """What the runs that may be tested on it say of each sequence, those of the same runs together.

    Raises:
        ValueError: no such sequence, or one whose subject no fold tests.
        OSError: a file cannot be read.
    """
    from biomechau.training.prediction import predict_corpus_sequences

    able = fit_to_test(runs, corpus)
    for id in ids:
        if id not in corpus.ids:
            raise ValueError(f"{corpus.path} has no sequence {id!r}; it has {', '.join(corpus.ids[:3])}, ...")
        if id not in able:
            raise ValueError(f"sequence {id} of {corpus.path}: its subject is a test subject of no fold of the run")
    done = 0
    for group in {tuple(able[id]): able[id] for id in ids}.values():
        for prediction in predict_corpus_sequences(group, corpus, [id for id in ids if able[id] == group]):
            done += 1
            if progress is not None:
                progress(done, len(ids))
            yield prediction


def choose(
    runs: Mapping[int, Run], corpus: Corpus, progress: Callable[[int, int], None] | None = None
) -> tuple[Choice, ...]:
    """The best, the median and the worst test sequence, by mean F1, or by the residual where nothing is labelled.

    F1 is that of the sequence alone, the mean over the action units that occur in it.

    Args:
        runs: by the number of their fold.
        corpus: with the sequences.
        progress: called with (sequences done, sequences in all).

    Raises:
        ValueError: no sequence has an F1 or a residual, or the corpus does not fit.
        OSError: a file cannot be read.
    """
    scores: dict[str, float] = {}
    errors: dict[str, float] = {}
    for prediction in predictions(runs, corpus, list(fit_to_test(runs, corpus)), progress):
        report = PredictionReport(prediction)
        found = report.scores()
        if found is not None and found["mean_f1"] is not None:
            scores[prediction.sequence.name] = found["mean_f1"]
        if prediction.reconstructed is not None and prediction.sequence.valid.any():
            missed = report.face.distance(prediction.coefficients - prediction.neutral - prediction.reconstructed)
            errors[prediction.sequence.name] = float(missed[prediction.sequence.valid.numpy()].mean())
    measure, values = (F1, scores) if scores else (ERROR, errors)
    if not values:
        raise ValueError(f"{corpus.path}: no test sequence has labels or forces to choose it by; name some of them")
    ranked = sorted(values, key=lambda id: (-values[id] if scores else values[id], id))
    places = dict(zip((0, (len(ranked) - 1) // 2, len(ranked) - 1), RANKS, strict=True))
    return tuple(Choice(ranked[i], rank, measure, float(np.float64(values[ranked[i]]))) for i, rank in places.items())


def shown_sequences(
    runs: Mapping[int, Run],
    corpus: Corpus,
    ids: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Shown], str]:
    """The sequences that a page plays back, and how they were chosen, in words.

    Args:
        runs, corpus: as of :func:`choose`.
        ids: of the sequences; chosen if none are given.
        progress: called with (sequences done, sequences in all) while choosing.

    Raises:
        ValueError, OSError: as :func:`choose` and :func:`predictions`.
    """
    choices = tuple(map(Choice, ids)) if ids else choose(runs, corpus, progress)
    found = {p.sequence.name: PredictionReport(p) for p in predictions(runs, corpus, [c.id for c in choices])}
    shown = []
    for choice in choices:
        report = found[choice.id]
        labelled = report.scores()
        folds = f"fold {', '.join(map(str, report.prediction.folds))}"
        shown.append(Shown(report.replay(), f"{choice}, {folds}", unit_notes(labelled) if labelled else ()))
    if ids:
        return shown, "sequences as asked for"
    ranks = ", ".join(dict.fromkeys(str(choice.rank) for choice in choices))
    return shown, f"test sequences shown: {ranks}, by {choices[0].measure}"
