"""Choice of the best, the median and the worst sequence of a run, and of expressive frames of a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from biomechau.analysis.detection import predict_corpus_sequences
from biomechau.analysis.ensemble import Ensemble
from biomechau.analysis.face_forces import Floats
from biomechau.analysis.prediction import Prediction
from biomechau.corpus import Corpus
from biomechau.training.run import Run

RANKS = ("best", "median", "worst")
F1, ERROR = "mean F1 of the sequence", "residual of the sequence"


@dataclass(frozen=True)
class Choice:
    """A chosen sequence.

    Attributes:
        id: of the sequence.
        rank: one of :data:`RANKS`; None if the sequence was requested.
        measure: criterion of the ranking, :data:`F1` or :data:`ERROR`; None if the sequence was requested.
        value: of the measure.
    """

    id: str
    rank: str | None = None
    measure: str | None = None
    value: float | None = None

    def __str__(self) -> str:
        if self.rank is None or self.value is None:
            return "as requested"
        return f"{self.rank}, F1 {100 * self.value:.0f}" if self.measure == F1 else f"{self.rank}, {self.value:.2f} mm"


def fit_to_test(ensemble: Ensemble, corpus: Corpus) -> dict[str, tuple[int, ...]]:
    """By sequence, the folds that may be tested on it: the one that tests its subject, or all on another corpus."""
    if not ensemble.trained_on(corpus):
        return dict.fromkeys(corpus.ids, ensemble.folds)
    return {id: (number,) for number, run in ensemble.runs.items() for id in corpus.ids_of(run.fold.test)}


def predictions(
    run: Ensemble | Mapping[int, Run] | str | Path,
    corpus: Corpus,
    ids: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Prediction]:
    """Predictions of sequences by the folds that may be tested on them, grouped by fold.

    Raises:
        ValueError: no such sequence, or a subject that no fold tests.
        OSError: a file cannot be read.
    """
    ensemble = Ensemble.of(run)
    able = fit_to_test(ensemble, corpus)
    for id in ids:
        if id not in corpus.ids:
            raise ValueError(f"{corpus.path} has no sequence {id!r}; it has {', '.join(corpus.ids[:3])}, ...")
        if id not in able:
            raise ValueError(f"sequence {id} of {corpus.path}: its subject is a test subject of no fold of the run")
    done = 0
    for folds in dict.fromkeys(able[id] for id in ids):
        own = [id for id in ids if able[id] == folds]
        for prediction in predict_corpus_sequences(ensemble.only(folds), corpus, own):
            done += 1
            if progress is not None:
                progress(done, len(ids))
            yield prediction


def choose(
    run: Ensemble | Mapping[int, Run] | str | Path,
    corpus: Corpus,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Choice, ...]:
    """The best, the median and the worst test sequence by mean F1, or by the residual if nothing is labelled.

    F1 is computed for each sequence alone, as the mean over the action units that occur in it.

    Args:
        run: folder of a run, or any argument of :meth:`biomechau.analysis.Ensemble.of`.
        corpus: contains the sequences.
        progress: called with (sequences done, sequences in all).

    Raises:
        ValueError: no sequence has an F1 or a residual, or the corpus does not match.
        OSError: a file cannot be read.
    """
    ensemble = Ensemble.of(run)
    scores: dict[str, float] = {}
    errors: dict[str, float] = {}
    for prediction in predictions(ensemble, corpus, list(fit_to_test(ensemble, corpus)), progress):
        found, missed = prediction.scores(), prediction.residual
        if found is not None and found["mean_f1"] is not None:
            scores[prediction.sequence.name] = found["mean_f1"]
        if missed is not None and prediction.sequence.valid.any():
            errors[prediction.sequence.name] = float(missed[prediction.sequence.valid.numpy()].mean())
    measure, values = (F1, scores) if scores else (ERROR, errors)
    if not values:
        raise ValueError(f"{corpus.path}: no test sequence has labels or forces to choose by; name the sequences")
    ranked = sorted(values, key=lambda id: (-values[id] if scores else values[id], id))
    chosen = dict(zip((0, (len(ranked) - 1) // 2, len(ranked) - 1), RANKS, strict=True))
    return tuple(Choice(ranked[i], rank, measure, float(np.float64(values[ranked[i]]))) for i, rank in chosen.items())


def chosen_predictions(
    run: Ensemble | Mapping[int, Run] | str | Path,
    corpus: Corpus,
    ids: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[tuple[Choice, Prediction], ...]:
    """Chosen sequences, and their predictions by the folds that may be tested on them.

    Args:
        run, corpus: as of :func:`choose`.
        ids: of the sequences; chosen if none are given.
        progress: called with (sequences done, sequences in all) while choosing.

    Raises:
        ValueError, OSError: as :func:`choose` and :func:`predictions`.
    """
    ensemble = Ensemble.of(run)
    choices = tuple(map(Choice, ids)) if ids else choose(ensemble, corpus, progress)
    found = {p.sequence.name: p for p in predictions(ensemble, corpus, [choice.id for choice in choices])}
    return tuple((choice, found[choice.id]) for choice in choices)


def expressive_frames(strength: Floats, valid: npt.NDArray[np.bool_], count: int) -> list[int]:
    """Up to ``count`` valid frames of large strength (T,), well separated, in order of time."""
    apart = max(len(strength) // (2 * count), 1)
    left = np.where(valid, strength, -np.inf)
    chosen: list[int] = []
    while len(chosen) < count and np.isfinite(left).any():
        frame = int(left.argmax())
        chosen.append(frame)
        left[max(frame - apart, 0) : frame + apart + 1] = -np.inf
    return sorted(chosen)
