"""How recordings are read: options that only some kinds of recording take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands.small import read_csv

from biomechau.cli import main
from biomechau.commands._reading_options import ReadingOptions
from biomechau.corpus.recordings import find_recordings
from biomechau.rig.names import ARKIT_SHAPES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One recording of each kind; only their names matter."""
    inside = tmp_path / "in"
    (inside / "meshes").mkdir(parents=True)
    for name in ("table.csv", "export.json", "array.npz", "clip.mp4", "meshes/0001.obj", "meshes/0002.obj"):
        (inside / name).touch()
    return inside


@pytest.mark.parametrize(
    ("given", "taken_by"),
    [
        (ReadingOptions(count_rows=True), {"table", "export", "array"}),
        (ReadingOptions(face=2), {"table", "clip"}),
        (ReadingOptions(face="only"), {"clip"}),
        (ReadingOptions(rigid=True), {"meshes", "array"}),
        (ReadingOptions(scale=0.1), {"meshes", "array"}),
        (ReadingOptions(axes="x,z,-y"), {"meshes", "array"}),
        (ReadingOptions(model=Path("face.task")), {"clip"}),
        (ReadingOptions(recorded_fps=30.0), {"table", "export", "array", "clip", "meshes"}),
        (ReadingOptions(channels=Path("map.csv")), {"table", "export", "array", "clip", "meshes"}),
    ],
)
def test_each_kind_takes_its_own(folder: Path, given: ReadingOptions, taken_by: set[str]) -> None:
    recordings = find_recordings([folder])
    assert len(recordings) == 5
    assert {one.name for one in recordings if given.applying_to(one) == given} == taken_by
    assert all(given.applying_to(one) in (given, ReadingOptions()) for one in recordings)
    given.check_used(recordings)
    if len(taken_by) < 5:
        others = [one for one in recordings if one.name not in taken_by]
        with pytest.raises(ValueError, match="applies to none of the recordings"):
            given.check_used(others)


@pytest.mark.usefixtures("no_viz")
def test_a_study_counts_the_rows_of_tables(tmp_path: Path, run_folder: Path, fails: Callable[..., None]) -> None:
    rows = [",".join(ARKIT_SHAPES)]
    for frame in range(60):
        smile = 0.8 * np.sin(np.pi * frame / 60) ** 2
        rows.append(",".join(f"{smile if name.startswith('mouthSmile') else 0:g}" for name in ARKIT_SHAPES))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/take.csv").write_text("\n".join(rows) + "\n")
    timed = [f"timestamp,{rows[0]}", *(f"{frame / 60:.4f},{row}" for frame, row in enumerate(rows[1:]))]
    (tmp_path / "in/timed.csv").write_text("\n".join(timed) + "\n")
    command = ["analyze", str(tmp_path / "in"), "--run", str(run_folder), "--out", str(tmp_path / "out")]
    assert main([*command, "--jobs", "1", "--count-rows", "--recorded-fps", "30"]) == 0
    take, with_times = read_csv(tmp_path / "out/study.csv")
    assert float(take["seconds"]) == pytest.approx(59 / 30, abs=0.05)
    assert float(with_times["seconds"]) == pytest.approx(59 / 60, abs=0.05)  # its own times are better
    fails(*command, "--rigid", words="--rigid applies to none of the recordings")
