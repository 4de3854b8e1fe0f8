"""``biomechau track``: blendshape coefficients from a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from biomechau.commands.command import Command, Switch
from biomechau.commands.terminal import print_lines, print_message, progress_bar


@dataclass(frozen=True)
class Track(Command):
    """Track the face in a video with MediaPipe, and write its blendshape coefficients.

    The file is an input for "biomechau forces" and "biomechau corpus". Needs the extra "track" and MediaPipe's model:
    --model, the variable BIOMECHAU_FACE_LANDMARKER, or what --fetch-model has left in the cache.
    """

    video: Annotated[
        Path | None, Positional, arg(metavar="VIDEO", help="Video file, or folder of numbered pictures.")
    ] = None
    model: Annotated[Path | None, arg(metavar="FILE", help="MediaPipe's face_landmarker.task.")] = None
    fetch_model: Annotated[
        Switch, arg(help="Download the model into the cache first, unless it is there; checked by its SHA-256.")
    ] = False
    out: Annotated[Path, arg(metavar="CSV", help="File to write.")] = Path("capture.csv")
    recorded_fps: Annotated[
        float | None, arg(metavar="FPS", help="Frame rate: of pictures, or in place of a file's own times [1/s].")
    ] = None
    face: Annotated[
        int | Literal["all", "only"] | None,
        arg(
            metavar="N",
            help='Number of the face, the largest is 1 and the default; "all" writes a file for each; "only" looks for '
            "a single face, which MediaPipe then smooths over time.",
        ),
    ] = None

    def run(self) -> None:
        """Fetch, track, write, and print what was found."""
        from biomechau.corpus import read_sequence
        from biomechau.corpus.landmarker_model import fetch_model
        from biomechau.corpus.tracking import MOST_FACES, face_landmarker, track_video

        if self.fetch_model:
            if self.model is not None:
                raise ValueError("--fetch-model fetches the model, and --model names one: give one of them")
            print_lines(f"model: {fetch_model()}")
        if self.video is None:
            if self.fetch_model:
                return
            raise ValueError("expected a VIDEO to track, or --fetch-model")
        number = 1 if self.face == "only" else MOST_FACES
        with face_landmarker(self.model, number) as tracker, progress_bar("tracking") as progress:
            found = track_video(self.video, tracker, self.out, progress, self.recorded_fps, self.face)
        for note in found.notes:
            print_message("note", note)
        for file in found.files:
            sequence = read_sequence(file)
            for note in sequence.notes:
                print_message("note", note)
            lost = int((~sequence.valid).sum())
            print_lines(f"{file}: {len(sequence)} frames at {sequence.fps:.4g} fps, {lost} without a face")
