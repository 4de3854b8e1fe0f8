"""What stands behind a prediction: whom the detectors were trained on, and what they reached on other people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from biomechau.analysis.ensemble import Ensemble
from biomechau.json_file import read_json_object
from biomechau.training.evaluation_entries import read_scores
from biomechau.training.run import PROTOCOL

_SIMULATOR = "biomechau simulator"
SIMULATED = "trained on simulated people alone: it has seen no labelled real face"


@dataclass(frozen=True)
class Background:
    """Of an ensemble of detectors.

    Attributes:
        source: what made the corpus that they were trained on; None where their folder does not tell.
        tested_on: whom they were tested on, in words; None where no test lies in the folder of the run.
        test_f1: F1 of each action unit in that test at the unit's own threshold, by its number; None where it has
            none. At 0.5 in tests of an older version.
    """

    source: str | None
    tested_on: str | None
    test_f1: Mapping[int, float | None]

    @classmethod
    def of(cls, ensemble: Ensemble) -> Background:
        """What ``protocol.json`` and ``evaluation.json`` in the folder of the run say.

        Raises:
            ValueError: one of the files is broken; the message names it.
            OSError: a file cannot be read.
        """
        protocol = ensemble.path / PROTOCOL
        corpus = read_json_object(protocol).get("corpus") if protocol.is_file() else None
        source = corpus.get("source") if isinstance(corpus, dict) else None
        scores = _scores(ensemble)
        return cls(
            source if isinstance(source, str) else None,
            None if scores is None else scores["tested_on"],
            {} if scores is None else {unit["action_unit"]: _f1(unit) for unit in scores["action_units"]},
        )

    @property
    def simulated(self) -> bool:
        """Whether the detectors were trained on simulated people."""
        return self.source == _SIMULATOR

    def summary(self) -> dict[str, Any]:
        """As ``summary.json`` has it."""
        return {
            "corpus": self.source,
            "simulated": self.simulated,
            "note": SIMULATED if self.simulated else None,
            "tested_on": self.tested_on,
        }


def _f1(unit: Mapping[str, Any]) -> float | None:
    own = unit.get("threshold_f1")
    return unit["f1"] if own is None else own


def _scores(ensemble: Ensemble) -> dict[str, Any] | None:
    """The test of the folder itself, or of the run that its folds are part of, if all of them are."""
    # Here, because it loads Lightning.
    from biomechau.training.evaluation import SUMMARY, Evaluation

    own, whole = ensemble.path / SUMMARY, ensemble.path.parent / SUMMARY
    if own.is_file():
        if "folds" in read_json_object(own):
            return read_scores(own)
        # That of one fold, as experiments leave it there.
        found = Evaluation.load(ensemble.path)
        other = "another_corpus" in found.protocol.get("test", {})
        tested = "subjects of another corpus" if other else "the test subjects of the fold"
        return {"tested_on": tested, "action_units": list(map(asdict, found.scores.units))}
    if not whole.is_file():
        return None
    scores = read_scores(whole)
    return scores if {str(number) for number in ensemble.folds} <= scores["folds"].keys() else None
