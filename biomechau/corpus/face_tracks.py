"""Faces of a video, followed from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# Overlap of two boxes, intersection over union, from which they are one face in two frames.
_OVERLAP = 0.2
# A face that was lost is the same as one that is found elsewhere, if its width is within this factor.
_SIZE = 2.0
# A face seen in fewer frames than this share of the video is a false detection, or a passer-by.
_LEAST = 0.02

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Face:
    """One face in one picture.

    Attributes:
        box: left, top, right and bottom, as shares of the picture.
        scores: of the tracker.
        features: what else was found of it, by name.
    """

    box: Box
    scores: list[float]
    features: dict[Any, Any] = field(default_factory=dict)


@dataclass
class FaceTrack:
    """One face over time.

    Attributes:
        faces: by the number of the frame, rising.
    """

    faces: dict[int, Face] = field(default_factory=dict)

    @property
    def size(self) -> float:
        """Sum of its areas over all frames, as shares of the picture."""
        return sum(_area(face.box) for face in self.faces.values())

    @property
    def last(self) -> Box:
        """Where it was seen last."""
        return next(reversed(self.faces.values())).box


class FaceTracks:
    """Follows faces by the overlap of their boxes in one frame and the next.

    A face that no box overlaps continues the nearest track that is lost at that time and had about its size, if there
    is one, and else begins a new one.
    """

    def __init__(self) -> None:
        self.num_frames = 0
        self._tracks: list[FaceTrack] = []

    def add(self, faces: Sequence[Face]) -> None:
        """The faces of the next frame."""
        free, waiting = list(range(len(self._tracks))), list(range(len(faces)))
        overlaps = [(_overlap(self._tracks[t].last, faces[f].box), -self._age(t), t, f) for t in free for f in waiting]
        for overlap, _, track, face in sorted(overlaps, reverse=True):
            if overlap >= _OVERLAP and track in free and face in waiting:
                self._continue(track, faces[face], free, waiting, face)
        apart = [
            (_distance(self._tracks[t].last, faces[f].box), t, f)
            for t in free
            for f in waiting
            if _alike(self._tracks[t].last, faces[f].box)
        ]
        for _, track, face in sorted(apart):
            if track in free and face in waiting:
                self._continue(track, faces[face], free, waiting, face)
        for face in waiting:
            self._tracks.append(FaceTrack({self.num_frames: faces[face]}))
        self.num_frames += 1

    def by_size(self) -> tuple[list[FaceTrack], int]:
        """The faces, the largest first, and how many were left out because they are seen for a moment only."""
        tracks = sorted(self._tracks, key=lambda track: -track.size)
        lasting = [track for track in tracks if len(track.faces) >= _LEAST * self.num_frames]
        return lasting, len(tracks) - len(lasting)

    def _continue(self, track: int, face: Face, free: list[int], waiting: list[int], index: int) -> None:
        self._tracks[track].faces[self.num_frames] = face
        free.remove(track)
        waiting.remove(index)

    def _age(self, track: int) -> int:
        return self.num_frames - next(reversed(self._tracks[track].faces))


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _overlap(one: Box, other: Box) -> float:
    both = _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    union = _area(one) + _area(other) - both
    return both / union if union > 0 else 0.0


def _distance(one: Box, other: Box) -> float:
    return abs(one[0] + one[2] - other[0] - other[2]) + abs(one[1] + one[3] - other[1] - other[3])


def _alike(one: Box, other: Box) -> bool:
    widths = sorted((one[2] - one[0], other[2] - other[0]))
    return widths[1] <= _SIZE * widths[0]
