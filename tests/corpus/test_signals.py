"""Tables of results and references: scales, gaps, labels of coders, raw EMG."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus.tables import write_table

from biomechau.corpus.emg_envelope import emg_envelopes, look_raw
from biomechau.corpus.signals import Signals, known_pieces, read_pairs, read_reference, read_result

OWN = ["frame", "timestamp", "recorded_frame"]


def test_a_result_is_read_with_its_gaps(tmp_path: Path) -> None:
    header = [*OWN, "quality", "digastric", "digastric_sd", "mentalis"]
    rows = [[n, f"{n / 25:.6f}", n, "1.000", *(["", "", ""] if n == 2 else [0.1 * n, 0.01, 0.5])] for n in range(5)]
    rows[2][2] = ""
    write_table(tmp_path / "forces.csv", header, rows)
    write_table(tmp_path / "action_units.csv", [*OWN, "AU06", "AU12"], [[n, n / 25, n, 0.5, 0.1] for n in range(5)])
    units, forces = read_result(tmp_path / "action_units.csv"), read_result(tmp_path)
    assert [table.scale for table in (*units, *forces)] == ["probability", "force", "probability"]
    assert forces[0].names == ("digastric", "mentalis")
    assert np.isnan(forces[0].values[2]).all()
    assert forces[0].values[3].tolist() == [pytest.approx(0.3), 0.5]
    assert forces[0].frame is not None
    assert forces[0].frame.tolist() == [0, 1, -1, 3, 4]
    (tmp_path / "summary.json").write_text(json.dumps({"force_unit": "1 = full"}))
    assert read_result(tmp_path)[0].scale == "force, 1 = full"
    assert read_reference(tmp_path / "forces.csv")[0].names == forces[0].names


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "clip.csv", ["time", "jawOpen"], [[0, 0], [1, 0]])
    with pytest.raises(ValueError, match=r"clip\.csv:1: expected forces\.csv or action_units\.csv of this package"):
        read_result(path)
    with pytest.raises(ValueError, match=r"expected a folder with forces\.csv or action_units\.csv"):
        read_result(tmp_path)
    falling = write_table(tmp_path / "forces.csv", [*OWN, "a"], [[0, 1, 0, 0], [1, 0.5, 1, 0]])
    with pytest.raises(ValueError, match=r"forces\.csv:3: column timestamp: the time does not increase"):
        read_result(falling)


def test_any_other_table(tmp_path: Path) -> None:
    """Decimal commas, empty cells, columns without numbers, milliseconds."""
    rows = [[f"{2 * n}", "rest", f"0,{n}", "" if n == 3 else "1,5"] for n in range(6)]
    path = write_table(tmp_path / "emg.csv", ["time_ms", "task", "Zygomaticus L", "Corrugator L"], rows, ";")
    (found,) = read_reference(path)
    assert found.names == ("Zygomaticus L", "Corrugator L")
    assert found.scale is None
    assert found.timestamp is not None
    np.testing.assert_allclose(found.timestamp, np.arange(6) * 0.002)
    np.testing.assert_allclose(found.values[:, 1], [1.5, 1.5, 1.5, np.nan, 1.5, 1.5])
    bare = write_table(tmp_path / "bare.csv", ["Zygomaticus_L"], [[0.1], [0.2], [0.3]])
    with pytest.raises(ValueError, match=r"bare\.csv: fps must be given \(--recorded-fps\)"):
        read_reference(bare)
    timed = read_reference(bare, fps=1000)[0].timestamp
    assert timed is not None
    assert timed.tolist() == [0, 0.001, 0.002]
    words = write_table(tmp_path / "words.csv", ["time", "task"], [[0, "rest"], [0.1, "smile"]])
    with pytest.raises(ValueError, match=r"words\.csv:1: expected a column of numbers for each signal"):
        read_reference(words)
    with pytest.raises(ValueError, match=r"--intensity and --face are for action units"):
        read_reference(path, intensity=True)


@pytest.mark.parametrize("header", [["frame", "AU1", "AU12"], ["0", "1", "12"]])
@pytest.mark.parametrize(("strongest", "scale"), [(1, "presence"), (5, "intensity")])
def test_labels_of_coders(tmp_path: Path, header: list[str], strongest: int, scale: str) -> None:
    rows = [[100 + n, n % 2 * strongest, 9 if n == 2 else 0] for n in range(5)]
    (found,) = read_reference(write_table(tmp_path / "labels.csv", header, rows))
    assert (found.names, found.scale, found.timestamp) == (("AU01", "AU12"), scale, None)
    assert found.frame is not None
    assert found.frame.tolist() == [100, 101, 102, 103, 104]
    np.testing.assert_array_equal(found.values[:, 1], [0, 0, np.nan, 0, 0])


@pytest.mark.parametrize("header", [["AU12", "AU45_left", "AU45_right"], ["au12", "au45_l", "au45_r"]])
def test_labels_of_sides(tmp_path: Path, header: list[str]) -> None:
    rows = [[n / 25, n % 2, -1 if n == 1 else 1, 9 if n == 3 else 0] for n in range(5)]
    (found,) = read_reference(write_table(tmp_path / "labels.csv", ["timestamp", *header], rows))
    assert (found.names, found.scale) == (("AU12", "AU45_left", "AU45_right"), "presence")
    np.testing.assert_array_equal(found.values[:, 1:], [[1, 0], [np.nan, 0], [1, 0], [1, np.nan], [1, 0]])


def test_json_is_no_reference(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ValueError, match=r"a\.json: expected a CSV file, or the folder of a result"):
        read_reference(tmp_path / "a.json")


def test_action_units_of_other_programs(tmp_path: Path) -> None:
    rows = [[n, n / 30, int(n != 2), 0.5 * n, n % 2] for n in range(6)]
    openface = write_table(tmp_path / "of.csv", ["frame", "timestamp", "success", "AU12_r", "AU12_c"], rows)
    assert read_reference(openface)[0].scale == "presence"
    (strong,) = read_reference(openface, intensity=True)
    assert (strong.names, strong.scale) == (("AU12",), "intensity")
    np.testing.assert_allclose(strong.values[:, 0], [0, 0.5, np.nan, 1.5, 2, 2.5])
    alone = write_table(tmp_path / "r.csv", ["frame", "timestamp", "AU12_r"], [row[:2] + row[3:4] for row in rows])
    assert read_reference(alone)[0].scale == "intensity"
    feat = write_table(tmp_path / "feat.csv", ["frame", "FaceScore", "AU12"], [[n, 0.9, 0.1 * n] for n in range(6)])
    (found,) = read_reference(feat)
    assert (found.scale, found.timestamp) == ("probability", None)


def test_pieces_end_at_gaps() -> None:
    times = np.array([0, 1, 2, 5, 6, 7.0])
    values = np.array([1, 1, 1, 1, np.nan, 1])
    assert [piece.tolist() for piece in known_pieces(times, values, 1.0)] == [[0, 1, 2], [3], [5]]
    assert known_pieces(times, np.full(6, np.nan), 1.0) == []


def test_pairs(tmp_path: Path) -> None:
    path = write_table(tmp_path / "pairs.csv", ["reference", "result"], [["EMG1", "mentalis"], ["EMG2", "digastric"]])
    assert read_pairs(path) == [("mentalis", "EMG1"), ("digastric", "EMG2")]
    with pytest.raises(ValueError, match=r"pairs\.csv:1: expected the columns result, reference"):
        read_pairs(write_table(tmp_path / "pairs.csv", ["a", "b"], [["c", "d"]]))
    with pytest.raises(ValueError, match=r"pairs\.csv:2: expected the names"):
        read_pairs(write_table(tmp_path / "pairs.csv", ["result", "reference"], [["c", ""]]))


def raw_emg(rate: float, envelope: np.ndarray) -> Signals:
    """Noise that an activation makes louder, beside movements of the electrode and an offset."""
    times = np.arange(len(envelope)) / rate
    noise = np.random.default_rng(0).standard_normal(len(times))
    raw = 1e-4 * envelope * noise + 1e-3 * np.sin(2 * np.pi * times) + 5e-3
    return Signals(("a",), raw[:, None], times, None, None, "emg.csv")


@pytest.mark.parametrize("rate", [500.0, 2000.0])
def test_envelopes_of_raw_emg(rate: float) -> None:
    pytest.importorskip("neurokit2")
    times = np.arange(0, 20, 1 / rate)
    activation = np.sin(np.pi * times / 4) ** 2
    raw = raw_emg(rate, activation)
    raw.values[(times > 9) & (times < 11)] = np.nan
    found = emg_envelopes(raw)
    known = ~np.isnan(found.values[:, 0])
    np.testing.assert_array_equal(known, ~np.isnan(raw.values[:, 0]))
    assert (found.values[known] >= 0).all()
    assert np.corrcoef(found.values[known, 0], activation[known])[0, 1] > 0.9
    # It is not moved in time.
    tenth, part = round(0.1 * rate), slice(round(rate), round(8 * rate))
    moved = [np.corrcoef(found.values[part, 0], np.roll(activation, k)[part])[0, 1] for k in (-tenth, 0, tenth)]
    assert moved[1] == max(moved)


@pytest.mark.parametrize("rate", [200.0, 1000.0])
def test_raw_emg_is_told_from_envelopes(rate: float) -> None:
    """Also where envelopes were made to have a mean of zero, with noise."""
    times = np.arange(0, 20, 1 / rate)
    loud = raw_emg(rate, 1 + np.sin(np.pi * times / 4))
    loud.values[:] -= loud.values.mean() + 1e-3 * np.sin(2 * np.pi * times)[:, None]
    assert look_raw(loud) == ("a",)
    score = np.sin(np.pi * times / 4) + 0.5 * np.sin(2 * np.pi * 3 * times)
    assert look_raw(replace(loud, values=score[:, None])) == ()
    assert look_raw(replace(loud, scale="force")) == ()


def test_envelopes_are_no_raw_emg() -> None:
    pytest.importorskip("neurokit2")
    with pytest.raises(ValueError, match=r"emg\.csv: 50 samples per second are too few for raw EMG.*leave --emg out"):
        emg_envelopes(raw_emg(50.0, np.ones(500)))
    holes = raw_emg(1000.0, np.ones(4000))
    holes.values[::100] = np.nan
    with pytest.raises(ValueError, match=r"emg\.csv: no section without gaps lasts 0\.5 s"):
        emg_envelopes(holes)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neurokit2", None)
    with pytest.raises(ImportError, match=r"pip install \"biomechau\[emg\]\""):
        emg_envelopes(raw_emg(1000.0, np.ones(1000)))
