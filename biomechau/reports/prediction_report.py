"""What trained detectors say of one recording: its files, its summary, its table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from biomechau.files import staged_directory
from biomechau.reports.action_unit_names import NAMES, column_name
from biomechau.reports.face_forces import FaceForces, Floats, describe_forces, describe_input
from biomechau.reports.figures import viz_available
from biomechau.reports.output import write_forces, write_frames, write_summary
from biomechau.reports.replay import FILE as REPLAY, Replay
from biomechau.reports.terminal import new_table
from biomechau.training.metrics import THRESHOLD, action_unit_scores

if TYPE_CHECKING:
    from biomechau.training.prediction import Prediction


@dataclass(frozen=True, eq=False)
class PredictionReport:
    """A prediction as tables and figures need it.

    Attributes:
        prediction: what the detectors said.
    """

    prediction: Prediction

    @property
    def action_units(self) -> tuple[int, ...]:
        """Numbers of the R action units."""
        return self.prediction.detector.config.action_units

    @cached_property
    def probabilities(self) -> Floats:
        """(T, R) p(y = 1)."""
        return self.prediction.probabilities.double().numpy()

    @cached_property
    def face(self) -> FaceForces:
        """The face and its muscle forces; all 0 without physics."""
        p, dynamics = self.prediction, self.prediction.detector.dynamics
        forces = p.forces
        if forces is None:
            forces = p.coefficients.new_zeros(len(p.coefficients), *dynamics.projection.shape[1:])
        return FaceForces(
            p.detector.rig, p.detector.distribution, dynamics, p.sequence, p.channels, p.coefficients, forces
        )

    def replay(self) -> Replay:
        """What a page plays back."""
        p = self.prediction
        slack = " and of the slack" if p.detector.config.slack else ""
        return Replay.of(
            self.face,
            p.coefficients - p.neutral,
            p.reconstructed,
            f"the recorded motion less that of the predicted muscle forces{slack}",
            self.action_units,
            p.probabilities,
            p.labels,
        )

    def scores(self) -> dict[str, Any] | None:
        """F1 of this sequence alone, by action unit; None without labels."""
        p = self.prediction
        if p.labels is None:
            return None
        scores = action_unit_scores(p.probabilities, p.labels, self.action_units, p.sequence.valid)
        return {"mean_f1": scores.mean_f1, "action_units": [asdict(unit) for unit in scores.units]}

    def summary(self) -> dict[str, Any]:
        """The contents of ``summary.json``."""
        p, config = self.prediction, self.prediction.detector.config
        valid = p.sequence.valid.numpy()
        shown, time = self.probabilities[valid], p.sequence.timestamp.numpy()[valid]
        return {
            **describe_input(self.face),
            "folds": list(p.folds),
            "combined": "mean of the probabilities and forces of the folds" if len(p.folds) > 1 else "one fold",
            "subject": p.subject,
            "folds_trained_on_the_subject": list(p.trained_on),
            "head": config.head,
            "source": config.source,
            "threshold": THRESHOLD,
            "neutral": dict(zip(p.detector.dynamics.shape_names, p.neutral.tolist(), strict=True)),
            "action_units": {
                column_name(unit): {
                    "mean": float(shown[:, column].mean()),
                    "peak": float(shown[:, column].max()),
                    "time_of_peak": float(time[shown[:, column].argmax()]),
                    "share_on": float((shown[:, column] > THRESHOLD).mean()),
                }
                for column, unit in enumerate(self.action_units)
            },
            "labels": self.scores(),
            **(describe_forces(self.face) if p.forces is not None else {}),
        }

    def save(self, out: str | Path, summary: dict[str, Any]) -> list[Path]:
        """Write ``action_units.csv``, ``forces.csv``, ``summary.json``, ``replay.safetensors`` for ``biomechau report``
        and, with the ``viz`` extra, ``prediction.png``.

        Cells of frames that were not recorded are empty. Without physics there are no forces.

        Args:
            out: directory to write to, made when missing; see :func:`biomechau.files.staged_directory`.
            summary: of the report.

        Returns:
            The files, in order of their names.

        Raises:
            OSError: ``out`` cannot be written.
        """
        masked = ~self.prediction.sequence.valid.numpy()
        columns = {column_name(unit): self.probabilities[:, r] for r, unit in enumerate(self.action_units)}
        with staged_directory(out) as stage:
            write_frames(self.prediction.sequence, columns, stage / "action_units.csv", masked)
            if self.prediction.forces is not None:
                write_forces(self.face, stage / "forces.csv", masked)
            write_summary(summary, stage / "summary.json")
            self.replay().save(stage / REPLAY)
            if viz_available():
                from biomechau.reports.pictures import draw_prediction

                draw_prediction(self, stage / "prediction.png")
            names = sorted(path.name for path in stage.iterdir())
        return [Path(out) / name for name in names]


def prediction_table(summary: dict[str, Any], action_units: tuple[int, ...]) -> Table:
    """How long each action unit is on, and its probability."""
    table = new_table("Action units")
    table.add_column("")
    table.add_column("name")
    for heading in ("on", "mean p", "peak p", "at [s]"):
        table.add_column(heading, justify="right")
    scores = summary["labels"]
    if scores is not None:
        table.add_column("labelled on", justify="right")
        table.add_column("F1", justify="right")
    for unit, row in zip(action_units, summary["action_units"].values(), strict=True):
        cells = [f"{row['share_on']:.0%}", f"{row['mean']:.2f}", f"{row['peak']:.2f}", f"{row['time_of_peak']:.2f}"]
        if scores is not None:
            score = next(score for score in scores["action_units"] if score["action_unit"] == unit)
            known = score["known_frames"]
            cells += [f"{score['positive_rate']:.0%}" if known else "", _two_digits(score["f1"])]
        table.add_row(column_name(unit), NAMES.get(unit, ""), *cells)
    return table


def expressive_frames(strength: Floats, valid: np.ndarray, count: int) -> list[int]:
    """Up to ``count`` valid frames of large strength (T,), a fair share of the recording apart, in order of time."""
    apart = max(len(strength) // (2 * count), 1)
    left = np.where(valid, strength, -np.inf)
    chosen: list[int] = []
    while len(chosen) < count and np.isfinite(left).any():
        frame = int(left.argmax())
        chosen.append(frame)
        left[max(frame - apart, 0) : frame + apart + 1] = -np.inf
    return sorted(chosen)


def _two_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
