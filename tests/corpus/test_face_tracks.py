"""Faces followed from frame to frame."""

from __future__ import annotations

from biomechau.corpus.face_tracks import Face, FaceTracks


def face(left: float, size: float = 0.3, name: float = 0.0, top: float = 0.3) -> Face:
    return Face((left, top, left + size, top + size), [name])


def names(tracks: FaceTracks) -> list[list[float]]:
    """The scores of each face, the largest first."""
    return [[found.scores[0] for found in track.faces.values()] for track in tracks.by_size()[0]]


def test_faces_are_told_apart_in_any_order() -> None:
    tracks = FaceTracks()
    for n in range(10):
        faces = [face(0.1 + 0.01 * n, name=1), face(0.6 - 0.01 * n, 0.35, 2)]
        tracks.add(faces[::-1] if n % 2 else faces)
    assert names(tracks) == [[2] * 10, [1] * 10]
    assert tracks.num_frames == 10


def test_a_face_that_was_lost_goes_on_where_it_is_found() -> None:
    tracks = FaceTracks()
    for n in range(30):
        tracks.add([] if 10 <= n < 20 else [face(0.1 if n < 10 else 0.6)])
    ((track,), left_out) = tracks.by_size()
    assert list(track.faces) == [*range(10), *range(20, 30)]
    assert left_out == 0


def test_a_fast_face_stays_one() -> None:
    tracks = FaceTracks()
    for n in range(6):
        tracks.add([face(0.05 + 0.6 * (n % 2), 0.2)])
    assert names(tracks) == [[0.0] * 6]


def test_a_face_of_another_size_is_another() -> None:
    tracks = FaceTracks()
    for n in range(200):
        tracks.add([face(0.8, 0.05, 7)] if n == 100 else [] if 90 <= n < 110 else [face(0.1, 0.4)])
    tracks_found, left_out = tracks.by_size()
    assert len(tracks_found) == 1
    assert 100 not in tracks_found[0].faces
    assert left_out == 1


def test_a_face_beside_another_is_new_whatever_its_size() -> None:
    tracks = FaceTracks()
    for n in range(4):
        tracks.add([face(0.1, name=1)] if n < 2 else [face(0.6, name=2), face(0.1, name=1)])
    assert names(tracks) == [[1] * 4, [2] * 2]
