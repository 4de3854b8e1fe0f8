"""Fig. 2, 4 and 5 of the paper for a run and a corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from biomechau.corpus import Corpus
from biomechau.corpus.pictures import SequencePictures, find_pictures
from biomechau.files import staged_directory
from biomechau.reports.action_unit_names import column_name
from biomechau.reports.curves import split_identifier
from biomechau.reports.face_forces import FaceForces
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.reports.output import write_summary
from biomechau.reports.paper_drawings import (
    Moments,
    Panel,
    area_figure,
    area_pictures,
    correlation_figure,
    moments_figure,
    save_all,
)
from biomechau.reports.prediction_report import PredictionReport, expressive_frames
from biomechau.reports.render import FaceRenderer
from biomechau.reports.sequence_choice import Choice, choose, predictions
from biomechau.training.metrics import force_recovery
from biomechau.training.run import Run

Photograph = Callable[[str, float], npt.NDArray[np.uint8] | None]
NUM_PANELS, NUM_MOMENTS = 4, 5
FILE = "figures.json"


def paper_figures(
    runs: Mapping[int, Run],
    corpus: Corpus,
    out: str | Path,
    sequences: Sequence[str] = (),
    photograph: Photograph | None = None,
    height: int = 450,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write Fig. 2 (effective areas), Fig. 4 (force and label over time) and Fig. 5 (faces and forces).

    Fig. 4 shows, of each sequence, the action units whose label is most evenly on and off, each with the muscle that
    serves the fewest other units; all pairs of a muscle and a unit that it serves are in ``figures.json`` with their
    r. Nothing is chosen by r.

    Args:
        runs: by the number of their fold, see :func:`biomechau.training.open_runs`.
        corpus: with the sequences.
        out: folder to write ``figure2.png``, ``figure4.png``, ``.pdf`` and ``.svg``, ``figure5.png``, and
            ``figures.json`` with captions and numbers to.
        sequences: to show; the best, the median and the worst test sequence if none are given, which the captions say.
        photograph: picture (H, W, 3) of a sequence at a time [s], or None where there is none; else faces are rendered.
        height: of each rendered face [pixels].
        progress: called with (sequences done, sequences in all) while the sequences are chosen.

    Returns:
        The files, in order of their names.

    Raises:
        ValueError: no such sequence, runs without physics, a corpus without labels of the sequences.
        OSError: a file cannot be read or written.
        ImportError: the ``viz`` extra is not installed.
    """
    if not viz_available():
        raise ImportError(MISSING_VIZ)
    choices = tuple(map(Choice, sequences)) if sequences else choose(runs, corpus, progress)
    found = {p.sequence.name: PredictionReport(p) for p in predictions(runs, corpus, [c.id for c in choices])}
    reports = [found[choice.id] for choice in choices]
    if reports[0].prediction.forces is None:
        raise ValueError(f"{next(iter(runs.values())).path}: its head has no physics, so there are no muscle forces")
    titles = [f"{choice.id} ({choice})" for choice in choices]
    ranked = choices[0].measure
    how = f"best, median and worst test sequence by {ranked}" if ranked else "sequences as asked for"
    about: dict[str, Any] = {
        "corpus": corpus.path.name,
        "folds": {number: run.path.name for number, run in runs.items()},
        "chosen": how,
        "sequences": [
            {"id": c.id, "rank": c.rank, "measure": c.measure, "value": c.value, "folds": list(r.prediction.folds)}
            for c, r in zip(choices, reports, strict=True)
        ],
    }
    with staged_directory(out) as stage:
        about["figure2"] = _areas(reports[0].face, height, stage)
        about["figure4"] = _correlations(reports, titles, how, stage)
        about["figure5"] = _moments(reports, titles, how, photograph, height, stage)
        write_summary(about, stage / FILE)
        names = sorted(path.name for path in stage.iterdir())
    return [Path(out) / name for name in names]


def photographs(corpus: Corpus, root: str | Path) -> Photograph:
    """The picture of a sequence of a corpus at a time [s], or None where there is none.

    Args:
        corpus: with the sequences.
        root: of the pictures, see :func:`biomechau.corpus.pictures.find_pictures`.
    """

    def photograph(id: str, time: float) -> npt.NDArray[np.uint8] | None:
        sequence = corpus[id]
        found = find_pictures(corpus, root, sequence)
        nearest = int((sequence.timestamp - time).abs().argmin())
        one = slice(nearest, nearest + 1)
        if found.frames[nearest] is None:
            return None
        return next(
            picture for _, picture in SequencePictures(found.place, found.numbers[one], found.frames[one]).read()
        )

    return photograph


def _areas(face: FaceForces, height: int, stage: Path) -> dict[str, Any]:
    distribution = face.distribution
    coverage = dict(zip(distribution.muscles.names, distribution.coverage().share.tolist(), strict=True))
    names = {}
    for muscle in distribution.muscles:
        name = split_identifier(muscle.identifier)[0]
        names[name] = f"{name}\nAU {', '.join(map(str, muscle.action_units))}"
    lacking = f" Left out, because the rig does not show them: {', '.join(distribution.left_out)}."
    caption = (
        "Effective areas of the muscles: vertices that receive their force, deeper where P(i, m) is larger, 0 to 1. "
        f"Left and right are the subject's; where both reach, the colours mix.{lacking * bool(distribution.left_out)}"
    )
    pictures = area_pictures(face.rig, distribution, height)
    files = save_all(area_figure(pictures, names, caption), stage / "figure2", "Effective areas", caption, vector=False)
    return {"files": files, "caption": caption, "share_of_vertices": coverage}


