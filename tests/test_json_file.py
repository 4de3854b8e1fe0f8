"""JSON files hold finite numbers, and nothing else gets through."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from biomechau.json_file import read_json, read_json_object


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"x": NaN}', "not JSON: NaN is not a JSON number"),
        ('{"x": -Infinity}', "not JSON: -Infinity is not a JSON number"),
        ('{"x": 1e999}', "not JSON: the number '1e999' is not finite"),
        ('{"x": 9223372036854775808}', "not JSON: the number '9223372036854775808' is beyond 64 bits"),
        ('{"x": ' + "9" * 5000 + "}", "not JSON: the number '9{49} ... 9{24}' is beyond 64 bits"),
        ("[" * 100_000, "not JSON: .*recursion"),
        ("{", "not JSON: Expecting property name"),
        ("[1]", r"expected a JSON object, found \[1\]"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.json: {message}"):
        read_json_object(tmp_path / "a.json")


def test_numbers_are_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[9223372036854775807, -1, 1e-400, 0.1]")
    assert read_json(tmp_path / "a.json") == [2**63 - 1, -1, 0.0, 0.1]


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match="pipe.json: expected a regular file"):
        read_json(tmp_path / "pipe.json")
    with pytest.raises(IsADirectoryError):
        read_json(tmp_path)
