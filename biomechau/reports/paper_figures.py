"""Fig. 2, 4 and 5 of the paper, for a run and a corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biomechau.analysis import Choice, FaceForces, Prediction, UnitCorrelation, expressive_frames, unit_correlations
from biomechau.corpus import Corpus
from biomechau.corpus.pictures import SequencePictures, find_pictures
from biomechau.files import staged_directory
from biomechau.reports._paper_drawings import (
    Moments,
    Panel,
    area_figure,
    area_pictures,
    correlation_figure,
    moments_figure,
    save_all,
)
from biomechau.reports._render import FaceRenderer
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.reports.output import write_summary
from biomechau.rig.action_unit_names import column_name
from biomechau.rig.muscles import split_identifier

Photograph = Callable[[str, float], npt.NDArray[np.uint8] | None]
NUM_PANELS, NUM_MOMENTS = 4, 5
FILE = "figures.json"


def paper_figures(
    chosen: Sequence[tuple[Choice, Prediction]],
    out: str | Path,
    photograph: Photograph | None = None,
    height: int = 450,
    about: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write Fig. 2 (effective areas), Fig. 4 (force and label over time) and Fig. 5 (faces and forces).

    Fig. 4 shows for each sequence the action units whose labels are most balanced, each with the muscle that
    contributes to the fewest other units; ``figures.json`` has r for all pairs of a muscle and a unit that it
    contributes to. Nothing is selected by r.

    Args:
        chosen: sequences to show, see :func:`biomechau.analysis.chosen_predictions`.
        out: folder for ``figure2.png``, ``figure4.png``, ``.pdf`` and ``.svg``, ``figure5.png``, and ``figures.json``
            with captions and numbers.
        photograph: gives the picture (H, W, 3) of a sequence at a time [s], or None; faces are rendered otherwise.
        height: of each rendered face [pixels].
        about: first entries of ``figures.json``, such as corpus and run.

    Returns:
        The files, in order of their names.

    Raises:
        ValueError: predictions without forces or labels.
        OSError: a file cannot be written.
        ImportError: the ``viz`` extra is not installed.
    """
    if not viz_available():
        raise ImportError(MISSING_VIZ)
    choices, predictions = zip(*chosen, strict=True)
    if predictions[0].forces is None:
        raise ValueError(f"{predictions[0].ensemble.path}: its head has no physics, so there are no muscle forces")
    titles = [f"{choice.id} ({choice})" for choice in choices]
    ranked = choices[0].measure
    how = f"best, median and worst test sequence by {ranked}" if ranked else "sequences as requested"
    contents: dict[str, Any] = {
        **(about or {}),
        "chosen": how,
        "sequences": [
            {"id": c.id, "rank": c.rank, "measure": c.measure, "value": c.value, "folds": list(p.folds)}
            for c, p in chosen
        ],
    }
    with staged_directory(out) as stage:
        contents["figure2"] = _areas(predictions[0].face, height, stage)
        contents["figure4"] = _correlations(predictions, titles, how, stage)
        contents["figure5"] = _moments(predictions, titles, how, photograph, height, stage)
        write_summary(contents, stage / FILE)
        names = sorted(path.name for path in stage.iterdir())
    return [Path(out) / name for name in names]


