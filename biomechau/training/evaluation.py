"""Evaluation of a run on subjects that were not used for its training."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from biomechau.corpus import Corpus, DrivenCorpus, LabelledCorpus, ResampledCorpus
from biomechau.csv_output import write_rows
from biomechau.file_errors import naming
from biomechau.files import staged_directory
from biomechau.json_file import read_json_object
from biomechau.models import Detector
from biomechau.rig.action_unit_names import SIDE_NAMES
from biomechau.training._protocol import subjects_and_frames
from biomechau.training.data import DetectorWindows
from biomechau.training.evaluation_entries import check_fold, read_intensities, read_sides
from biomechau.training.intensity_scores import IntensityScore, intensity_scores
from biomechau.training.metrics import (
    ActionUnitScore,
    ActionUnitScores,
    ForceRecovery,
    action_unit_scores,
    force_recovery,
    relative_error,
)
from biomechau.training.run import PROTOCOL, Run, save_json

SCORES, RECOVERY, SUMMARY = "action_unit_scores.csv", "force_recovery.csv", "evaluation.json"
SIDES, INTENSITIES = "side_scores.csv", "intensity_scores.csv"


@dataclass(frozen=True)
class Evaluation:
    """Scores of one run on the test subjects.

    Attributes:
        scores: of the action units.
        forces: recovery of the true muscle forces; None without physics or without true forces of the same muscles.
        reconstruction: error of the decoded motion over its standard deviation, see
            :func:`biomechau.training.relative_error`, except in the first frame of each window, which is given. None
            without physics.
        protocol: how the run was trained and tested, as JSON values.
        sides: scores of the units that have sides, under "left" and "right"; empty without labels of sides.
        intensities: agreement with the coded intensities of the units that have them.
    """

    scores: ActionUnitScores
    forces: ForceRecovery | None
    reconstruction: float | None
    protocol: dict[str, Any]
    sides: Mapping[str, ActionUnitScores] = field(default_factory=dict)
    intensities: tuple[IntensityScore, ...] = ()

    def save(self, folder: str | Path) -> None:
        """Write ``action_unit_scores.csv`` and ``evaluation.json``, ``side_scores.csv``, ``intensity_scores.csv`` and
        ``force_recovery.csv`` if sides, intensities and forces are known.

        Raises:
            OSError: the folder cannot be written.
        """
        with staged_directory(folder) as stage:
            units = [asdict(unit) for unit in self.scores.units]
            write_csv(stage / SCORES, list(ActionUnitScore.__dataclass_fields__), units)
            if sides := side_rows(self.sides):
                write_csv(stage / SIDES, list(sides[0]), sides)
            if self.intensities:
                rows = list(map(asdict, self.intensities))
                write_csv(stage / INTENSITIES, list(rows[0]), rows)
            if self.forces is not None:
                rows = [{"muscle": m, "r": r} for m, r in zip(self.forces.muscles, self.forces.r, strict=True)]
                write_csv(stage / RECOVERY, ["muscle", "r"], rows)
            save_json(self.summary(), stage / SUMMARY)

    def summary(self) -> dict[str, Any]:
        """The contents of ``evaluation.json``."""
        return {
            **self.scores.means.summary(),
            "without_positives": list(self.scores.without_positives),
            "action_units": [asdict(unit) for unit in self.scores.units],
            "sides": {side: [asdict(unit) for unit in scores.units] for side, scores in self.sides.items()},
            "intensities": list(map(asdict, self.intensities)),
            "force_recovery_median_r": None if self.forces is None else self.forces.median,
            "force_recovery": None
            if self.forces is None
            else dict(zip(self.forces.muscles, self.forces.r, strict=True)),
            "muscles_never_used": [] if self.forces is None else list(self.forces.never_used),
            "reconstruction_error_over_std": self.reconstruction,
            "protocol": self.protocol,
        }

    @classmethod
    def load(cls, folder: str | Path) -> Evaluation:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: ``evaluation.json`` is not of this version; the message names the file and the entry.
            OSError: the file cannot be read.
        """
        path = Path(folder) / SUMMARY
        values = read_json_object(path)
        with naming(f"{path}: not an evaluation of this version"):
            units, r = check_fold(values), values["force_recovery"]
            recovery = None if r is None else ForceRecovery(tuple(r), tuple(r.values()))
            error, sides, intensities = (
                values["reconstruction_error_over_std"],
                read_sides(values),
                read_intensities(values),
            )
            return cls(ActionUnitScores(units), recovery, error, values["protocol"], sides, intensities)


