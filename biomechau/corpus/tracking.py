"""Blendshape coefficients of the faces in a video, by MediaPipe's face landmarker."""

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

from biomechau.corpus.face_tracks import Face, FaceTrack, FaceTracks
from biomechau.corpus.landmarker_model import find_model
from biomechau.corpus.mediapipe import MEDIAPIPE_SHAPES, NEUTRAL
from biomechau.corpus.video import read_frames
from biomechau.files import replacing

MISSING_MEDIAPIPE = 'tracking needs MediaPipe: pip install "biomechau[track]"'
# Faces that are looked for in each picture.
MOST_FACES = 4


class Tracker(Protocol):
    """What finds the faces of one picture after the other."""

    def __call__(self, picture: NDArray[np.uint8], milliseconds: int) -> list[Face]:
        """Each face with its 52 scores in MediaPipe's order; milliseconds rise from call to call."""
        ...


@dataclass(frozen=True)
class TrackedVideo:
    """What was written of a video.

    Attributes:
        files: one for each face that was asked for.
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
        passing: faces that were left out, because they are seen for a moment only.
    """

    video: str | Path
    frames: tuple[tuple[int, float], ...]
    faces: tuple[FaceTrack, ...]
    passing: int

    def face(self, number: int | None = None) -> FaceTrack:
        """The face of a number, from 1; the largest if not given.

        Raises:
            ValueError: there is no such face.
        """
        if number is not None and not 1 <= number <= len(self.faces):
            raise ValueError(
                f"{self.video}: there is no face {number}: {len(self.faces)} found, counted from 1, the largest first"
            )
        return self.faces[0 if number is None else number - 1]

    def notes(self, chosen: bool) -> tuple[str, ...]:
        """What the user should know, in words; ``chosen`` where a face was asked for."""
        count = len(self.faces)
        notes = [
            f"{count} faces: the largest is taken (--face 2 takes the next)" if count > 1 and not chosen else "",
            f"{self.passing} faces were seen for a moment only and left out" if self.passing else "",
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
    """Find the faces of a video, and follow them by their overlap (:class:`biomechau.corpus.face_tracks.FaceTracks`).

    Args:
        video: the file, or a folder of numbered pictures.
        tracker: see :func:`face_landmarker`.
        progress: called with (frames done, frames in all).
        fps: frame rate [1/s]; needed for pictures, in place of a file's own times.

    Raises:
        ImportError: what reads the video is not installed.
        ValueError: not a video, fewer than 2 frames, or no frame with a face.
        OSError: a file cannot be read.
    """
    tracks, frames = FaceTracks(), []
    before = -1
    for frame in read_frames(video, fps, progress):
        # Rising, as MediaPipe wants it, also where frames are closer than a millisecond.
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

    Columns are ``frame`` (from 0, or as pictures are named), ``timestamp`` [s] after the first frame, ``_neutral`` and
    the 51 shapes; a frame without the face has empty values. Faces are numbered from 1, the largest first.

    Args:
        video: the file, or a folder of numbered pictures.
        tracker: see :func:`face_landmarker`.
        out: the CSV file to write; with ``face="all"`` and several faces ``NAME_face1.csv``, ``NAME_face2.csv``, ...
        progress, fps: as of :func:`follow_faces`.
        face: number of the face, ``"all"``, or ``"only"`` where the tracker looks for one; the largest if not given.

    Raises:
        ImportError, ValueError, OSError: as :func:`follow_faces`; no face of this number, a file that cannot be
            written.
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
    """MediaPipe's face landmarker as a tracker; what it logs is not shown.

    Args:
        model: the file ``face_landmarker.task``, see :func:`biomechau.corpus.landmarker_model.find_model`.
        most_faces: faces to look for in each picture. MediaPipe smooths over time where it is 1.

    Raises:
        ImportError: MediaPipe is not installed.
        FileNotFoundError: there is no such file.
        ValueError: not such a model.
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
        # Made when the package is imported, so that its types do not show them.
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
    """Keep libraries that are no Python from writing to stderr: MediaPipe logs each step of its start there."""
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
        ValueError: a face without some of the blendshapes.
    """
    faces = []
    for index, landmarks in enumerate(result.face_landmarks):
        shapes = result.face_blendshapes
        scores = {category.category_name: category.score for category in (shapes[index] if index < len(shapes) else ())}
        missing = [name for name in (NEUTRAL, *MEDIAPIPE_SHAPES) if name not in scores]
        if missing:
            raise ValueError(f"the model gives no score of {missing[0]}, expected MediaPipe's 52 blendshapes")
        x, y = [point.x for point in landmarks], [point.y for point in landmarks]
        box = (min(x), min(y), max(x), max(y))
        faces.append(Face(box, [scores[name] for name in (NEUTRAL, *MEDIAPIPE_SHAPES)]))
    return faces