def photographs(corpus: Corpus, root: str | Path) -> Photograph:
    """A function that gives the picture of a sequence of a corpus at a time [s], None if there is none.

    Args:
        corpus: contains the sequences.
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


def _correlations(predictions: Sequence[Prediction], titles: Sequence[str], how: str, stage: Path) -> dict[str, Any]:
    shown, numbers = [], []
    for prediction, title in zip(predictions, titles, strict=True):
        found = unit_correlations(prediction)
        numbers.append({"sequence": prediction.sequence.name, "r": [_numbers(pair) for pair in found]})
        first: dict[int, UnitCorrelation] = {}
        for pair in sorted(found, key=lambda pair: pair.other_units):
            first.setdefault(pair.action_unit, pair)
        valid, time = prediction.sequence.valid.numpy(), prediction.sequence.timestamp.numpy()
        panels = {
            unit: Panel(f"{column_name(unit)} and {pair.muscle}", time, pair.force, pair.label, valid, pair.r)
            for unit, pair in first.items()
        }
        even = sorted(panels, key=lambda unit: (-_evenness(panels[unit]), unit))[:NUM_PANELS]
        shown.append((title, [panels[unit] for unit in sorted(even)]))
    caption = (
        "Magnitude of the predicted muscle force, left and right together (blue), and label of the action unit "
        f"(orange), with their correlation r over the labelled frames. {how[0].upper()}{how[1:]}; of each the action "
        "units whose label is most evenly on and off, with the muscle that serves the fewest other units."
    )
    unit = f"muscle force [{predictions[0].face.force_unit}]"
    figure = correlation_figure(shown, unit, caption)
    files = save_all(figure, stage / "figure4", "Muscle force and action unit label", caption, vector=True)
    return {"files": files, "caption": caption, "correlations": numbers}


def _numbers(pair: UnitCorrelation) -> dict[str, Any]:
    return {name: getattr(pair, name) for name in ("action_unit", "muscle", "other_units", "r", "frames")}


def _evenness(panel: Panel) -> int:
    """Number of frames of the rarer label, on or off."""
    label = panel.label[panel.valid]
    return min(int((label == 1).sum()), int((label == 0).sum()))


def _moments(
    predictions: Sequence[Prediction],
    titles: Sequence[str],
    how: str,
    photograph: Photograph | None,
    height: int,
    stage: Path,
) -> dict[str, Any]:
    rows, numbers, photographed = [], [], False
    moments = []
    for prediction in predictions:
        face = prediction.face
        frames = expressive_frames(face.strength.sum(1), face.sequence.valid.numpy(), NUM_MOMENTS)
        moments.append((frames, [face.vertex_force(face.forces[frame]) for frame in frames]))
    peak = max(float(force.max()) for _, forces in moments for force in forces) or 1.0
    for prediction, title, (frames, forces) in zip(predictions, titles, moments, strict=True):
        face = prediction.face
        times = [float(face.sequence.timestamp[frame]) for frame in frames]
        vertices = [face.vertices(frame) for frame in frames]
        photos = [photograph(face.sequence.name, time) for time in times] if photograph is not None else []
        with FaceRenderer(vertices, face.rig.faces.numpy(), height, face.rig.axes) as renderer:
            below = tuple(renderer.picture(v, force / peak) for v, force in zip(vertices, forces, strict=True))
            if photos and all(photo is not None for photo in photos):
                above, photographed = tuple(photo for photo in photos if photo is not None), True
            else:
                above = tuple(map(renderer.picture, vertices))
        headings = tuple(f"{time:.2f} s\n{_labelled(prediction, f)}" for time, f in zip(times, frames, strict=True))
        rows.append(Moments(title, headings, above, below))
        highest = max(float(force.max()) for force in forces)
        numbers.append({"sequence": face.sequence.name, "frames": frames, "times": times, "peak": highest})
    unit = predictions[0].face.vertex_force_unit
    above = "Images, or rendered faces where there are none" if photographed else "Rendered faces"
    caption = (
        f"{above} (above) and the predicted muscle forces on the mesh (below) at the {NUM_MOMENTS} moments of the "
        f"largest forces that lie apart, with the action units labelled. {how[0].upper()}{how[1:]}. Colours: "
        f"{unit}."
    )
    figure = moments_figure(rows, peak, unit, caption)
    files = save_all(figure, stage / "figure5", "Faces and muscle forces", caption, vector=False)
    return {"files": files, "caption": caption, "moments": numbers}


def _labelled(prediction: Prediction, frame: int) -> str:
    labels = prediction.labels
    if labels is None:
        return ""
    on = [str(unit) for row, unit in enumerate(prediction.action_units) if labels[frame, row] == 1]
    return f"AU {' + '.join(on)}" if on else "no unit labelled"
