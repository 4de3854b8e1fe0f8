"""Action units that OpenFace 2 and py-feat found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from corpus.tables import write_table

from biomechau.corpus import ActionUnitSeries, read_action_units

OPENFACE = ["frame", "face_id", "timestamp", "confidence", "success", "gaze_0_x", "AU01_r", "AU12_r"]
OPENFACE += ["AU01_c", "AU12_c", "AU28_c"]


def _openface_rows() -> list[list[str]]:
    return [
        [
            str(n),
            "0",
            f"{(n - 1) / 30:.3f}",
            "0.98",
            "1",
            "0.1",
            f"{0.5 * n:.2f}",
            "4.99",
            f"{n % 2:.2f}",
            "1.00",
            "0.00",
        ]
        for n in range(1, 7)
    ]


@pytest.mark.parametrize("separator", [",", ", "])
def test_openface(tmp_path: Path, separator: str) -> None:
    rows = _openface_rows()
    rows[3][3:] = ["0.0", "0", *["0.0"] * 6]
    path = write_table(tmp_path / "clip.csv", OPENFACE, rows, separator)
    found = read_action_units(path)
    assert (found.action_units, found.scale, len(found)) == ((1, 12, 28), "presence", 6)
    assert found.frame.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.valid.tolist() == [True, True, True, False, True, True]
    assert found.values.tolist() == [[1, 1, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert found.timestamp is not None
    assert found.timestamp[1].item() == 0.033
    strong = read_action_units(path, intensity=True)
    assert (strong.action_units, strong.scale) == ((1, 12), "intensity")
    torch.testing.assert_close(strong.values[:3], torch.tensor([[0.5, 4.99], [1.0, 4.99], [1.5, 4.99]]))


@pytest.mark.parametrize("version", [1, 2])
def test_py_feat(tmp_path: Path, version: int) -> None:
    header = ["frame", "FaceRectX", "AU04", "AU01", "anger", "input", *(["jawOpen"] * (version == 2))]
    rows = [[n, 3.5, 0.1 * n, 0.5, 0.2, "clip.mp4", *(["0.3"] * (version == 2))] for n in range(5)]
    rows[2][1:5] = ["nan"] * 4
    rows[4][1] = "nan"  # version 2 goes on with values of an empty picture
    found = read_action_units(write_table(tmp_path / "clip.csv", header, rows))
    assert (found.action_units, found.scale, found.timestamp) == ((4, 1), "probability", None)
    assert found.valid.tolist() == [True, True, False, True, False]
    torch.testing.assert_close(found.values[:, 0], torch.tensor([0, 0.1, 0, 0.3, 0]))
    times = read_action_units(tmp_path / "clip.csv", fps=20).timestamp
    torch.testing.assert_close(times, torch.arange(5).double() / 20)


def test_openface_intensities_alone_are_read_when_asked_for(tmp_path: Path) -> None:
    path = write_table(tmp_path / "clip.csv", ["frame", "timestamp", "AU01_r"], [[n, n / 30, 0.5] for n in range(3)])
    with pytest.raises(ValueError, match=r"clip\.csv:1: it has OpenFace intensity values only: give intensity=True"):
        read_action_units(path)
    assert read_action_units(path, intensity=True).values[:, 0].tolist() == [0.5] * 3


@pytest.mark.parametrize("intensity", [False, True])
def test_intensities_out_of_range_are_named_also_beside_presences(tmp_path: Path, intensity: bool) -> None:
    rows = _openface_rows()
    rows[2][6] = "7.5"
    path = write_table(tmp_path / "clip.csv", OPENFACE, rows)
    with pytest.raises(ValueError, match=r"clip\.csv:4: column AU01_r: expected a intensity in \[0, 5\], found '7.5'"):
        read_action_units(path, intensity)


def test_libreface(tmp_path: Path) -> None:
    units = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
    header = ["frame_idx", "frame_time_in_ms", *(f"au_{u}" for u in units), *(f"au_{u}_intensity" for u in units)]
    rows = [[n, n * 100 / 3, *[n % 2] * 12, *[0.1 * n] * 12] for n in range(9)]
    path = write_table(tmp_path / "clip.csv", header, rows)
    found, strong = read_action_units(path), read_action_units(path, intensity=True)
    assert (found.action_units, found.scale, strong.scale) == (units, "presence", "intensity")
    assert found.values[:, 3].tolist() == [0, 1] * 4 + [0]
    torch.testing.assert_close(strong.values[:, 5], 0.1 * torch.arange(9).float())
    assert found.timestamp is not None
    assert found.timestamp[3].item() == pytest.approx(0.1)


def test_imotions(tmp_path: Path) -> None:
    header = ["Row", "Timestamp", "Brow Furrow", "Smile", "Jaw Drop", "Anger"]
    values = [[0, 100, 0], [25, 100, 0], ["", "", ""], [75, 100, 0]]
    rows = [[n, f"{n * 100 / 3:.2f}", *found, 3] for n, found in enumerate(values)]
    path = write_table(tmp_path / "clip.csv", header, rows)
    path.write_text("#INFO,\n#Study name,A,\n#DATA\n" + path.read_text())
    found = read_action_units(path)
    assert (found.action_units, found.scale) == ((4, 12, 26), "probability")
    assert found.valid.tolist() == [True, True, False, True]
    torch.testing.assert_close(found.values[3], torch.tensor([0.75, 1.0, 0.0]))
    assert found.timestamp is not None
    assert found.timestamp[3].item() == pytest.approx(0.1)
    write_table(path, ["Timestamp", "AU1 Evidence"], [[0, -1.5]])
    with pytest.raises(ValueError, match="FACET's evidence of action units, which has no scale"):
        read_action_units(path)


def test_faces_of_openface_are_chosen_by_number(tmp_path: Path) -> None:
    rows = [[*row[:1], face, *row[2:]] for row in _openface_rows() for face in ("0", "4")]
    path = write_table(tmp_path / "clip.csv", OPENFACE, rows)
    with pytest.raises(ValueError, match=r"clip\.csv: 2 faces by column face_id: 0 in 6 rows, 4 in 6 rows; choose one"):
        read_action_units(path)
    assert read_action_units(path, face=4).frame.tolist() == [1, 2, 3, 4, 5, 6]
    few = write_table(tmp_path / "few.csv", OPENFACE, [*_openface_rows() * 1, *rows[1:2]][:6])
    assert len(read_action_units(few)) == 6


def test_predictions_of_this_package(tmp_path: Path) -> None:
    rows = [[n, n / 25, 0.25, 0.5] for n in range(4)]
    found = read_action_units(write_table(tmp_path / "action_units.csv", ["frame", "timestamp", "AU01", "AU12"], rows))
    assert found.action_units == (1, 12)
    torch.testing.assert_close(found.timestamp, torch.arange(4).double() / 25)


BROKEN: dict[str, tuple[Callable[[list[str], list[list[str]]], object], str]] = {
    "no-units": (lambda header, _: header.__setitem__(slice(6, None), list("abcde")), ":1: no action units: expected"),
    "twice": (lambda header, _: header.__setitem__(9, "AU1_c"), ":1: column 'AU1_c' appears twice"),
    "range": (lambda _, rows: rows[2].__setitem__(8, "2"), r":4: column AU01_c: expected a presence in \[0, 1\]"),
    "text": (lambda _, rows: rows[2].__setitem__(8, "on"), ":4: column AU01_c: expected a finite number, found 'on'"),
    "half": (lambda _, rows: rows[2].__setitem__(8, ""), ":4: column AU01_c has no value, but others do"),
    "two-faces": (lambda _, rows: rows[2].__setitem__(0, "2"), ":4: frame 2 appears twice; is this a second face"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_file_is_named(
    tmp_path: Path, change: Callable[[list[str], list[list[str]]], object], message: str
) -> None:
    header, rows = list(OPENFACE), _openface_rows()
    change(header, rows)
    with pytest.raises(ValueError, match=rf"clip\.csv{message}"):
        read_action_units(write_table(tmp_path / "clip.csv", header, rows))


def test_intensities_are_openfaces(tmp_path: Path) -> None:
    path = write_table(tmp_path / "clip.csv", ["frame", "AU01"], [[0, 0.5]])
    with pytest.raises(ValueError, match=r"clip\.csv:1: it has py-feat probability values only: give intensity=False"):
        read_action_units(path, intensity=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"values": torch.zeros(3, 1)}, ValueError, r"values must have shape \(3, 2\)"),
        ({"valid": torch.ones(3)}, TypeError, "valid must be torch.bool"),
        ({"frame": torch.tensor([0, 2, 2])}, ValueError, "frame does not increase after row 1"),
        ({"timestamp": torch.tensor([0.0, 1, 1]).double()}, ValueError, "timestamp does not increase after frame 1"),
        ({"values": torch.full((3, 2), torch.nan)}, ValueError, "AU01 is nan in frame 0, expected a probability"),
    ],
)
def test_what_a_series_refuses(change: dict[str, object], error: type[Exception], message: str) -> None:
    valid, frame = torch.ones(3, dtype=torch.bool), torch.arange(3)
    series = ActionUnitSeries((1, 4), torch.zeros(3, 2), valid, "probability", frame)
    with pytest.raises(error, match=message):
        replace(series, **change)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", ["1e39", "3.5e38", "-1e300", "-0.01", "1.01"])
def test_a_value_outside_its_scale_is_not_taken_for_missing(tmp_path: Path, value: str) -> None:
    path = write_table(tmp_path / "clip.csv", ["frame", "AU01"], [[0, 0.5], [1, value]])
    message = rf"clip\.csv:3: column AU01: expected a probability in \[0, 1\], found '{value}': value outside the scale"
    with pytest.raises(ValueError, match=message):
        read_action_units(path)
