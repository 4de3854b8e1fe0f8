"""Tables of muscle forces: as written, edited, made by hand, and broken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus.tables import write_table

from biomechau.corpus.force_table import read_forces

MUSCLES = ("zygomaticus_major_left", "zygomaticus_major_right", "digastric")
LEFT = MUSCLES[0]


def write(folder: Path, header: Sequence[str], rows: Sequence[Sequence[object]], separator: str = ",") -> Path:
    return write_table(folder / "forces.csv", header, rows, separator)


def test_columns_are_found_by_name_and_the_others_of_this_package_left_out(tmp_path: Path) -> None:
    header = ["frame", "timestamp", "recorded_frame", "quality", "digastric", "digastric_sd", LEFT]
    rows = [[n, f"{n / 25:.6f}", 2 * n, 0.9, 0.1 * n, 7.0, 0.2] for n in range(4)]
    table = read_forces(write(tmp_path, header, rows), MUSCLES)
    assert table.fps == 25
    assert table.notes == ()
    expected = torch.tensor([[0.2, 0.0, 0.1 * n] for n in range(4)])
    torch.testing.assert_close(table.forces, expected)
    torch.testing.assert_close(table.resample(25), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 30.0, 60.0, 120.0])
@pytest.mark.parametrize("count", [2, 100])
def test_the_rate_follows_from_times_with_six_digits(tmp_path: Path, fps: float, count: int) -> None:
    rows = [[f"{10 + n / fps:.6f}", 0.01 * n] for n in range(count)]
    table = read_forces(write(tmp_path, ["timestamp", LEFT], rows), MUSCLES)
    assert table.fps == pytest.approx(fps, rel=1e-4 if fps == 29.97 else 1e-12)
    resampled = table.resample(fps)
    assert len(resampled) == count
    np.testing.assert_allclose(resampled[:, 0], 0.01 * np.arange(count), atol=1e-5)


def test_frames_are_counted_at_a_given_rate(tmp_path: Path) -> None:
    path = write(tmp_path, ["frame", LEFT], [[10, 0.0], [11, 0.1], [13, 0.3]])
    torch.testing.assert_close(read_forces(path, MUSCLES, 50).resample(50)[:, 0], torch.tensor([0.0, 0.1, 0.2, 0.3]))
    path = write(tmp_path, [LEFT], [[0.0], [0.2]])
    torch.testing.assert_close(read_forces(path, MUSCLES, 50).resample(100)[:, 0], torch.tensor([0.0, 0.1, 0.2]))
    with pytest.raises(ValueError, match=r"forces.csv:1: expected a column timestamp, in seconds; .*--recorded-fps"):
        read_forces(path, MUSCLES)


def test_a_few_moments_by_hand_in_a_spreadsheet_of_another_country(tmp_path: Path) -> None:
    path = write(tmp_path, ["timestamp", LEFT], [["0", "0"], ["1,5", "0,6"], ["2", "0"]], ";")
    table = read_forces(path, MUSCLES)
    forces = table.resample(10)[:, 0]
    np.testing.assert_allclose(forces, np.interp(np.arange(21) / 10, [0, 1.5, 2], [0, 0.6, 0]), atol=1e-6)


def test_fewer_frames_are_filtered_and_forces_stay_positive(tmp_path: Path) -> None:
    rows = [[n, n % 2] for n in range(400)]
    forces = read_forces(write(tmp_path, ["frame", LEFT], rows), MUSCLES, 100).resample(25)[:, 0]
    assert len(forces) == 100
    assert forces.min() >= 0
    assert forces[5:-5].sub(0.5).abs().max() < 0.05  # what alternates from frame to frame is gone, its mean is left


def test_rows_without_forces_hold_those_before(tmp_path: Path) -> None:
    rows = [[0.00, "", ""], [0.04, 0.3, 0.1], [0.08, "", "nan"], [0.12, "", ""], [0.16, 0.5, 0.2]]
    table = read_forces(write(tmp_path, ["timestamp", LEFT, "digastric"], rows), MUSCLES)
    torch.testing.assert_close(table.forces[:, 0], torch.tensor([0.0, 0.3, 0.3, 0.3, 0.5]))
    torch.testing.assert_close(table.forces[:, 2], torch.tensor([0.0, 0.1, 0.1, 0.1, 0.2]))
    assert table.notes == ("rows without forces: 3 of 5; they hold the forces of the row before",)


def test_vectors_have_three_columns(tmp_path: Path) -> None:
    header = ["timestamp", *(f"{LEFT}_{axis}" for axis in "xyz"), LEFT]
    path = write(tmp_path, header, [[0.0, 1, -2, 3, 9], [0.1, 4, 5, 6, 9]])
    table = read_forces(path, MUSCLES, vector=True)
    assert table.forces[:, 0].tolist() == [[1, -2, 3], [4, 5, 6]]
    assert not table.forces[:, 1:].any()
    with pytest.raises(ValueError, match=rf"forces.csv:1: column {LEFT}_x is one axis .*--force vector"):
        read_forces(path, MUSCLES)
    path = write(tmp_path, ["timestamp", LEFT], [[0, 1], [0.1, 1]])
    with pytest.raises(ValueError, match=rf"forces.csv:1: {LEFT} has no column {LEFT}_x: .*--force fibre"):
        read_forces(path, MUSCLES, vector=True)


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        (["zygomaticus_major_lft"], [[0.0, 1.0]], r":1: column 'zygomaticus_major_lft' is no muscle .* mean zygomat"),
        (["AU12"], [[0.0, 1.0]], r":1: column 'AU12' is no muscle of the rig; expected a table of forces with one col"),
        (["quality"], [[0.0, 1.0]], r":1: expected a table of forces with one column per muscle: zygomaticus_major_le"),
        ([LEFT, LEFT], [[0.0, 1.0, 1.0]], rf":1: column {LEFT} appears twice"),
        (["", LEFT], [[0.0, 1.0, 1.0]], r":1: column 2 has values but no name"),
        ([LEFT], [[0.0, 1.0], [0.04, -0.2]], rf":3: column {LEFT}: expected a force of 0 or more, found '-0.2'"),
        ([LEFT], [[0.0, 1.0], [0.04, "inf"]], rf":3: column {LEFT}: expected a finite number, found 'inf'"),
        ([LEFT], [[0.0, 1.0], [0.04, 1e30]], rf":3: column {LEFT}: expected a number of at most 1e\+09 in size"),
        ([LEFT], [[0.0, 1.0], [0.04, "strong"]], rf":3: column {LEFT}: expected a finite number, found 'strong'"),
        ([LEFT, "digastric"], [[0.0, 1.0, 0.0], [0.04, 1.0, ""]], r":3: column digastric: no value, but other muscles"),
        ([LEFT], [[0.0, ""], [0.04, ""]], r": no row has forces"),
        ([LEFT], [[0.0, 1.0], [0.0, 1.0]], r":3: column timestamp: 0.0 does not increase from 0.0 in the row before"),
        ([LEFT], [[0.0, 1.0], ["", 1.0]], r":3: column timestamp: expected a finite number, found ''"),
        ([LEFT], [[0.0, 1.0], [1e-9, 1.0]], r": its times: fps must lie in"),
        ([LEFT], [[0.0, 1.0], [0.04, 1.0], [0.08, 1.0], [1e6, 1.0]], r":5: 2.*after the frame before it"),
        (["risorius_left"], [[0.0, 0.0], [0.04, 1.0]], r":3: column risorius_left: the rig has no .*mouthStretch_L;"),
    ],
)
def test_other_tables_are_refused_by_line_and_column(
    tmp_path: Path, header: list[str], rows: list[list[object]], words: str
) -> None:
    path = write(tmp_path, ["timestamp", *header], rows)
    with pytest.raises(ValueError, match=rf"forces\.csv{words}"):
        read_forces(path, MUSCLES, without_shapes={"risorius_left": ("mouthStretch_L",)})


def test_a_silent_muscle_without_shapes_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path, ["timestamp", LEFT, "risorius_left"], [[0.0, 0.5, 0.0], [0.04, 0.5, ""]])
    assert read_forces(path, MUSCLES, without_shapes={"risorius_left": ()}).forces[:, 0].tolist() == [0.5, 0.5]


def test_one_row_is_one_frame(tmp_path: Path) -> None:
    table = read_forces(write(tmp_path, ["timestamp", LEFT], [[3.0, 0.5]]), MUSCLES)
    assert table.fps is None
    assert table.resample(25)[:, 0].tolist() == [0.5]
