"""The files of a report: their contents, and that they appear whole or not at all."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from biomechau.analysis import CaptureForces, analyse
from biomechau.corpus import FaceSequence
from biomechau.physics import PhysicsConfig
from biomechau.reports import output
from biomechau.reports.output import to_json, write_forces, write_report
from biomechau.rig import FaceRig


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "viz_available", lambda: False)


def read_csv(path: Path) -> tuple[list[str], np.ndarray]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, np.array([[cell or "nan" for cell in row] for row in rows], dtype=float)


def test_csv_of_fibre_forces(report: CaptureForces, tmp_path: Path) -> None:
    write_forces(report, report.quality, tmp_path / "forces.csv")
    header, values = read_csv(tmp_path / "forces.csv")
    assert header == ["frame", "timestamp", "recorded_frame", "quality", *report.identifiers]
    assert (values[:, 0] == np.arange(40)).all()
    np.testing.assert_allclose(values[:, 1], np.arange(40) / 25, atol=1e-6)
    np.testing.assert_allclose(values[:, 4:], report.strength, rtol=1e-5, atol=1e-12)


def test_csv_of_vector_forces(tiny_rig: FaceRig, clip: FaceSequence, tmp_path: Path) -> None:
    report = analyse(clip, tiny_rig, PhysicsConfig(force="vector"))
    write_forces(report, report.quality, tmp_path / "forces.csv")
    header, values = read_csv(tmp_path / "forces.csv")
    name = report.identifiers[3]
    assert header[16:20] == [f"{name}_x", f"{name}_y", f"{name}_z", name]
    np.testing.assert_allclose(values[:, 16:19], report.result.forces[:, 3], rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(values[:, 19], np.linalg.norm(values[:, 16:19], axis=1), rtol=1e-4, atol=1e-9)


def test_json_refuses_what_json_lacks() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"peak": math.nan})


@pytest.mark.usefixtures("no_pictures")
def test_report_without_the_viz_extra(report: CaptureForces, tmp_path: Path) -> None:
    summary = report.summary()
    written = write_report(report, summary, tmp_path / "a" / "b", lambda _: pytest.fail("drew without viz"))
    assert [path.name for path in written] == ["forces.csv", "replay.safetensors", "summary.json"]
    assert all(path.parent == tmp_path / "a" / "b" for path in written)
    assert json.loads(written[2].read_text(encoding="utf-8")) == summary


@pytest.mark.usefixtures("no_pictures")
def test_a_failing_write_keeps_the_earlier_report(
    report: CaptureForces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(report, report.summary(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"forces.csv", "replay.safetensors", "summary.json"}

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(output, "write_summary", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(report, {"other": 1}, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
