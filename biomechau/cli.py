"""The command ``biomechau``. The options of a command are generated from its dataclass in :mod:`biomechau.commands`.

A command is imported when it is run or asked for its own help, torch only when it runs.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from itertools import dropwhile, takewhile
from operator import not_
from typing import TYPE_CHECKING, NamedTuple

from biomechau import __version__

if TYPE_CHECKING:
    from biomechau.commands.command import Command


class Entry(NamedTuple):
    """A command in the list of commands: its class (module and name in ``biomechau.commands``) and what it does."""

    home: str
    does: str


class Group(NamedTuple):
    """Commands with a common first word."""

    does: str
    commands: Mapping[str, Entry | Group]


COMMANDS: Mapping[str, Entry | Group] = {
    "analyze": Entry("analyze.Analyze", "Forces and action units of any number of recordings."),
    "forces": Entry("forces.Forces", "Compute the muscle forces behind a recording; no training."),
    "live": Entry("live.Live", "Muscle forces while a face moves: phone, camera or recording."),
    "track": Entry("track.Track", "Track the face of a video with MediaPipe."),
    "demo": Entry("demo.Demo", "Show the package on the built-in face, in a minute or two."),
    "simulate": Entry("simulate.Simulate", "Make a corpus of simulated people."),
    "train": Entry("train.Train", "Train a detector of action units on a corpus."),
    "evaluate": Entry("evaluate.Evaluate", "Test a run, or the default detector, on a corpus."),
    "predict": Entry("predict.Predict", "Predict action units and forces of a recording."),
    "animate": Entry("animate.Animate", "Move a face by muscle forces: table, OBJ files, glTF, video."),
    "compare": Entry("compare.Compare", "Put EMG or action units of others beside a result."),
    "experiment": Group(
        "Tables and figures of the paper, and trials on simulated people.",
        {
            "table1": Entry("experiment.Table1", "What the head sees."),
            "table2": Entry("experiment.Table2", "F1 on BP4D beside published results."),
            "table3": Entry("experiment.Table3", "F1 on DISFA beside published results."),
            "table4": Entry("experiment.Table4", "Training with the labels of a few sequences."),
            "table5": Entry("experiment.Table5", "Trained on one corpus, tested on another."),
            "ablation": Entry("experiment.Ablation", "Losses and physics, one change at a time."),
            "forces": Entry("force_trial.ForceTrial", "Forces of simulated people, found and true."),
            "asymmetry": Entry("force_trial.AsymmetryTrial", "Weak sides of simulated people, found by the index."),
            "figures": Entry("experiment.Figures", "Fig. 2, 4 and 5 of a trained run."),
            "built-in-metric": Entry(
                "builtin_metric.BuiltinMetric", "The learned metric of the built-in face, from seeds."
            ),
            "default-detector": Entry("default_detector.DefaultDetector", "The detector of the package, from seeds."),
        },
    ),
    "report": Entry("report.Report", "Write a page that any browser shows offline."),
    "rig": Group(
        "Make, inspect and draw rig files.",
        {
            "import": Entry("rig.RigImport", "Make a rig file from ICT-FaceKit, OBJ files, glTF or the built-in face."),
            "export": Entry("rig.RigExport", "Write a rig as glTF (.glb), with its shapes as morph targets."),
            "info": Entry("rig.RigInfo", "Show what a rig holds."),
            "muscles": Entry("rig.RigMuscles", "Write the built-in table of muscles, to edit."),
            "leaks": Entry("rig.RigLeaks", "Measure what each muscle lends to the others."),
            "show": Entry("rig.RigShow", "Draw the neutral face and its shapes."),
        },
    ),
    "corpus": Group(
        "Make, inspect and check corpora of labelled sequences.",
        {
            "info": Entry("corpus.CorpusInfo", "Show what a corpus holds."),
            "check": Entry("corpus.CorpusCheck", "Read every value of a corpus."),
            "bp4d": Entry("datasets.CorpusBP4D", "Make a corpus from BP4D."),
            "disfa": Entry("datasets.CorpusDISFA", "Make a corpus from DISFA."),
            "features": Entry("features.CorpusFeatures", "Compute image features with a pretrained backbone."),
            "train-features": Entry("features.CorpusTrainFeatures", "Train an image backbone for each fold."),
        },
    ),
}
DESCRIPTION = f"""Muscle forces from 3D facial motion, through a physical model of the face.

biomechau {__version__}: try "biomechau demo", then "biomechau forces capture.csv"."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: of the command line, without the program's name; those of the process if not given.

    Returns:
        Exit code: 0; 2 after an error, which is one line on stderr; 130 when interrupted; 1 when the reader of the
        output has gone.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    code = 0
    try:
        try:
            if arguments == ["--version"]:
                print(_version())
            else:
                parse(arguments).run()
        except SystemExit as end:  # after --help
            code = int(end.code or 0)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # What is still buffered must not fail again when Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        from biomechau.commands.terminal import print_message

        print_message("error", _in_words(error))
        return 2
    return code


