"""Locks of folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from biomechau.locks import lock, locked_folder

_HOLDER = """
import sys
from biomechau.locks import lock, locked_folder
with locked_folder(sys.argv[1], "busy"):
    print("held", flush=True)
    sys.stdin.read()
"""


def _hold(folder: Path) -> None:
    with locked_folder(folder, "somebody is at work here"):
        pass


def test_a_second_holder_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    command = [sys.executable, "-I", "-c", _HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match="somebody is at work here") as caught:
            _hold(folder)
        assert caught.value.filename == str(folder)
        process.kill()
    assert [path.name for path in folder.iterdir()] == [".lock"]
    _hold(folder)
    assert list(folder.iterdir()) == []


def test_what_was_made_for_the_lock_alone_goes_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked_folder(tmp_path / "a" / "b", "busy"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []
    with locked_folder(tmp_path / "a" / "b", "busy"):
        (tmp_path / "a" / "b" / "x").write_text("")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["x"]


def test_a_file_system_that_does_not_know_a_file_again_has_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    with lock(tmp_path / "x") as held:
        assert held is None
