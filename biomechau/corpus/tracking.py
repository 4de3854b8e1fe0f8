"""Tracks the faces in a video with MediaPipe's face landmarker, and writes their blendshape coefficients."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from biomechau.corpus.channel_names import MEDIAPIPE_SHAPES, NEUTRAL
from biomechau.corpus.face_tracks import Face, FaceTrack, FaceTracks
from biomechau.corpus.landmarker_model import find_model
from biomechau.corpus.video import read_frames
from biomechau.files import replacing

MISSING_MEDIAPIPE = 'tracking needs MediaPipe: pip install "biomechau[track]"'
# Number of faces to look for in each picture.
MOST_FACES = 4


class Tracker(Protocol):
    """Finds the faces in one picture after the other."""

    def __call__(self, picture: NDArray[np.uint8], milliseconds: int) -> list[Face]:
        """The faces, each with its 52 scores in MediaPipe's order; milliseconds increase from call to call."""
        ...


@dataclass(frozen=True)
class TrackedVideo:
    """The files written for a video.

    Attributes:
        files: one for each requested face.
        notes: what the user should know, in words.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class FollowedVideo:
    """The faces of a video.

    Attributes:
        video: its file or folder.
        frames: number and time [s] of each frame.
        faces: at least one, the largest first.
        passing: number of faces that were left out because they appear only briefly.
    """

    video: str | Path
    frames: tuple[tuple[int, float], ...]
    faces: tuple[FaceTrack, ...]
    passing: int

    def face(self, number: int | None = None) -> FaceTrack:
        """The face with a number, from 1; the largest if not given.

        Raises:
            ValueError: there is no such face.
        """
        if number is not None and not 1 <= number <= len(self.faces):
            raise ValueError(
                f"{self.video}: there is no face {number}: {len(self.faces)} found, counted from 1, the largest first"
            )
        return self.faces[0 if number is None else number - 1]

    def notes(self, chosen: bool) -> tuple[str, ...]:
        """Notes for the user; ``chosen`` says whether a face was requested."""
        count = len(self.faces)
        notes = [
            f"{count} faces: the largest is used (--face 2 selects the next)" if count > 1 and not chosen else "",
            f"{self.passing} faces appeared only briefly and were left out" if self.passing else "",
        ]
        return tuple(filter(None, notes))

    def write(self, track: FaceTrack, path: Path) -> None:
        """Write one face as a CSV file.

        Raises:
            OSError: the file cannot be written.
        """
        with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("frame", "timestamp", NEUTRAL, *MEDIAPIPE_SHAPES))
            for index, (number, time) in enumerate(self.frames):
                found = track.faces.get(index)
                values = [f"{score:.6g}" for score in found.scores] if found else [""] * (1 + len(MEDIAPIPE_SHAPES))
                writer.writerow((number, f"{time:.6f}", *values))


def follow_faces(
    video: str | Path, tracker: Tracker, progress: Callable[[int, int], None] | None = None, fps: float | None = None
) -> FollowedVideo:
    """Find the faces of a video and follow them over time (:class:`biomechau.corpus.face_tracks.FaceTracks`).

    Args:
        video: the file, or a folder of numbered pictures.
        tracker: see :func:`face_landmarker`.
        progress: called with (frames done, total frames).
        fps: frame rate [1/s]; needed for pictures; for a file, used instead of its own times.

    Raises:
        ImportError: a package that reads the video is not installed.
        ValueError: not a video, fewer than 2 frames, or no frame with a face.
        OSError: a file cannot be read.
    """
    tracks, frames = FaceTracks(), []
    before = -1
    for frame in read_frames(video, fps, progress):
        # MediaPipe needs increasing times, also for frames less than a millisecond apart.
        before = max(round(1000 * frame.time), before + 1)
        tracks.add(tracker(frame.picture, before))
        frames.append((frame.number, frame.time))
    if len(frames) < 2:
        raise ValueError(f"{video}: expected at least 2 frames, found {len(frames)}")
    found, passing = tracks.by_size()
    if not found:
        raise ValueError(f"{video}: no face was found in its {len(frames)} frames")
    return FollowedVideo(video, tuple(frames), tuple(found), passing)


def track_video(
    video: str | Path,
    tracker: Tracker,
    out: str | Path,
    progress: Callable[[int, int], None] | None = None,
    fps: float | None = None,
    face: int | Literal["all", "only"] | None = None,
) -> TrackedVideo:
    """Track the faces of a video and write CSV files that :func:`biomechau.corpus.read_sequence` reads.

    Columns are ``frame`` (from 0, or the numbers of the pictures), ``timestamp`` [s] after the first frame,
    ``_neutral`` and the 51 shapes; a frame without the face has empty values. Faces are numbered from 1, the largest
    first.

    Args:
        video: the file, or a folder of numbered pictures.
        tracker: see :func:`face_landmarker`.
        out: the CSV file to write; with ``face="all"`` and several faces ``NAME_face1.csv``, ``NAME_face2.csv``, ...
        progress, fps: see :func:`follow_faces`.
        face: number of the face, ``"all"``, or ``"only"`` if the tracker looks for one; the largest if not given.

    Raises:
        ImportError, ValueError, OSError: see :func:`follow_faces`; also if there is no face with this number, or a file
            cannot be written.
    """
    found, out = follow_faces(video, tracker, progress, fps), Path(out)
    if face == "all" and len(found.faces) > 1:
        files = {out.with_name(f"{out.stem}_face{n}{out.suffix}"): track for n, track in enumerate(found.faces, 1)}
    else:
        files = {out: found.face(face if isinstance(face, int) else None)}
    for file, track in files.items():
        found.write(track, file)
    return TrackedVideo(tuple(files), found.notes(face is not None))


@contextmanager
def face_landmarker(model: str | Path | None = None, most_faces: int = MOST_FACES) -> Iterator[Tracker]:
    """MediaPipe's face landmarker as a tracker; its log messages are hidden.

    Args:
        model: the file ``face_landmarker.task``, see :func:`biomechau.corpus.landmarker_model.find_model`.
        most_faces: number of faces to look for in each picture. MediaPipe smooths over time only if it is 1.

    Raises:
        ImportError: MediaPipe is not installed.
        FileNotFoundError: there is no such file.
        ValueError: not a face landmarker model.
        OSError: the file cannot be read.
    """
    try:
        import mediapipe  # pyright: ignore[reportMissingImports]
        from mediapipe.tasks.python import BaseOptions, vision  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(MISSING_MEDIAPIPE) from error
    model = find_model(model)
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        num_faces=most_faces,
        output_face_blendshapes=True,
    )
    try:
        with _quiet():
            landmarker = vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{model}: not a model of MediaPipe's face landmarker: {error}") from error

    def track(picture: NDArray[np.uint8], milliseconds: int) -> list[Face]:
        # Defined at import time, so the type checker does not see them.
        image_type, formats = mediapipe.Image, mediapipe.ImageFormat  # pyright: ignore[reportAttributeAccessIssue]
        image = image_type(image_format=formats.SRGB, data=picture)
        with _quiet():
            return found_faces(landmarker.detect_for_video(image, milliseconds))

    try:
        yield track
    finally:
        with _quiet():
            landmarker.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep native code from writing to stderr: MediaPipe logs each step of its start there."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError):  # there is no stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def found_faces(result: Any) -> list[Face]:
    """The faces of a ``FaceLandmarkerResult``, each with the box around its landmarks and its 52 scores in MediaPipe's
    order.

    Raises:
        ValueError: a face lacks some of the blendshapes.
    """
    faces = []
    for index, landmarks in enumerate(result.face_landmarks):
        shapes = result.face_blendshapes
        scores = {category.category_name: category.score for category in (shapes[index] if index < len(shapes) else ())}
        missing = [name for name in (NEUTRAL, *MEDIAPIPE_SHAPES) if name not in scores]
        if missing:
            raise ValueError(f"the model gives no score for {missing[0]}, expected MediaPipe's 52 blendshapes")
        x, y = [point.x for point in landmarks], [point.y for point in landmarks]
        box = (min(x), min(y), max(x), max(y))
        faces.append(Face(box, [scores[name] for name in (NEUTRAL, *MEDIAPIPE_SHAPES)]))
    return faces
