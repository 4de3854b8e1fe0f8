"""``biomechau predict``: the action units and muscle forces of a recording, by a trained run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from biomechau.commands._reading_options import ReadingOptions
from biomechau.commands._rest_options import RestOptions
from biomechau.commands.command import Command, Switch, load_rig
from biomechau.commands.terminal import print_lines, print_message, print_tables, progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from biomechau.analysis import Ensemble, Prediction
    from biomechau.corpus import Corpus, FaceSequence
    from biomechau.corpus.calibration import NeutralSource


@dataclass(frozen=True)
class Predict(Command):
    """Predict the action units and muscle forces of a recording with a trained run, or with the default detector.

    Probabilities are the mean over all folds in RUN, or those of --fold; forces are found by inverse dynamics, as by
    "biomechau forces", or by the detectors (--forces detector). Writes action_units.csv (probabilities, also of each
    side if the detectors tell sides), action_unit_intensities.csv (if they tell these), forces.csv, summary.json,
    prediction.png and replay.safetensors (for "biomechau report"). Cells of dropped frames are empty.
    """

    input: Annotated[
        str,
        Positional,
        arg(
            metavar="INPUT",
            help="Table of blendshapes (.csv), .json, .npz, take of Live Link Face (folder, .zip), folder of OBJ or "
            "PLY meshes, video, CORPUS/sequences/ID.safetensors, or a corpus.",
        ),
    ]
    run_folder: Annotated[
        Path | None,
        arg(
            name="run",
            metavar="RUN",
            help="Folder of the run, or of one of its folds; if not given, the default detector of the package, which "
            "was trained on simulated people.",
        ),
    ] = None
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")] = Path("biomechau-prediction")
    fold: Annotated[int | None, arg(metavar="K", help="Use only this fold; the mean of all if not given.")] = None
    forces: Annotated[
        Literal["inverse", "detector"],
        arg(
            help="Muscle forces to show: by inverse dynamics, as biomechau forces has them, or by the detectors, if "
            "their head has physics. Those of the default detector are lower where one muscle moves alone."
        ),
    ] = "inverse"
    sequence: Annotated[str | None, arg(metavar="ID", help="Sequence to use, if INPUT is a corpus.")] = None
    backbone: Annotated[
        Path | None,
        arg(
            metavar="FOLDER",
            help="Backbone of a run that reads pictures, for videos: its folder, or the corpus that it was trained on. "
            "Off the Hugging Face Hub if not given.",
        ),
    ] = None
    json: Annotated[Switch, arg(help="Print summary.json instead of the tables.")] = False
    reading: OmitArgPrefixes[ReadingOptions] = field(default_factory=ReadingOptions)
    rest: OmitArgPrefixes[RestOptions] = field(default_factory=RestOptions)

    def run(self) -> None:
        """Read, predict, write, print."""
        from biomechau.commands._tables import forces_table, input_notes, muscle_notes, prediction_table, training_notes
        from biomechau.reports.figures import MISSING_VIZ, viz_available
        from biomechau.reports.output import to_json, write_prediction

        prediction = self._predict()
        summary = prediction.summary()
        summary["input"]["path"], summary["run"] = self.input, str(self.run_folder or "default")
        if prediction.trained_on:
            folds = ", ".join(map(str, prediction.trained_on))
            print_message(
                "warning", f"subject {prediction.subject!r} was used to train fold {folds}; --fold K uses one fold"
            )
        written = write_prediction(prediction, summary, self.out)
        if not viz_available():
            print_message("note", MISSING_VIZ)
        if self.json:
            print(to_json(summary))
            return
        print_tables(prediction_table(summary, prediction.action_units))
        if prediction.has_forces:
            print_tables(forces_table(prediction.face, summary, count=6))
        folds = ", ".join(map(str, prediction.folds))
        ensemble = f"mean of the folds {folds}" if len(prediction.folds) > 1 else f"fold {folds}"
        notes = [
            ensemble if self.run_folder else "by the default detector of the package",
            *training_notes(summary),
            *input_notes(summary),
            *(muscle_notes(summary) if prediction.has_forces else ["no muscle forces: the head has no physics"]),
            f"muscle forces by {summary['forces_by']}" if prediction.has_forces else "",
            f"mean quality of the frames {summary['quality']:.2f}, from 0 to 1",
        ]
        print_lines(*filter(None, notes), *(f"wrote {path}" for path in written))

    def _predict(self) -> Prediction:
        from biomechau.analysis import corpus_recording, predict, predict_corpus_sequence
        from biomechau.corpus.reading import is_recorded_video

        self.rest.check()
        ensemble = self._ensemble()
        chosen = corpus_sequence(Path(self.input), self.sequence)
        if chosen is not None:
            if self.reading != ReadingOptions() or self.rest != RestOptions() or self.backbone is not None:
                raise ValueError(
                    "the options of how a recording is read and where the face rests, and --backbone, are not for a "
                    "corpus"
                )
            corpus, id = chosen
            with progress_bar("predicting", self.json) as progress:
                found = predict_corpus_sequence(ensemble, corpus, id, progress)
                return self._shown(found, corpus_recording(corpus[id], corpus), None)
        reads_pictures = ensemble.config.uses_images and is_recorded_video(Path(self.input))
        if self.backbone is not None and not reads_pictures:
            raise ValueError("--backbone belongs to a video and a run whose head reads pictures")
        with progress_bar("reading", self.json) as progress:
            recording, images = (
                self._read_pictures(ensemble, progress)
                if reads_pictures
                else (self.reading.read(self.input, ensemble.rig, progress), None)
            )
        for note in recording.notes:
            print_message("warning", note)
        neutral = self.rest.source(self.reading, ensemble.rig)
        with progress_bar("predicting", self.json) as progress:
            return self._shown(predict(ensemble, recording, progress, images, neutral), recording, neutral)

    def _shown(self, prediction: Prediction, recording: FaceSequence, neutral: NeutralSource | None) -> Prediction:
        from biomechau.analysis import with_inverse_forces

        if self.forces == "detector":
            return prediction
        # With the default detector, on the face that "forces" and "analyze" take.
        rig = load_rig("builtin") if self.run_folder is None else None
        return with_inverse_forces(prediction, recording, neutral, rig=rig)

    def _read_pictures(
        self, ensemble: Ensemble, progress: Callable[[int, int], None]
    ) -> tuple[FaceSequence, dict[int, Tensor]]:
        from biomechau.corpus.reading import read_tracked
        from biomechau.corpus.tracking import MOST_FACES, face_landmarker
        from biomechau.training.video_features import features_over_time, follow_with_features, load_run_backbones

        if self.reading.count_rows or self.reading.channels is not None:
            raise ValueError("--count-rows and --channels are of tables, not of videos")
        backbones = load_run_backbones(ensemble.runs, self.backbone)
        face = self.reading.face if isinstance(self.reading.face, int) else None
        with face_landmarker(self.reading.model, 1 if self.reading.face == "only" else MOST_FACES) as tracker:
            found = follow_with_features(self.input, tracker, backbones, progress, self.reading.recorded_fps)
        return read_tracked(found, face), features_over_time(found, face)

    def _ensemble(self) -> Ensemble:
        from biomechau.analysis import Ensemble
        from biomechau.training.run import DEFAULT_RUN, finished_folds, open_runs

        folder = self.run_folder or DEFAULT_RUN
        try:
            return Ensemble.of(open_runs(folder, self.fold))
        except ValueError as error:
            finished = finished_folds(folder) if self.fold is None else []
            if not finished:
                raise
            raise ValueError(f"{error}; --fold {finished[0]} predicts with that fold, which has ended") from error


def corpus_sequence(path: Path, id: str | None) -> tuple[Corpus, str] | None:
    """The corpus and the sequence that a path denotes; None for other recordings.

    Raises:
        ValueError: a corpus without the id of a sequence, or an id without a corpus.
        OSError: a file cannot be read.
    """
    from biomechau.corpus import Corpus
    from biomechau.corpus.manifest import MANIFEST, SEQUENCES

    if (path / MANIFEST).is_file():
        corpus = Corpus.open(path)
        if id is None:
            raise ValueError(
                f"{path} is a corpus: choose one of its sequences with --sequence, such as {corpus.ids[0]}"
            )
        return corpus, id
    if id is not None:
        raise ValueError(f"{path} is not a corpus, so it has no --sequence {id}")
    if path.suffix == ".safetensors" and path.parent.name == SEQUENCES and (path.parent.parent / MANIFEST).is_file():
        return Corpus.open(path.parent.parent), path.stem
    return None