def evaluate(run: Run | str | Path, corpus: Corpus, subjects: Iterable[str] | None = None) -> Evaluation:
    """Evaluate a run.

    Args:
        run: the run, or its folder.
        corpus: contains the test subjects: the training corpus, or another, which is resampled to the frame rate of the
            run (:class:`biomechau.corpus.ResampledCorpus`). If it was made with another rig, the names of its shapes
            tell which of the run's they drive (:class:`biomechau.corpus.DrivenCorpus`). Action units without labels in
            it are not tested.
        subjects: to test on; the test subjects of the run's fold if not given.

    Raises:
        ValueError: training has not finished, the corpus does not match, it has another rig and the detector reads
            meshes, or a subject was used for training.
        OSError: a file cannot be read.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    tested = run.fold.test if subjects is None else tuple(subjects)
    run.check_test(corpus, tested)
    seen: LabelledCorpus = run.seen_by_head(corpus)
    detector, config = run.detector(), run.config
    recorded_fps, fps = corpus.fps, config.detector.physics.fps
    if recorded_fps != fps:
        seen = ResampledCorpus(run.seen_by_head(corpus), fps)
    rigs: dict[str, Any] = {}
    if not run.same_rig(corpus):
        seen = DrivenCorpus(seen, detector.rig)
        rigs = {"another_rig": {"by": "names of the shapes", "missing_shapes": list(seen.channels.missing_shapes)}}
    windows = DetectorWindows(
        seen, tested, detector, config.num_frames, neutral=config.neutral, some_units=not run.trained_on(corpus)
    )
    frames = _collect(detector, windows, config.batch_size)
    units = detector.config.action_units
    known = [column for column, unit in enumerate(units) if unit in corpus.action_units]
    scores = action_unit_scores(
        frames["probabilities"][:, known],
        frames["labels"][:, known],
        [units[column] for column in known],
        thresholds=None if run.own_thresholds is None else [run.own_thresholds[column] for column in known],
    )
    sides = _side_scores(frames, detector, corpus.action_units)
    intensities = _intensity_scores(frames, detector, corpus.action_units)
    forces = reconstruction = None
    if "forces" in frames:
        reconstruction = relative_error(frames["coefficients"], frames["reconstructed"])
        if "muscle_forces" in frames:
            forces = _recovery(frames["forces"], detector, frames["muscle_forces"], corpus.muscles)
    protocol = read_json_object(run.path / PROTOCOL)
    other = {} if run.trained_on(corpus) else {"another_corpus": "none of it was trained on"}
    rates = {} if recorded_fps == fps else {"fps": fps, "resampled_from_fps": recorded_fps}
    untested = [unit for unit in units if unit not in corpus.action_units]
    about = {
        **other,
        **rates,
        **rigs,
        **({"without_labels": untested} if untested else {}),
        "corpus": dict(corpus.provenance),
    }
    protocol["test"] = {**subjects_and_frames(seen, tested), **about}
    return Evaluation(scores, forces, reconstruction, protocol, sides, intensities)


def _side_scores(
    frames: dict[str, Tensor], detector: Detector, labelled: Collection[int]
) -> dict[str, ActionUnitScores]:
    """Scores of the labelled units that have sides, by the name of the side."""
    if "side_labels" not in frames or detector.sides is None:
        return {}
    units = [unit for unit in detector.paired_units if unit in labelled]
    paired = [detector.config.action_units.index(unit) for unit in units]
    if not units:
        return {}
    found, labels = (frames[name][:, paired] for name in ("side_probabilities", "side_labels"))
    return {side: action_unit_scores(found[..., i], labels[..., i], units) for i, side in enumerate(SIDE_NAMES)}


def _intensity_scores(
    frames: dict[str, Tensor], detector: Detector, labelled: Collection[int]
) -> tuple[IntensityScore, ...]:
    """Agreement of the labelled units whose intensity both the detector and the coders give."""
    if "coded_intensities" not in frames:
        return ()
    units = detector.config.intensity_units or ()
    known = [column for column, unit in enumerate(units) if unit in labelled]
    if not known:
        return ()
    said = frames["probabilities"][:, detector.intense]
    found, coded, said = (part[:, known] for part in (frames["intensities"], frames["coded_intensities"], said))
    return intensity_scores(found, coded, said, [units[column] for column in known])


def _collect(detector: Detector, windows: DetectorWindows, batch_size: int) -> dict[str, Tensor]:
    """Outputs and truth in all valid frames by name, each (frames, ...)."""
    found: dict[str, list[Tensor]] = {}
    for batch in DataLoader(windows, batch_size):
        for name, tensor in _valid_frames(detector, batch):
            found.setdefault(name, []).append(tensor)
    return {name: torch.cat(tensors) for name, tensors in found.items()}


@torch.no_grad()
def _valid_frames(detector: Detector, batch: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    output, valid = detector(batch), batch["valid"]
    yield "probabilities", output.probabilities[valid]
    yield "labels", batch["labels"][valid]
    if output.side_probabilities is not None and "side_labels" in batch:
        yield "side_probabilities", output.side_probabilities[valid]
        yield "side_labels", batch["side_labels"][valid]
    if output.intensities is not None and "intensities" in batch:
        yield "intensities", output.intensities[valid]
        yield "coded_intensities", batch["intensities"][valid]
    if output.forces is None:
        return
    vector = detector.config.physics.force == "vector"
    yield "forces", (output.forces.norm(dim=-1) if vector else output.forces)[valid]
    decoded = valid[:, 1:]
    yield "coefficients", batch["coefficients"][:, 1:][decoded]
    yield "reconstructed", output.coefficients[:, 1:][decoded]
    if "muscle_forces" in batch:
        truth = batch["muscle_forces"]
        yield "muscle_forces", (truth.norm(dim=-1) if truth.ndim == 4 else truth)[valid]


def _recovery(forces: Tensor, detector: Detector, truth: Tensor, muscles: Sequence[str]) -> ForceRecovery | None:
    """Force recovery over the muscles that both have."""
    own = detector.dynamics.muscles.names
    common = [muscle for muscle in muscles if muscle in own]
    if not common:
        return None
    columns = [own.index(muscle) for muscle in common], [muscles.index(muscle) for muscle in common]
    return force_recovery(forces[:, columns[0]], truth[:, columns[1]], common)


def side_rows(sides: Mapping[str, ActionUnitScores]) -> list[dict[str, Any]]:
    """Rows of ``side_scores.csv``, left and right of each unit; thresholds are of the units and not of their sides."""
    pairs = zip(*(scores.units for scores in sides.values()), strict=True)
    rows = [{"side": side, **asdict(unit)} for pair in pairs for side, unit in zip(sides, pair, strict=True)]
    return [{name: value for name, value in row.items() if "threshold" not in name} for row in rows]


def write_csv(path: Path, columns: list[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a table with a header; None is an empty cell."""
    write_rows(path, columns, ([row[column] for column in columns] for row in rows))
