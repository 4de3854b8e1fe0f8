"""Recordings of coefficients, one a sequence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from biomechau.corpus.datasets.findings import Finding
from biomechau.corpus.face_sequence import FaceSequence, UnknownFrameRate
from biomechau.corpus.reading import read_sequence
from biomechau.rig import FaceRig

_ENDINGS = frozenset({".csv", ".json", ".npz", ".tsv"})


def find_recordings(folder: Path, sequence_of: Callable[[str], str | None]) -> tuple[dict[str, Path], list[Finding]]:
    """The ``.csv`` and ``.npz`` files below a folder by the sequence that their name tells.

    The name is the path from the folder without its ending, folders joined by ``_``: ``F001_T1.csv`` and
    ``F001/T1.csv`` are both of F001_T1.

    Args:
        folder: to search.
        sequence_of: the sequence that a name means, None for no sequence.

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
            findings.append(Finding(str(place), "the name tells no sequence, left out"))
        elif id in recordings:
            other = recordings[id].relative_to(folder)
            findings.append(Finding(id, f"two recordings, {other} and {place}", fault=True))
        else:
            recordings[id] = path
    return recordings, findings


def read_recording(path: Path, rig: FaceRig, fps: float, recorded_fps: float | None) -> FaceSequence:
    """Read a recording; one that does not tell its frame rate has that of the data set.

    Args:
        path: the file.
        rig: the face; for meshes.
        fps: of the data set [1/s].
        recorded_fps: as ``fps`` of :func:`biomechau.corpus.read_sequence`.

    Raises:
        ValueError: as :func:`biomechau.corpus.read_sequence`.
        OSError: the file cannot be read.
    """
    try:
        return read_sequence(path, rig, recorded_fps)
    except UnknownFrameRate:
        return read_sequence(path, rig, fps)
