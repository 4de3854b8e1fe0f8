"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from biomechau.files import remove_folder, replacing, staged_directory


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


def test_a_folder_in_which_nothing_can_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> int:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))  # as Linux does in /proc

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path}/x'$"):
        _write(tmp_path / "x", "text")


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


def _contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def _stage(out: Path, error: OSError | None = None, **texts: str) -> None:
    with staged_directory(out) as stage:
        for name, text in texts.items():
            (stage / name).write_text(text)
        if error is not None:
            raise error


def test_a_folder_in_the_way_of_one_file_keeps_all_of_them(tmp_path: Path) -> None:
    _stage(tmp_path, a="old", c="old")
    (tmp_path / "b").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        _stage(tmp_path, a="new", b="new", c="new")
    assert caught.value.filename == str(tmp_path / "b")
    assert _contents(tmp_path) == {"a": "old", "c": "old"}
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


@pytest.mark.parametrize("moves", range(5))
def test_a_failure_between_the_moves_puts_everything_back(
    tmp_path: Path, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stage(tmp_path, a="old", b="old")
    rename, done = Path.rename, []

    def fail(path: Path, target: Path) -> Path:
        done.append(path)
        if len(done) == moves + 1:
            raise OSError(28, "No space left on device", str(path), None, str(target))
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="No space left") as caught:
            _stage(tmp_path, a="new", b="new", c="new")
    assert Path(caught.value.filename).parent == tmp_path
    assert _contents(tmp_path) == {"a": "old", "b": "old"}
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_errors_of_a_stage_name_the_users_path(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def write(how: str) -> None:
        with staged_directory(out) as stage:
            if how == "read-only":
                (stage / "x").write_text("")
                raise PermissionError(13, "Permission denied", str(stage / "sub" / "x"))
            if how == "nested":
                with replacing(stage / "none" / "x"):
                    pytest.fail("entered")
            if how == "foreign":
                raise PermissionError(13, "Permission denied", "elsewhere")
            (stage / "x").write_text("half")
            raise OSError(28, "No space left on device")

    for how, name in (("full", out / "x"), ("read-only", out / "sub" / "x"), ("foreign", "elsewhere")):
        with pytest.raises(OSError) as caught:  # noqa: PT011, the name is what counts
            write(how)
        assert caught.value.filename == str(name)
    with pytest.raises(FileNotFoundError, match=f"cannot write {out}/none/x: there is no folder {out}/none$"):
        write("nested")
    assert list(tmp_path.iterdir()) == []


def test_no_space_left_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        _write(tmp_path / "x", "half", OSError(28, "No space left on device"))
    assert caught.value.filename == str(tmp_path / "x")


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "page").write_text("old")
    (tmp_path / "link").symlink_to("there/page")
    _write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "page").read_text() == "new"
    with pytest.raises(OSError, match="not a regular file"):
        _write(Path(os.devnull), "")
    (tmp_path / "nowhere").symlink_to("gone")
    with pytest.raises(FileExistsError, match="a symbolic link to nothing"):
        _stage(tmp_path / "nowhere", a="new")


def test_what_killed_processes_left_is_removed_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    (tmp_path / ".x.123.partial").write_text("half")
    (tmp_path / ".y.123.partial").write_text("of another file")
    with replacing(tmp_path / "x") as partial:
        partial.write_text("slow")
        _write(tmp_path / "x", "fast")
        assert partial.read_text() == "slow"
    assert _contents(tmp_path) == {"x": "slow", ".y.123.partial": "of another file"}
    with staged_directory(tmp_path / "out") as stage:
        (stage / "a").write_text("slow")
        _stage(tmp_path / "out", a="fast", b="fast")
    assert _contents(tmp_path / "out") == {"a": "slow", "b": "fast"}


def test_a_kill_between_the_moves_is_undone_by_the_next_writer(tmp_path: Path) -> None:
    _stage(tmp_path / "out", a="new, moved already", c="still there")
    half = tmp_path / "out" / ".out.123-ab.partial"
    for place, text in (("old/a", "old"), ("old/b", "old"), ("new/b", "new")):
        (half / place).parent.mkdir(parents=True, exist_ok=True)
        (half / place).write_text(text)
    with pytest.raises(OSError, match="disk"):
        _stage(tmp_path / "out", OSError("disk"), a="newer")
    assert _contents(tmp_path / "out") == {"a": "old", "b": "old", "c": "still there"}


def test_a_folder_is_removed_whole(tmp_path: Path) -> None:
    _stage(tmp_path / "out", a="x")
    remove_folder(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


_WRITER = """
import sys
from pathlib import Path
from biomechau.files import replacing, staged_directory
for number in range(10**6):
    with replacing(Path(sys.argv[1], "file")) as partial:
        partial.write_text(f"{number}\\n" * 1000)
    with staged_directory(Path(sys.argv[1], f"folder{number // 20}")) as stage:
        for name in "abc":
            (stage / name).write_text(str(number))
    if number == 3:
        print("writing", flush=True)
"""


def test_kills_leave_whole_files(tmp_path: Path) -> None:
    random.seed(0)
    for _ in range(4):
        command = [sys.executable, "-I", "-c", _WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            for _ in range(random.randrange(10**5)):  # some more of its writing
                pass
            process.send_signal(signal.SIGKILL)
        assert len(set((tmp_path / "file").read_text().splitlines())) == 1
        for folder in tmp_path.glob("folder*"):
            _stage(folder)  # the next writer
            assert len(set(_contents(folder).values())) == 1, folder
            assert sorted(os.listdir(folder)) == ["a", "b", "c"]
    _write(tmp_path / "file", "")
    assert not list(tmp_path.glob(".file*"))
