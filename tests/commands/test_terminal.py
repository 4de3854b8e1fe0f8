"""Text of files reaches a terminal as it is: no markup, no links, no control characters."""

from __future__ import annotations

import json

import pytest
from rich.table import Table

from biomechau.commands import terminal
from biomechau.commands.terminal import new_table, print_lines, print_message, print_tables, printable
from biomechau.reports.output import to_json

HOSTILE = "S[/red]1 [link=x]y[/] :smile: \x1b[31m\x1b]0;title\x07 \x9b2J \u202e \udcff\r\x08"


def test_only_characters_that_stand_for_themselves_are_printable() -> None:
    assert printable("Zürich 'a' \\ 日本\n[/]") == "Zürich 'a' \\ 日本\n[/]"
    assert printable("\x1b[31m\x9b\u202e\udcff\t\r") == r"\x1b[31m\x9b\u202e\udcff\t\r"


def assert_harmless(text: str) -> None:
    assert all(character.isprintable() or character == "\n" for character in text)
    text.encode()


def test_tables_take_no_text_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table: Table = new_table(HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    print_tables(table)
    out = capsys.readouterr().out
    assert_harmless(out)
    assert out.count("S[/red]1") == 3
    assert ":smile:" in out


def test_lines_and_notes_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines(HOSTILE, HOSTILE)
    print_message("note", HOSTILE)
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    assert err.count("\n") == 1
    for text in (out, err):
        assert_harmless(text)
        assert "S[/red]1 [link=x]y[/]" in text


def test_json_is_harmless_and_the_same() -> None:
    text = to_json({HOSTILE: ["é", HOSTILE, "\U0001f600\U000e0001"]})
    assert_harmless(text)
    assert "é" in text
    assert json.loads(text) == {HOSTILE: ["é", HOSTILE, "\U0001f600\U000e0001"]}


def test_a_log_is_told_once_a_minute(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(terminal, "monotonic", lambda: now)
    with terminal.progress_bar("working") as progress:
        for done in range(1, 301):
            now = 1.0 * done
            progress(done, 300)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"biomechau: progress: working: {done} of 300, about {left} left"
        for done, left in ((60, "4 min"), (120, "3 min"), (180, "2 min"), (240, "60 s"))
    ]


def test_training_tells_its_time_after_the_first_epoch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(terminal, "monotonic", lambda: now)
    count = terminal.MinuteLines("epochs", first=True)
    now = 20.0
    count(1, 500)
    count(2, 500)
    assert capsys.readouterr().err == "biomechau: progress: epochs: 1 of 500, about 2.8 h left\n"
