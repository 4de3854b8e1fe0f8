"""``biomechau track``: blendshape coefficients from a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from biomechau.commands.command import Command
from biomechau.commands.terminal import print_lines, print_message, progress_bar


@dataclass(frozen=True)
class Track(Command):
    """Track the face in a video with MediaPipe, and write its blendshape coefficients.

    The file is an input for "biomechau forces" and "biomechau corpus". Needs the extra "track" and MediaPipe's model.
    """

    video: Annotated[Path, Positional, arg(metavar="VIDEO", help="Video file.")]
    model: Annotated[Path, arg(metavar="FILE", help="MediaPipe's face_landmarker.task.")]
    out: Annotated[Path, arg(metavar="CSV", help="File to write.")] = Path("capture.csv")

    def run(self) -> None:
        """Track, write, and print what was found."""
        from biomechau.corpus import read_sequence
        from biomechau.corpus.tracking import face_landmarker, track_video

        with face_landmarker(self.model) as tracker, progress_bar("tracking") as progress:
            track_video(self.video, tracker, self.out, progress)
        sequence = read_sequence(self.out)
        for note in sequence.notes:
            print_message("note", note)
        lost = int((~sequence.valid).sum())
        print_lines(f"{self.out}: {len(sequence)} frames at {sequence.fps:.4g} fps, {lost} without a face")
