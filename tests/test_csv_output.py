"""Tables that a spreadsheet shows and does not run."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from biomechau.csv_output import original_cell, plain_cell, write_rows


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-x", "@SUM(1)", "\t=1", "\r=1", "-1+1"])
def test_formulas_are_marked_and_can_be_read_again(text: str) -> None:
    assert plain_cell(text) == f"'{text}"
    assert original_cell(f"'{text}") == text


@pytest.mark.parametrize("value", ["a=1", "", "-0.5", "+1e-3", "-inf", -0.5, None, 3, "'quoted'"])
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert plain_cell(value) == value
    if isinstance(value, str):
        assert original_cell(value) == value


def test_cells_are_quoted_where_they_must_be(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", ["a,b", 'c"d', "e\nf"], [["1", None, -2.5]])
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["a,b", 'c"d', "e\nf"], ["1", "", "-2.5"]]
