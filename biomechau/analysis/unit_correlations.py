"""Correlation of muscle forces with labels of the action units that the muscles contribute to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from biomechau.analysis.face_forces import Floats
from biomechau.analysis.prediction import Prediction
from biomechau.rig.muscles import split_identifier
from biomechau.training.metrics import force_recovery


@dataclass(frozen=True, eq=False)
class UnitCorrelation:
    """A muscle and an action unit that it contributes to, in one recording of T frames.

    Attributes:
        action_unit: its number.
        muscle: readable name, without a side.
        other_units: number of other action units that the muscle contributes to.
        force: (T,) of the muscle, left and right together.
        label: (T,) 1, 0 and -1 (unknown).
        frames: number of valid frames with a known label.
        r: correlation of force and label over these frames.
    """

    action_unit: int
    muscle: str
    other_units: int
    force: Floats
    label: npt.NDArray[np.int8]
    frames: int
    r: float


def unit_correlations(prediction: Prediction) -> list[UnitCorrelation]:
    """Every muscle with every action unit that it contributes to and whose label changes.

    Raises:
        ValueError: the recording has no labels.
    """
    labels, face = prediction.labels, prediction.face
    if labels is None:
        raise ValueError(f"{face.sequence.name} has no labels to compare with its forces")
    columns: dict[str, list[int]] = {}
    served: dict[str, tuple[int, ...]] = {}
    for column, muscle in enumerate(face.distribution.muscles):
        name = split_identifier(muscle.identifier)[0]
        columns.setdefault(name, []).append(column)
        served[name] = muscle.action_units
    valid = face.sequence.valid.numpy()
    found = []
    for row, unit in enumerate(prediction.action_units):
        label = labels[:, row].numpy()
        known = valid & (label >= 0)
        if len(set(label[known].tolist())) < 2:
            continue
        truth = torch.from_numpy(label[known, None].astype(float))
        for name, units in served.items():
            if unit in units:
                force = face.strength[:, columns[name]].sum(1)
                (r,) = force_recovery(torch.from_numpy(force[known, None]), truth, [name]).r
                assert r is not None  # the label changes
                found.append(UnitCorrelation(unit, name, len(units) - 1, force, label, int(known.sum()), r))
    return found