def _version() -> str:
    """The version, and what is compiled; the compiled core can be asked without torch."""
    core = import_module("biomechau._core")
    threads = "with OpenMP" if core.openmp else "without OpenMP"
    cuda = "CUDA kernels" if core.cuda else "no CUDA kernels"
    return f"biomechau {__version__} (CPU kernels for {core.isa()} {threads}, {cuda})"


def parse(arguments: Sequence[str]) -> Command:
    """The command that the arguments name.

    Raises:
        SystemExit: help was asked for and printed.
        ValueError: the arguments are wrong; the message says how.
    """
    program, rest = "biomechau", list(arguments)
    entry: Entry | Group = Group(DESCRIPTION, COMMANDS)
    while isinstance(entry, Group):
        word, *rest = rest or [""]
        if word in ("-h", "--help"):
            print(_help(program, entry))
            raise SystemExit(0)
        if word not in entry.commands:
            raise ValueError(_unknown(program, entry, word))
        program, entry = f"{program} {word}", entry.commands[word]

    # Here, because it takes a while, and the list of commands does without.
    import tyro

    module, name = entry.home.split(".")
    command: type[Command] = getattr(import_module(f"biomechau.commands.{module}"), name)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(command, prog=program, args=rest, default=command.default(rest))  # pyright: ignore[reportReturnType]
    except SystemExit as end:
        if not end.code:
            raise
        message = printed.getvalue()
        words = _with_option(_unframed(message), command)
        raise ValueError(f'{words} (see "{program} --help"){_advice(message, command)}') from None
    except ValueError as error:  # of a configuration that tyro does not name in a message of its own
        raise ValueError(f'{_with_option(str(error), command)} (see "{program} --help")') from error


def _options(command: type[Command]) -> list[str]:
    """The options of a command, as its help names them."""
    import tyro

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(command, args=["--help"], default=command.default([]))
    return re.findall(r"--[a-z][\w.-]*", printed.getvalue())


def _with_option(message: str, command: type[Command]) -> str:
    """What a configuration says of one of its fields, said of the option that sets it."""
    found = re.match(r"(?:Error parsing (?:\w+\.)*(\w+): )?(\w+)(?= must )", message)
    if found is None:
        return re.sub(r"^Error parsing (?:\w+\.)*\w+: ", "", message)
    parent, name = (found[1] or "").replace("_", "-"), found[2].replace("_", "-")
    option = next((o for o in (f"--{parent}.{name}", f"--{name}") if o in _options(command)), found[2])
    return option + message[found.end() :]


def _advice(message: str, command: type[Command]) -> str:
    """What to write instead, such as the option that an unknown one resembles; empty if nothing is known."""
    if listed := re.search(r"'(\d+(?:,\d+)+)'", message):
        return f"; write several numbers with spaces: {listed[1].replace(',', ' ')}"
    stray = re.search(r"Unrecognized options: ([^-\s]\S*)", message)
    if stray is not None and "--source" in _options(command):
        return f"; did you mean --source {stray[1]}?"
    wrong = re.search(r"Unrecognized options:\W*?(--[a-z][\w.-]*)", message)
    if wrong is None:
        return ""
    close = get_close_matches(wrong[1].replace("_", "-"), _options(command), 1)
    return f"; {wrong[1]}: did you mean {close[0]}?" if close else ""


def _help(program: str, group: Group) -> str:
    width = max(map(len, group.commands))
    lines = [f"  {name:{width}}  {entry.does}" for name, entry in group.commands.items()]
    commands = "\n".join(lines)
    return (
        f"usage: {program} COMMAND [OPTIONS]\n\n{group.does}\n\n{commands}\n\n"
        f'"{program} COMMAND --help" shows the options of a command.'
    )


def _unknown(program: str, group: Group, word: str) -> str:
    names = ", ".join(group.commands)
    advice = f'one of {names} (see "{program} --help")'
    if not word:
        return f"Missing subcommand: expected {advice}"
    own = ("--help", "--version") if group.commands is COMMANDS else ("--help",)
    close = get_close_matches(word, own if word.startswith("-") else group.commands, 1)
    return f"{word}: expected {advice}" + (f'; did you mean "{program} {close[0]}"?' if close else "")


def _unframed(message: str) -> str:
    """The text of a framed message of tyro: its title and its first section, without the hints below."""
    # Without the box-drawing characters, or the dashes of terminals that have none, a rule between sections is an empty
    # line.
    lines = [re.sub(r"[\u2500-\u257f]|^ *-+ *$", "", line).strip() for line in message.splitlines()]
    title, *body = lines or [""]
    words = " ".join(takewhile(bool, dropwhile(not_, body)))
    # A check of a configuration says all that there is to say.
    words = words if words.lower().startswith((title.lower(), "error parsing ")) else f"{title}: {words}"
    return words.rstrip(".")


def _in_words(error: Exception) -> str:
    """One line for the person who made the error; unexpected errors keep the name of their type."""
    if isinstance(error, OSError) and error.filename is not None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return f"{name}: {error.strerror}"
    expected = isinstance(error, (ValueError, TypeError, OSError, ImportError))
    return str(error) if expected and str(error) else f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
