"""Tables that say which channel drives which shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from corpus.tables import write_table

from biomechau.corpus import ChannelTable, FaceSequence, read_sequence
from biomechau.rig import FaceRig

HEADER = ["channel", "shape", "weight"]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    rows = [[f"{n / 30:.4f}", 0.1 * n, 0.2, 0.3] for n in range(6)]
    return write_table(tmp_path / "take.csv", ["time", "grin_left", "Jaw Drop", "browInnerUp"], rows)


def _read(recording: Path, rig: FaceRig, rows: list[list[object]], header: list[str] = HEADER) -> FaceSequence:
    table = ChannelTable.load(write_table(recording.parent / "map.csv", header, rows))
    return read_sequence(recording, rig, channels=table)


def test_channels_of_other_names_drive_the_shapes_of_a_rig(tiny_rig: FaceRig, recording: Path) -> None:
    smile: list[list[object]] = [["grin_left", "mouthSmile_L", 0.5], ["Jaw Drop", "mouthSmile_L", 2]]
    sequence = _read(recording, tiny_rig, [*smile, ["jawDrop", "JawOpen", ""]])
    assert set(sequence.channels) == {"mouthSmile_L", "jawOpen", "browInnerUp_L", "browInnerUp_R"}
    values = dict(zip(sequence.channels, sequence.coefficients.T, strict=True))
    torch.testing.assert_close(values["mouthSmile_L"], 0.4 + 0.05 * torch.arange(6))
    torch.testing.assert_close(values["jawOpen"], torch.full((6,), 0.2))
    torch.testing.assert_close(values["browInnerUp_R"], torch.full((6,), 0.3))


def test_without_weights_a_channel_drives_its_shape_fully(tiny_rig: FaceRig, recording: Path) -> None:
    sequence = _read(recording, tiny_rig, [["grin_left", "mouthSmile_L"], ["frown", "jawOpen"]], HEADER[:2])
    assert sequence.coefficients[5, sequence.channels.index("mouthSmile_L")].item() == pytest.approx(0.5)
    assert "jawOpen" not in sequence.channels
    assert "channels of map.csv missing in the recording: frown" in sequence.notes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["grin_left", "smile", 1]], r"map\.csv:2: the rig has no shape 'smile'; it has browInnerUp_L"),
        ([["grin", "mouthSmile_L", 1]], r"map\.csv: take has none of its channels \(grin\); it has browInnerUp"),
        ([["grin_left", "mouthSmile_L", "x"]], r"map\.csv:2: expected a weight of at most 10 in size, found 'x'"),
        ([["grin_left", "mouthSmile_L", 1], ["grinLeft", "mouthSmileLeft", 1]], r"map\.csv:3: .* appear twice"),
        ([["", "mouthSmile_L", 1]], r"map\.csv:2: expected a channel and a shape"),
    ],
)
def test_broken_tables_are_named(tiny_rig: FaceRig, recording: Path, rows: list[list[object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(recording, tiny_rig, rows)


def test_columns_are_named(tiny_rig: FaceRig, recording: Path) -> None:
    with pytest.raises(ValueError, match=r"map\.csv:1: expected the columns channel, shape, weight, found from, to"):
        _read(recording, tiny_rig, [["a", "b"]], ["from", "to"])
