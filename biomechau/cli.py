"""The command ``biomechau``. Its options are generated from the dataclasses of :mod:`biomechau.commands`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from itertools import takewhile
from typing import Annotated, Any

import tyro
from tyro.conf import OmitSubcommandPrefixes, subcommand

from biomechau import __version__
from biomechau.commands.command import Command
from biomechau.commands.corpus import CorpusCheck, CorpusInfo
from biomechau.commands.datasets import CorpusBP4D, CorpusDISFA
from biomechau.commands.demo import Demo
from biomechau.commands.evaluate import Evaluate
from biomechau.commands.experiment import Experiment
from biomechau.commands.features import CorpusFeatures, CorpusTrainFeatures
from biomechau.commands.forces import Forces
from biomechau.commands.predict import Predict
from biomechau.commands.report import Report
from biomechau.commands.rig import RigImport, RigInfo, RigShow
from biomechau.commands.simulate import Simulate
from biomechau.commands.terminal import tell
from biomechau.commands.track import Track
from biomechau.commands.train import Train

DESCRIPTION = f"""Muscle forces from 3D facial motion, through a physical model of the face.

biomechau {__version__} ("biomechau --version"). Try "biomechau demo", then "biomechau forces capture.csv"."""

Rig = Annotated[
    Annotated[RigImport, subcommand("import")]
    | Annotated[RigInfo, subcommand("info")]
    | Annotated[RigShow, subcommand("show")],
    subcommand("rig", description="Make, inspect and draw rig files."),
]
Corpora = Annotated[
    Annotated[CorpusInfo, subcommand("info")]
    | Annotated[CorpusCheck, subcommand("check")]
    | Annotated[CorpusBP4D, subcommand("bp4d")]
    | Annotated[CorpusDISFA, subcommand("disfa")]
    | Annotated[CorpusFeatures, subcommand("features")]
    | Annotated[CorpusTrainFeatures, subcommand("train-features")],
    subcommand("corpus", description="Make, inspect and check corpora of labelled sequences."),
]


def commands(arguments: Sequence[str]) -> Any:
    """The commands as a type that tyro can parse, with the defaults that hold for these arguments."""
    return (
        Annotated[Forces, subcommand("forces")]
        | Annotated[Track, subcommand("track")]
        | Annotated[Demo, subcommand("demo")]
        | Annotated[Simulate, subcommand("simulate")]
        | Annotated[Train, subcommand("train", default=Train.default(arguments))]
        | Annotated[Evaluate, subcommand("evaluate")]
        | Annotated[Predict, subcommand("predict")]
        | Annotated[Experiment, subcommand("experiment")]
        | Annotated[Report, subcommand("report")]
        | Rig
        | Corpora
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: of the command line, without the program's name; those of the process if not given.

    Returns:
        Exit code: 0; 2 after an error, which is one line on stderr; 130 when interrupted; 1 when the reader of the
        output has gone.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if arguments == ["--version"]:
            print(f"biomechau {__version__}")
        else:
            parse(arguments).run()
        sys.stdout.flush()
    except SystemExit as end:  # after --help
        return int(end.code or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # What is still buffered must not fail again when Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        tell("error", _in_words(error))
        return 2
    return 0


def parse(arguments: Sequence[str]) -> Command:
    """The command that the arguments name.

    Raises:
        SystemExit: help was asked for and printed.
        ValueError: the arguments are wrong; the message says how.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                commands(arguments),
                prog="biomechau",
                description=DESCRIPTION,
                args=list(arguments),
                config=(OmitSubcommandPrefixes,),
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise ValueError(_unframed(printed.getvalue())) from None


def _unframed(message: str) -> str:
    """The words of a framed message of tyro: its title and its first section, without the hints below."""
    # The box-drawing characters. Without them a rule between sections is an empty line.
    lines = [re.sub("[\u2500-\u257f]", "", line).strip() for line in message.splitlines()]
    title, *body = lines or [""]
    words = " ".join(takewhile(bool, body))
    words = re.sub(r"^Error parsing \w[^:]*: ", "", words)  # a check of a dataclass, which names no option
    words = words if words.startswith(title) else f"{title}: {words}"
    return f'{words.rstrip(".")} (see "biomechau --help")'


def _in_words(error: Exception) -> str:
    """One line for the person who made the error; what nobody foresaw keeps the name of its kind."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    expected = isinstance(error, (ValueError, TypeError, OSError, ImportError))
    return str(error) if expected and str(error) else f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
