"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from biomechau.files import replacing, staged_directory


def _write(path: Path, text: str, error: BaseException | None = None) -> None:
    with replacing(path) as partial:
        partial.write_text(text)
        if error is not None:
            raise error


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    with replacing(tmp_path / "x") as partial:
        partial.write_text("new")
        assert (tmp_path / "x").read_text() == "old"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x": "new"}


@pytest.mark.parametrize("error", [OSError("disk full"), OSError(28, "disk full"), KeyboardInterrupt("disk full")])
def test_a_failing_block_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "x").write_text("old")
    with pytest.raises(type(error), match="disk full"):
        _write(tmp_path / "x", "half", error)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x": "old"}


def test_errors_name_the_file_and_not_what_stands_in_for_it(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError, match="taken'$") as caught:
        _write(tmp_path / "taken", "text")
    assert "partial" not in str(caught.value)
    with pytest.raises(OSError, match=f"'{tmp_path}/n{{300}}'$"):
        _write(tmp_path / ("n" * 300), "text")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("folder", ["nowhere", "file"])
def test_a_missing_folder_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match=f"cannot write .*x: there is no folder .*{folder}$"):
        _write(tmp_path / folder / "x", "text")


def test_a_failing_block_leaves_no_new_directory(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"

    def fail() -> None:
        with staged_directory(out) as stage:
            (stage / "x").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_other_files_of_the_directory_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "x").write_text("old")
    with staged_directory(tmp_path) as stage:
        (stage / "x").write_text("new")
        assert (tmp_path / "x").read_text() == "old"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"notes.txt": "mine", "x": "new"}


@pytest.mark.parametrize("inside", ["", "sub/dir"])
def test_a_file_in_the_way_is_named(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(NotADirectoryError, match="file is a file, expected a directory"),
        staged_directory(tmp_path / "file" / inside),
    ):
        pytest.fail("entered")
