"""Which files and folders are recordings, and their names in a study."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from biomechau.corpus.recordings import find_recordings


def _files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_finds_each_kind_in_order(tmp_path: Path) -> None:
    _files(
        tmp_path,
        *("anna/smile.csv", "anna/smile.mov", "anna/notes.txt", "ben/take 3/take.json", "ben/take 3/MySlate_3.csv"),
        *("ben/take 3/MySlate_3.mov", "ben/meshes/f001.obj", "ben/meshes/f002.obj", "carla/frames/1.png"),
        *("carla/frames/2.png", "carla/one.zip", "carla/.hidden.csv", ".git/x.csv", "carla/alone/mask.png"),
    )
    found = find_recordings([tmp_path])
    assert [(r.path.relative_to(tmp_path).as_posix(), r.kind, r.name, r.folder) for r in found] == [
        ("anna/smile.csv", "capture", "smile_csv", "anna"),
        ("anna/smile.mov", "video", "smile_mov", "anna"),
        ("ben/meshes", "meshes", "meshes", "ben"),
        ("ben/take 3", "capture", "take 3", "ben"),
        ("carla/frames", "video", "frames", "carla"),
        ("carla/one.zip", "capture", "one", "carla"),
    ]


def test_names_are_unique_and_never_those_of_the_study(tmp_path: Path) -> None:
    _files(tmp_path, "a/x/clip.csv", "b/x/clip.csv", "b/CLIP.csv", "b/clip.csv", "index.html.csv", "study.csv.npz")
    recordings = find_recordings([tmp_path])
    names = [recording.name.lower() for recording in recordings]
    assert len(set(names)) == len(names) == 6
    assert not {"index.html", "study.csv"}.intersection(names)
    assert all("/" not in name for name in names)


def test_given_twice_is_one_and_results_are_no_recordings(tmp_path: Path) -> None:
    _files(tmp_path, "clip.csv", "out/study.csv", "out/clip/forces.csv")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = find_recordings([tmp_path, tmp_path / "clip.csv"], excluded=[tmp_path / "out"])
    assert [(recording.name, recording.folder) for recording in found] == [("clip", "")]


def test_refuses_what_is_no_recording(tmp_path: Path) -> None:
    _files(tmp_path, "notes.txt")
    with pytest.raises(ValueError, match=r"notes\.txt: not a recording"):
        find_recordings([tmp_path / "notes.txt"])
    with pytest.raises(ValueError, match="no recordings in"):
        find_recordings([tmp_path])
    with pytest.raises(FileNotFoundError, match="gone"):
        find_recordings([tmp_path / "gone"])


def test_the_fingerprint_changes_with_a_file(tmp_path: Path) -> None:
    _files(tmp_path, "meshes/1.obj", "meshes/2.obj")
    (recording,) = find_recordings([tmp_path])
    before = recording.fingerprint()
    assert recording.fingerprint() == before
    os.utime(tmp_path / "meshes/2.obj", ns=(1, 1))
    assert recording.fingerprint() != before
