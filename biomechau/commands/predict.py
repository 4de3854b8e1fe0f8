"""``biomechau predict``: the action units and muscle forces of a recording, by a trained run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from torch import Tensor
from tyro.conf import Positional, arg

from biomechau.analysis import Ensemble, Prediction, predict, predict_corpus_sequence
from biomechau.commands.command import Command, Switch
from biomechau.commands.terminal import (
    forces_table,
    input_notes,
    muscle_notes,
    prediction_table,
    progress_bar,
    say,
    show,
    tell,
)
from biomechau.corpus import Corpus, FaceSequence, read_sequence
from biomechau.corpus.manifest import MANIFEST, SEQUENCES
from biomechau.corpus.mesh_axes import SAME_AXES
from biomechau.corpus.reading import is_recorded_video, read_tracked
from biomechau.corpus.tracking import MOST_FACES, face_landmarker
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.reports.output import to_json, write_prediction
from biomechau.training.runs import open_runs


@dataclass(frozen=True)
class Predict(Command):
    """Find the action units and muscle forces of a recording with a trained run.

    With several folds in RUN, probabilities and forces are the mean of all of them, or those of --fold. Writes
    action_units.csv (probabilities), forces.csv, summary.json and prediction.png. Cells of dropped frames are empty.
    """

    input: Annotated[
        str,
        Positional,
        arg(
            metavar="INPUT",
            help="Live Link Face, MediaPipe or py-feat 2 .csv, .npz, folder of OBJ or PLY meshes, video, "
            "CORPUS/sequences/ID.safetensors, or a corpus.",
        ),
    ]
    run_folder: Annotated[Path, arg(name="run", metavar="RUN", help="Folder of the run, or of one of its folds.")]
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")] = Path("biomechau-prediction")
    fold: Annotated[int | None, arg(metavar="K", help="Use this fold alone; the mean of all if not given.")] = None
    sequence: Annotated[str | None, arg(metavar="ID", help="Sequence to take, where INPUT is a corpus.")] = None
    recorded_fps: Annotated[
        float | None, arg(metavar="FPS", help="Frame rate of the recording, where the file does not tell it [1/s].")
    ] = None
    rigid: Annotated[Switch, arg(help="Fit the head's rigid motion too, and take it out (meshes only).")] = False
    scale: Annotated[float, arg(help="Centimetres per unit of the recorded meshes.")] = 1.0
    axes: Annotated[
        str,
        arg(
            metavar="AXES",
            help="Which axes of the recorded meshes are the rig's x, y and z: --axes=x,z,-y where z is up and -y the "
            "front.",
        ),
    ] = SAME_AXES
    face: Annotated[
        int | Literal["only"] | None,
        arg(
            metavar="N",
            help='Face of a video to take: the largest is 1 and the default; "only" looks for a single face, which '
            "MediaPipe then smooths over time.",
        ),
    ] = None
    model: Annotated[
        Path | None, arg(metavar="FILE", help='MediaPipe\'s face_landmarker.task, for videos; see "biomechau track".')
    ] = None
    backbone: Annotated[
        Path | None,
        arg(
            metavar="FOLDER",
            help="Backbone of a run that reads pictures, for videos: its folder, or the corpus that it was trained on. "
            "Off the Hugging Face Hub if not given.",
        ),
    ] = None
    json: Annotated[Switch, arg(help="Print summary.json in place of the tables.")] = False

    def run(self) -> None:
        """Read, predict, write, print."""
        prediction = self._predict()
        summary = prediction.summary()
        summary["input"]["path"], summary["run"] = self.input, str(self.run_folder)
        if prediction.trained_on:
            folds = ", ".join(map(str, prediction.trained_on))
            tell("warning", f"trained on subject {prediction.subject!r}: fold(s) {folds}; --fold K takes one alone")
        written = write_prediction(prediction, summary, self.out)
        if not viz_available():
            tell("note", MISSING_VIZ)
        if self.json:
            print(to_json(summary))
            return
        show(prediction_table(summary, prediction.action_units))
        if prediction.forces is not None:
            show(forces_table(prediction.face, summary, count=6))
        filled = len(summary["frames"]["filled"])
        folds = ", ".join(map(str, prediction.folds))
        notes = [
            f"mean of the folds {folds}" if len(prediction.folds) > 1 else f"fold {folds}",
            *input_notes(summary),
            f"{filled} frames were not recorded: their cells are empty" if filled else "",
            *(
                muscle_notes(summary)
                if prediction.forces is not None
                else ["no muscle forces: the head has no physics"]
            ),
        ]
        say(*filter(None, notes), *(f"wrote {path}" for path in written))

    def _predict(self) -> Prediction:
        runs = open_runs(self.run_folder)
        if self.fold is not None:
            if self.fold not in runs:
                raise ValueError(f"{self.run_folder} has no fold {self.fold}; it has {', '.join(map(str, runs))}")
            runs = {self.fold: runs[self.fold]}
        place = corpus_sequence(Path(self.input), self.sequence)
        if place is not None:
            corpus, id = place
            with progress_bar("predicting", self.json) as progress:
                return predict_corpus_sequence(runs, corpus, id, progress)
        ensemble = Ensemble.of(runs)
        reads_pictures = ensemble.config.uses_images and is_recorded_video(Path(self.input))
        if self.backbone is not None and not reads_pictures:
            raise ValueError("--backbone belongs to a video and a run whose head reads pictures")
        with progress_bar("reading", self.json) as progress:
            recording, images = (
                self._read_pictures(ensemble, progress) if reads_pictures else (self._read(ensemble, progress), None)
            )
        for note in recording.notes:
            tell("warning", note)
        with progress_bar("predicting", self.json) as progress:
            return predict(ensemble, recording, progress, images)

    def _read(self, ensemble: Ensemble, progress: Callable[[int, int], None]) -> FaceSequence:
        return read_sequence(
            self.input,
            ensemble.rig,
            self.recorded_fps,
            self.rigid,
            self.scale,
            progress,
            axes=self.axes,
            face=self.face,
            model=self.model,
        )

    def _read_pictures(
        self, ensemble: Ensemble, progress: Callable[[int, int], None]
    ) -> tuple[FaceSequence, dict[int, Tensor]]:
        from biomechau.training.video_features import features_over_time, follow_with_features, load_run_backbones

        backbones = load_run_backbones(ensemble.runs, self.backbone)
        face = self.face if isinstance(self.face, int) else None
        with face_landmarker(self.model, 1 if self.face == "only" else MOST_FACES) as tracker:
            found = follow_with_features(self.input, tracker, backbones, progress, self.recorded_fps)
        return read_tracked(found, face), features_over_time(found, face)


def corpus_sequence(path: Path, id: str | None) -> tuple[Corpus, str] | None:
    """The corpus and the sequence that a path names; None for a recording of another kind.

    Raises:
        ValueError: a corpus without the id of a sequence, or an id without a corpus.
        OSError: a file cannot be read.
    """
    if (path / MANIFEST).is_file():
        corpus = Corpus.open(path)
        if id is None:
            raise ValueError(f"{path} is a corpus: name one of its sequences with --sequence, as {corpus.ids[0]}")
        return corpus, id
    if id is not None:
        raise ValueError(f"{path} is no corpus, so --sequence {id} cannot be found in it")
    if path.suffix == ".safetensors" and path.parent.name == SEQUENCES and (path.parent.parent / MANIFEST).is_file():
        return Corpus.open(path.parent.parent), path.stem
    return None
