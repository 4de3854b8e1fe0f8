"""Follows the faces of a video from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# Least overlap (intersection over union) of the boxes of one face in consecutive frames.
_OVERLAP = 0.2
# A lost face may continue as one that is found elsewhere if their widths are within this factor.
_SIZE = 2.0
# A face in a smaller share of the frames than this is a false detection, or a passer-by.
_LEAST = 0.02

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Face:
    """One face in one picture.

    Attributes:
        box: left, top, right and bottom, as shares of the picture.
        scores: blendshape scores of the tracker.
        features: other properties of the face, by name.
    """

    box: Box
    scores: list[float]
    features: dict[Any, Any] = field(default_factory=dict)

    @property
    def area(self) -> float:
        """Of the box, as a share of the picture."""
        return _area(self.box)


@dataclass
class FaceTrack:
    """One face over time.

    Attributes:
        faces: by frame number, increasing.
    """

    faces: dict[int, Face] = field(default_factory=dict)

    @property
    def size(self) -> float:
        """Sum of its areas over all frames, as shares of the picture."""
        return sum(face.area for face in self.faces.values())

    @property
    def last(self) -> Box:
        """The box in the last frame with the face."""
        return next(reversed(self.faces.values())).box


class FaceTracks:
    """Follows faces by the overlap of their boxes in consecutive frames.

    A face without overlap continues the nearest lost track of about its size. If there is none, it begins a new track.
    """

    def __init__(self) -> None:
        self.num_frames = 0
        self._tracks: list[FaceTrack] = []

    def add(self, faces: Sequence[Face]) -> None:
        """Add the faces of the next frame."""
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
        """The faces, the largest first, and the number of faces left out because they appear only briefly."""
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
