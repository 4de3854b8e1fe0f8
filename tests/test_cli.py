"""The command ``biomechau`` itself: its help, how it fails, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from commands.small import assert_error

from biomechau import __version__, ops
from biomechau.cli import COMMANDS, Group, main
from biomechau.commands.command import Command


def version_line() -> str:
    """The version, and what ``ops.backends`` says was compiled."""
    found = ops.backends()
    threads = "with OpenMP" if found["openmp"] else "without OpenMP"
    cuda = "CUDA kernels" if "cuda" in found["compiled"] else "no CUDA kernels"
    return f"biomechau {__version__} (CPU kernels for {found['instruction_set']} {threads}, {cuda})"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{version_line()}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["forces", "demo", "rig", "biomechau demo"]),
        (["forces", "--help"], ["--edge-fraction", "--neutral", "--rig", "summary.json"]),
        (["demo", "--help"], ["--num-vertices", "--seed"]),
        (["rig", "--help"], ["import", "info", "show"]),
    ],
)
def test_help(capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]) -> None:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert all(word in out for word in words)
    assert err == ""


def test_the_package_is_a_program_too() -> None:
    command = [sys.executable, "-I", "-m", "biomechau", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{version_line()}\n", "")


def test_help_points_to_no_file_that_is_not_installed(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["corpus", "bp4d"], ["corpus", "disfa"]):
        assert main([*words, "--help"]) == 0
        assert "README" not in capsys.readouterr().out


def test_what_needs_no_command_loads_none() -> None:
    code = (
        "import sys; from biomechau.cli import main\n"
        "for words in (['--version'], ['--help'], ['rig', '--help'], ['corpus', '-h']):\n    assert main(words) == 0\n"
        "sys.exit(', '.join({'torch', 'numpy', 'scipy', 'tyro', 'rich'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "biomechau" in done.stdout


def test_the_options_of_a_command_are_shown_without_torch() -> None:
    """Which takes seconds: it is imported when a command runs."""
    code = (
        "import sys; from biomechau.cli import COMMANDS, Group, main\n"
        "for name, entry in COMMANDS.items():\n"
        "    for words in [[name, inner] for inner in entry.commands] if isinstance(entry, Group) else [[name]]:\n"
        "        assert main([*words, '--help']) == 0\n"
        "        assert not {'torch', 'numpy', 'scipy', 'lightning'} & set(sys.modules), words"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_list_of_commands_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    for entry in COMMANDS.values():
        for one in entry.commands.values() if isinstance(entry, Group) else [entry]:
            module, name = one.home.split(".")
            assert issubclass(getattr(import_module(f"biomechau.commands.{module}"), name), Command)


@pytest.mark.slow
def test_entry_point() -> None:
    command = Path(sys.executable).with_name("biomechau")
    done = subprocess.run([command, "rig", "info", "nowhere.safetensors"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("biomechau: error: nowhere.safetensors: No such file or directory; a rig is")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes close otherwise elsewhere")
@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], pytest.param(["rig", "info", "builtin:1000", "--json"], marks=pytest.mark.slow)],
)
def test_a_reader_that_leaves_ends_the_program_quietly(arguments: list[str]) -> None:
    command = [Path(sys.executable).with_name("biomechau"), *arguments]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("biomechau.analysis.demonstrate", interrupt)
    assert main(["demo"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on Unix alone")
def test_a_file_name_of_bytes_is_shown_as_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", b"capture \xff.csv")

    monkeypatch.setattr("biomechau.analysis.demonstrate", missing)
    assert main(["demo", "--no-training"]) == 2
    assert capsys.readouterr().err == "biomechau: error: capture \\udcff.csv: No such file or directory\n"


def test_an_unexpected_error_is_one_line_with_its_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("biomechau.analysis.demonstrate", break_down)
    assert_error(capsys, ["demo"], "ZeroDivisionError: two lines")


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rig", "info", "nowhere", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("biomechau: error: nowhere: No such file or directory")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["Missing subcommand", "forces"]),
        (["bogus"], ["bogus", "forces"]),
        (["foces"], ["foces", 'did you mean "biomechau forces"?']),
        (["--verson"], ["--verson", 'did you mean "biomechau --version"?']),
        (["rig", "--hlep"], ['did you mean "biomechau rig --help"?']),
        (["rig", "inf"], ["inf", 'did you mean "biomechau rig info"?', 'see "biomechau rig --help"']),
        (["rig"], ["Missing subcommand", "import"]),
        (["forces"], ["INPUT"]),
        (["rig", "import", "x"], ["--out"]),
        (["forces", "x", "--colour", "red"], ["--colour"]),
        (["forces", "x", "--sparsty", "1"], ["--sparsty: did you mean --sparsity?"]),
        (["train", "--corpsu", "x", "--out", "y"], ["--corpus", "--corpsu: did you mean --corpus?"]),
        (["forces", "x", "--law", "hooke"], ["hooke", "elastic", "newton"]),
        (["forces", "x", "--fps", "fast"], ["--fps", "fast"]),
        (["live", "clip.csv", "--repeat"], ["did you mean --source clip.csv?"]),
        (
            ["train", "--corpus", "x", "--out", "y", "--action-units", "1,2,12"],
            ["--action-units", "write several numbers with spaces: 1 2 12"],
        ),
        (["forces", "x", "--zeta", "-1"], ["error: --zeta must be a finite number in [0, 1e6], got -1.0"]),
        (["forces", "x", "--neutral", "101"], ["--neutral must be a finite number in [0, 100]"]),
        (["train", "--corpus", "x", "--out", "y", "--epochs", "0"], ["error: --epochs must be an integer of at least"]),
        (
            ["train", "--corpus", "x", "--out", "y", "--losses.slack", "inf"],
            ["error: --losses.slack must be a finite number in [0, 1e6], got inf", 'see "biomechau train --help"'],
        ),
        (["train", "--corpus", "x", "--out", "y", "--losses.reconstruction", "3e38"], ["in [0, 1e6], got 3e+38"]),
        (["forces", "x", "--paper", "--f0", "2"], ["--paper"]),
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]) -> None:
    assert_error(capsys, arguments, *words)
