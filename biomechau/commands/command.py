"""Common parts of the commands: base class, switches, and rigs on the command line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from tyro.conf import Fixed, FlagCreatePairsOff, Suppress, arg

from biomechau.physics import InverseOptions, PhysicsConfig

if TYPE_CHECKING:
    from typing_extensions import Self

    from biomechau.rig import FaceRig

T = TypeVar("T")
Switch = FlagCreatePairsOff[bool]
# A field that is not an option.
NoOption = Suppress[Fixed[T]]
# Whether to write the standard deviation of each force.
Deviations = Annotated[
    Switch, arg(help="Also the standard deviation of each force, NAME_sd in forces.csv; needs --metric learned.")
]


@dataclass(frozen=True)
class Command(ABC):
    """Base class of the commands, with the options of all of them."""

    debug: Annotated[Switch, arg(help="Show the traceback of an error.")] = field(default=False, kw_only=True)

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Self | None:
        """Defaults of the options if they depend on each other; None for those of the fields.

        Raises:
            ValueError: an option that the learned metric has of its own, although it is given as its default.
        """
        given = [option for argument in arguments for option in argument.partition("=")[::2]]
        if "inverse" in (f.name for f in fields(cls)) and ("--metric", "learned") in pairwise(filter(None, given)):
            for name in InverseOptions.OWN_OF_LEARNED:
                for option in (f"--{name}", f"--no-{name}"):
                    if option in given:
                        raise ValueError(f"the learned metric has its own {name}: leave {option} out")
        return None

    @abstractmethod
    def run(self) -> None:
        """Execute the command.

        Raises:
            OSError, TypeError, ValueError, ImportError: errors that the user can fix; the message says how.
        """


@dataclass(frozen=True)
class PhysicsOptions(PhysicsConfig):
    """The physics on the command line without the frame rate, which follows from something else."""

    fps: NoOption[float] = 25.0


def check_deviations(wanted: bool, options: InverseOptions) -> None:
    """Raise ``ValueError`` if standard deviations are wanted of a metric that has none."""
    if wanted and options.metric != "learned":
        raise ValueError("--sd needs --metric learned, which knows the errors of trackers")


def load_rig(text: str) -> FaceRig:
    """Load a rig named on the command line: a file, ``builtin``, or ``builtin:<number of vertices>``.

    Raises:
        ValueError: not a rig file, or a number of vertices out of range.
        OSError: the file cannot be read.
    """
    from biomechau.rig import FaceRig

    rig = builtin_rig(text)
    if rig is None and not Path(text).exists():
        raise FileNotFoundError(
            f'{text}: No such file or directory; a rig is a file of "biomechau rig import", "builtin" or "builtin:9409"'
        )
    return FaceRig.load(text) if rig is None else rig


def builtin_rig(text: str) -> FaceRig | None:
    """The rig named by ``builtin`` or ``builtin:<number of vertices>``; None for any other text.

    Raises:
        ValueError: a number of vertices out of range.
    """
    from biomechau.rig import FaceRig

    name, colon, count = text.partition(":")
    if name != "builtin":
        return None
    if not colon:
        return FaceRig.builtin()
    if not count.isdecimal():
        raise ValueError(f"{text}: expected a number of vertices after the colon, as in builtin:9409")
    return FaceRig.builtin(int(count))
