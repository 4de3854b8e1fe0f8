"""``biomechau compare``: what it writes and prints, and how it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands.small import read_csv
from corpus.tables import MEDIAPIPE_NAMES, write_table

from biomechau.cli import main

OWN = ["frame", "timestamp", "recorded_frame"]
FPS = 25


def activation(time: np.ndarray) -> np.ndarray:
    return np.sin(np.pi * time / 3) ** 2 * (1 + 0.5 * np.sin(time / 5))


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """Forces of two muscles and two action units, 30 s."""
    time = np.arange(30 * FPS) / FPS
    x = activation(time)
    rows = [[n, f"{t:.6f}", n, "1.000", f"{x[n]:.6g}", f"{0.5 * x[n] ** 2:.6g}"] for n, t in enumerate(time)]
    write_table(
        tmp_path / "result" / "forces.csv", [*OWN, "quality", "zygomaticus_major_left", "zygomaticus_major_right"], rows
    )
    rows = [[n, f"{t:.6f}", n, f"{x[n] / 2:.6g}", "0.1"] for n, t in enumerate(time)]
    write_table(tmp_path / "result" / "action_units.csv", [*OWN, "AU12", "AU04"], rows)
    return tmp_path / "result"


@pytest.fixture
def emg(tmp_path: Path) -> Path:
    """Envelopes at 1000 samples a second that lead by 160 ms."""
    time = np.arange(0, 30, 0.001)
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(time))
    rows = [[f"{t:.3f}", f"{v:.6g}", "0.5"] for t, v in zip(time, activation(time + 0.16) + noise, strict=True)]
    return write_table(tmp_path / "emg.csv", ["time", "Zygomaticus major L", "masseter"], rows)


def test_emg_beside_forces(result: Path, emg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyvista")
    image = pytest.importorskip("matplotlib.image")
    out = tmp_path / "out"
    assert main(["compare", str(result), str(emg), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["comparison.csv", "comparison.json", "comparison.png"]
    (row,) = read_csv(out / "comparison.csv")
    assert (row["result"], row["reference"]) == ("zygomaticus_major_left", "Zygomaticus major L")
    assert float(row["lag"]) == pytest.approx(0.16, abs=1 / FPS)
    assert float(row["r_best_low"]) <= float(row["r_best"]) <= float(row["r_best_high"])
    assert float(row["r_best"]) > 0.99
    assert row["icc"] == row["bias_high"] == row["note"] == ""
    summary = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert summary["signals"][0]["lag"]["value"] == pytest.approx(float(row["lag"]))
    assert summary["without_reference"] == ["zygomaticus_major_right", "AU12", "AU04"]
    assert summary["without_result"] == ["masseter"]
    assert image.imread(out / "comparison.png").std() > 0.05
    printed = capsys.readouterr().out
    assert "without a result: masseter" in printed
    assert f"wrote {out / 'comparison.csv'}" in printed


@pytest.mark.usefixtures("no_viz")
def test_a_result_beside_itself_as_json(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(result), str(result), "--out", str(tmp_path / "out"), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found == json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    smile, _, lip, brow = found["signals"]
    for signal in (smile, lip):
        assert signal["lag"]["value"] == 0
        for name in ("r", "r_best", "icc", "gain"):
            assert signal[name]["value"] == pytest.approx(1)
    assert brow["r"]["value"] is None, "it is constant"
    assert "biomechau: warning: AU04: constant result and reference: r is not defined" in err
    assert "NaN" not in out
    assert "nan" not in (tmp_path / "out" / "comparison.csv").read_text()


@pytest.mark.parametrize("tool", ["OpenFace", "OpenFace intensities", "py-feat"])
@pytest.mark.usefixtures("no_viz")
def test_action_units_of_other_tools(result: Path, tmp_path: Path, tool: str) -> None:
    """At 30 frames a second, with a frame without a face."""
    time = np.arange(900) / 30
    x = activation(time) / 2
    if tool == "py-feat":
        header = ["frame", "FaceScore", "AU12"]
        rows = [[n, 0.9, "" if n == 300 else f"{v:.4f}"] for n, v in enumerate(x)]
        options, scale, r = ["--recorded-fps", "30"], "probability", 0.999
    else:
        header = ["frame", "timestamp", "success", "AU12_r", "AU12_c"]
        rows = [[n + 1, f"{n / 30:.3f}", int(n != 300), f"{5 * v:.2f}", int(v > 0.3)] for n, v in enumerate(x)]
        strong = tool == "OpenFace intensities"
        options, scale, r = ["--intensity"] * strong, "intensity" if strong else "presence", 0.999 if strong else 0.8
    path = write_table(tmp_path / "clip.csv", header, rows)
    assert main(["compare", str(result), str(path), "--out", str(tmp_path / "out"), *options]) == 0
    (row,) = read_csv(tmp_path / "out" / "comparison.csv")
    assert (row["result"], row["reference_scale"]) == ("AU12", scale)
    assert float(row["r"]) > r
    assert abs(float(row["lag"])) <= 1 / FPS
    assert (row["icc"] != "") == (tool == "py-feat")
    if tool == "py-feat":
        assert float(row["icc"]) > 0.999


@pytest.mark.usefixtures("no_viz")
def test_raw_emg(result: Path, tmp_path: Path) -> None:
    pytest.importorskip("neurokit2")
    time = np.arange(0, 30, 0.001)
    noise = np.random.default_rng(0).standard_normal(len(time))
    rows = [[f"{t:.3f}", f"{v:.6g}"] for t, v in zip(time, activation(time + 0.2) * noise, strict=True)]
    path = write_table(tmp_path / "raw.csv", ["time", "CH1"], rows)
    pairs = write_table(tmp_path / "pairs.csv", ["result", "reference"], [["zygomaticus_major_left", "CH1"]])
    options = ["--emg", "--pairs", str(pairs), "--out", str(tmp_path / "out")]
    assert main(["compare", str(result), str(path), *options]) == 0
    (row,) = read_csv(tmp_path / "out" / "comparison.csv")
    assert float(row["lag"]) == pytest.approx(0.2, abs=1 / FPS)
    assert float(row["r_best"]) > 0.9


def test_what_cannot_be_compared(
    result: Path, emg: Path, tmp_path: Path, fails: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the default folder would be
    other = write_table(tmp_path / "other.csv", ["time", "pulse"], [[n / 10, n] for n in range(300)])
    fails("compare", result, other, words=("no names in common", "zygomaticus_major_left", "pulse", "--pairs"))
    fails("compare", result, emg, "--offset", "29", words=("expected at least 2 s", "--offset"))
    fails("compare", result, emg, "--max-lag", "9", words="--max-lag must lie in [0, 5], got 9")
    fails("compare", result, emg, "--offset", "nan", words="--offset must be a finite number")
    fails("compare", other, emg, words="other.csv:1: expected forces.csv or action_units.csv of this package")
    fails("compare", result, tmp_path / "nothing.csv", words="nothing.csv: No such file or directory")
    assert not Path("biomechau-comparison").exists()


@pytest.mark.usefixtures("no_viz")
def test_forces_of_the_package_beside_their_own_channel(rig_file: str, tmp_path: Path) -> None:
    x = activation(np.arange(300) / 30)
    strength = [0.5 if name == "mouthSmileLeft" else 0.1 for name in MEDIAPIPE_NAMES]
    rows = [[n, *(f"{v * share:.6f}" for share in strength)] for n, v in enumerate(x)]
    path = write_table(tmp_path / "capture.csv", ["frame", *MEDIAPIPE_NAMES], rows)
    out = tmp_path / "forces"
    assert main(["forces", str(path), "--rig", rig_file, "--recorded-fps", "30", "--out", str(out)]) == 0
    pairs = write_table(tmp_path / "map.csv", ["result", "reference"], [["zygomaticus_major_left", "mouthSmileLeft"]])
    options = ["--pairs", str(pairs), "--recorded-fps", "30", "--out", str(tmp_path / "out")]
    assert main(["compare", str(out), str(path), *options]) == 0
    (row,) = read_csv(tmp_path / "out" / "comparison.csv")
    assert float(row["r"]) > 0.9
