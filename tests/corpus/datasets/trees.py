"""BP4D and DISFA in small, made file by file with the quirks of the real ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from corpus.tables import MEDIAPIPE_NAMES, blendshapes, write_mediapipe, write_table
from corpus.videos import write_video
from PIL import Image

from biomechau.corpus import BP4D, DISFA
from biomechau.rig.names import ARKIT_SHAPES

OCCURRENCE_HEADER = [str(number) for number in range(100)]
# First frame of each made sequence: segments begin anywhere.
STARTS = {"F001_T1": 2440, "F001_T2": 90, "F003_T1": 1, "F003_T2": 733, "M002_T1": 5, "M002_T2": 60, "F004_T1": 311}
LENGTH = 96


def occurrence(unit: int, frame: int) -> int:
    """The made label: on half of the time, not coded in every 20th frame of AU 23 and 24."""
    if unit in (23, 24) and frame % 20 == 0:
        return 9
    return int((frame + 7 * unit) % 24 < 12)


def intensity(unit: int, frame: int) -> int:
    """0 to 5 in turn."""
    return (frame // 4 + unit) % 6


def write_occurrences(path: Path, frames: Iterable[int], header: Sequence[str] = OCCURRENCE_HEADER) -> Path:
    """A label file: the frame, the units of the protocol, and 9 for every other number."""
    rows = (
        [
            frame if name == "0" else occurrence(int(name), frame) if int(name) in BP4D.action_units else 9
            for name in header
        ]
        for frame in frames
    )
    return write_table(path, header, rows)


def write_intensities(path: Path, unit: int, frames: Iterable[int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{frame},{intensity(unit, frame)}\n" for frame in frames))
    return path


def frames_of(id: str, length: int = LENGTH) -> range:
    return range(STARTS[id], STARTS[id] + length)


def make_bp4d(root: Path) -> Path:
    """4 subjects; F003's files are written in small letters, F004 has one task only."""
    for id in STARTS:
        name = f"{id.lower()}.CSV" if id.startswith("F003") else f"{id}.csv"
        write_occurrences(root / "AUCoding" / "AU_OCC" / name, frames_of(id))
    return root


def make_bp4d_images(folder: Path) -> Path:
    """A picture of each labelled frame, coloured by its number.

    F003's folders are in small letters, M002's names are padded with zeros, those of F001_T2 are PNG.
    """
    for id in STARTS:
        below = folder / (id.lower() if id.startswith("F003") else id).replace("_", "/")
        below.mkdir(parents=True)
        for n in frames_of(id):
            name = f"{n:06}.jpg" if id.startswith("M002") else f"{n}.png" if id == "F001_T2" else f"{n}.jpg"
            Image.new("RGB", (20, 20), (n % 256, n * 7 % 256, 0)).save(below / name)
        (below / "Thumbs.db").write_bytes(b"\0")
    return folder


def make_bp4d_recordings(folder: Path) -> Path:
    """A kind of file for each sequence, all with frame numbers but the Live Link recordings."""
    write_mediapipe(folder / "F001_T1.csv", frames_of("F001_T1"), lost=(2450, 2451))
    write_py_feat(folder / "F001" / "T2.csv", frames_of("F001_T2"))
    write_live_link(folder / "F003_T1.csv", LENGTH)
    write_mediapipe(folder / "f003_t2.csv", range(700, 900))
    write_npz(folder / "M002_T1.npz", [n for n in frames_of("M002_T1") if n not in (20, 21, 22)])
    write_mediapipe(folder / "M002_T2.csv", frames_of("M002_T2"))
    write_mediapipe(folder / "F004_T1.csv", frames_of("F004_T1"))
    return folder


def write_py_feat(path: Path, frames: Iterable[int]) -> Path:
    """Of images, whose names are padded with zeros; ``frame`` counts the rows."""
    header = ["FaceRectX", "FaceScore", *MEDIAPIPE_NAMES, "input", "frame"]
    rows = (["10", "0.9", *blendshapes(n), f"F001/T2/{n:05}.jpg", row] for row, n in enumerate(frames))
    return write_table(path, header, rows)


def write_npz(path: Path, frames: Iterable[int]) -> Path:
    frames = list(frames)
    values = np.array([blendshapes(frame) for frame in frames], np.float32)[:, 1:]
    np.savez(path, coefficients=values, names=np.array(MEDIAPIPE_NAMES[1:]), frame=np.array(frames))
    return path


def write_live_link(path: Path, frames: int, fps: int = 25) -> Path:
    """At 60 timecode frames a second, each of ``frames / fps`` seconds' worth; coefficients rise slowly."""
    ticks = range(round(frames * 60 / fps))
    header = ["Timecode", "BlendshapeCount", *(name[0].upper() + name[1:] for name in ARKIT_SHAPES)]
    rows = (
        [f"00:00:{tick // 60:02}:{tick % 60:02}.000", "52", *(f"{0.1 + 0.05 * tick / 60:.6f}" for _ in ARKIT_SHAPES)]
        for tick in ticks
    )
    return write_table(path, header, rows)


def make_disfa(root: Path, subjects: Sequence[str] = ("SN001", "SN002", "SN003", "SN010"), length: int = 64) -> Path:
    """Intensities of the protocol's units; SN010 ends one line earlier, SN002's names are in capitals."""
    for subject in subjects:
        folder = root / "ActionUnit_Labels" / subject
        for unit in DISFA.action_units:
            name = f"{subject}_au{unit}.txt"
            frames = range(1, length + (subject != "SN010"))
            write_intensities(folder / (name.upper() if subject == "SN002" else name), unit, frames)
        (folder / "Thumbs.db").write_bytes(b"\0")
    return root


def make_disfa_recordings(folder: Path, length: int = 64) -> Path:
    """SN001 counts its frames from 0 and is named by its video, the others from 1."""
    write_mediapipe(folder / "LeftVideoSN001_comp.csv", range(length))
    for subject in ("SN002", "SN003", "SN010"):
        write_mediapipe(folder / f"{subject}.csv", range(1, length + 1))
    return folder


def make_disfa_videos(folder: Path, length: int = 64) -> Path:
    """The left camera's, at 20 frames a second."""
    (folder / "Video_LeftCamera").mkdir(parents=True)
    for subject in ("SN001", "SN002", "SN003", "SN010"):
        write_video(folder / "Video_LeftCamera" / f"LeftVideo{subject}_comp.avi", np.arange(length) / 20, rate=20)
    return folder
