"""Finds and reads the recordings of a data set, one per sequence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from biomechau.corpus.datasets.findings import Finding
from biomechau.corpus.face_sequence import FaceSequence, UnknownFrameRate
from biomechau.corpus.reading import read_sequence
from biomechau.rig import FaceRig

_ENDINGS = frozenset({".csv", ".json", ".npz", ".tsv"})


def find_recordings(folder: Path, sequence_of: Callable[[str], str | None]) -> tuple[dict[str, Path], list[Finding]]:
    """The recordings below a folder (``.csv``, ``.tsv``, ``.json``, ``.npz``) by the sequence in their name.

    The name is the relative path without its ending, with folders joined by ``_``: ``F001_T1.csv`` and ``F001/T1.csv``
    both belong to F001_T1.

    Args:
        folder: to search.
        sequence_of: returns the sequence of a name, or None if it is not one.

    Raises:
        OSError: there is no such folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"no such folder: {folder}")
    recordings: dict[str, Path] = {}
    findings = []
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.suffix.lower() not in _ENDINGS or any(part.startswith(".") for part in place.parts):
            continue
        id = sequence_of("_".join(place.with_suffix("").parts))
        if id is None:
            findings.append(Finding(str(place), "the name is not that of a sequence, left out"))
        elif id in recordings:
            other = recordings[id].relative_to(folder)
            findings.append(Finding(id, f"two recordings, {other} and {place}", fault=True))
        else:
            recordings[id] = path
    return recordings, findings


def read_recording(path: Path, rig: FaceRig, fps: float, recorded_fps: float | None) -> FaceSequence:
    """Read a recording; if it does not contain its frame rate, that of the data set is used.

    Args:
        path: the file.
        rig: the face; for meshes.
        fps: of the data set [1/s].
        recorded_fps: see ``fps`` of :func:`biomechau.corpus.read_sequence`.

    Raises:
        ValueError: see :func:`biomechau.corpus.read_sequence`.
        OSError: the file cannot be read.
    """
    try:
        return read_sequence(path, rig, recorded_fps)
    except UnknownFrameRate:
        return read_sequence(path, rig, fps)