def _correlations(reports: Sequence[PredictionReport], titles: Sequence[str], how: str, stage: Path) -> dict[str, Any]:
    shown, numbers = [], []
    for report, title in zip(reports, titles, strict=True):
        pairs = _pairs(report)
        numbers.append({"sequence": report.face.sequence.name, "r": [pair[0] for pair in pairs]})
        first: dict[int, Panel] = {}
        for _, unit, panel in sorted(pairs, key=lambda pair: pair[0]["other_units"]):
            first.setdefault(unit, panel)
        even = sorted(first, key=lambda unit: (-_evenness(first[unit]), unit))[:NUM_PANELS]
        shown.append((title, [first[unit] for unit in sorted(even)]))
    caption = (
        "Magnitude of the predicted muscle force, left and right together (blue), and label of the action unit "
        f"(orange), with their correlation r over the labelled frames. {how[0].upper()}{how[1:]}; of each the action "
        "units whose label is most evenly on and off, with the muscle that serves the fewest other units."
    )
    unit = f"muscle force [{reports[0].face.force_unit}]"
    figure = correlation_figure(shown, unit, caption)
    files = save_all(figure, stage / "figure4", "Muscle force and action unit label", caption, vector=True)
    return {"files": files, "caption": caption, "correlations": numbers}


def _pairs(report: PredictionReport) -> list[tuple[dict[str, Any], int, Panel]]:
    """Every muscle with every unit that it serves and whose label changes: numbers, unit, panel."""
    labels, face = report.prediction.labels, report.face
    if labels is None:
        raise ValueError(f"{face.sequence.name} has no labels to set beside its forces")
    columns: dict[str, list[int]] = {}
    served: dict[str, tuple[int, ...]] = {}
    for column, muscle in enumerate(face.distribution.muscles):
        name = split_identifier(muscle.identifier)[0]
        columns.setdefault(name, []).append(column)
        served[name] = muscle.action_units
    valid, time = face.sequence.valid.numpy(), face.sequence.timestamp.numpy()
    pairs = []
    for row, unit in enumerate(report.action_units):
        label = labels[:, row].numpy()
        known = valid & (label >= 0)
        if len(set(label[known].tolist())) < 2:
            continue
        for name, units in served.items():
            if unit not in units:
                continue
            force = face.strength[:, columns[name]].sum(1)
            truth = torch.from_numpy(label[known, None].astype(float))
            (r,) = force_recovery(torch.from_numpy(force[known, None]), truth, [name]).r
            assert r is not None  # the label changes
            numbers = {"action_unit": unit, "muscle": name, "other_units": len(units) - 1, "r": r}
            numbers["frames"] = int(known.sum())
            title = f"{column_name(unit)} and {name}"
            pairs.append((numbers, unit, Panel(title, time, force, label, valid, r)))
    return pairs


def _evenness(panel: Panel) -> int:
    """Frames of the rarer of on and off."""
    label = panel.label[panel.valid]
    return min(int((label == 1).sum()), int((label == 0).sum()))


def _moments(
    reports: Sequence[PredictionReport],
    titles: Sequence[str],
    how: str,
    photograph: Photograph | None,
    height: int,
    stage: Path,
) -> dict[str, Any]:
    rows, numbers, photographed = [], [], False
    for report, title in zip(reports, titles, strict=True):
        face = report.face
        frames = expressive_frames(face.strength.sum(1), face.sequence.valid.numpy(), NUM_MOMENTS)
        times = [float(face.sequence.timestamp[frame]) for frame in frames]
        vertices = [face.vertices(frame) for frame in frames]
        forces = [face.vertex_force(face.forces[frame]) for frame in frames]
        peak = max(float(force.max()) for force in forces) or 1.0
        photos = [photograph(face.sequence.name, time) for time in times] if photograph is not None else []
        with FaceRenderer(vertices, face.rig.faces.numpy(), height=height) as renderer:
            below = tuple(renderer.picture(v, force / peak) for v, force in zip(vertices, forces, strict=True))
            if photos and all(photo is not None for photo in photos):
                above, photographed = tuple(photo for photo in photos if photo is not None), True
            else:
                above = tuple(map(renderer.picture, vertices))
        headings = tuple(f"{time:.2f} s\n{_labelled(report, f)}" for time, f in zip(times, frames, strict=True))
        rows.append(Moments(title, headings, above, below))
        numbers.append({"sequence": face.sequence.name, "frames": frames, "times": times, "peak": peak})
    above = "Images, or rendered faces where there are none" if photographed else "Rendered faces"
    caption = (
        f"{above} (above) and the predicted muscle forces on the mesh (below) at the {NUM_MOMENTS} moments of the "
        f"largest forces that lie apart, with the action units labelled. {how[0].upper()}{how[1:]}. Colours: "
        f"{reports[0].face.vertex_force_unit} as a share of the highest peak of the sequence's moments."
    )
    figure = moments_figure(rows, "muscle force, share of the peak", caption)
    files = save_all(figure, stage / "figure5", "Faces and muscle forces", caption, vector=False)
    return {"files": files, "caption": caption, "moments": numbers}


def _labelled(report: PredictionReport, frame: int) -> str:
    labels = report.prediction.labels
    if labels is None:
        return ""
    on = [str(unit) for row, unit in enumerate(report.action_units) if labels[frame, row] == 1]
    return f"AU {' + '.join(on)}" if on else "no unit labelled"
