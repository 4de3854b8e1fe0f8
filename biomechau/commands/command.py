"""What the commands share: their base, switches, and how a command line names a rig."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, arg

if TYPE_CHECKING:
    from typing_extensions import Self

    from biomechau.rig import FaceRig

Switch = FlagCreatePairsOff[bool]


@dataclass(frozen=True)
class Command(ABC):
    """What every command takes."""

    debug: Annotated[Switch, arg(help="Show the traceback of an error.")] = field(default=False, kw_only=True)

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Self | None:
        """Defaults of the options where they depend on each other; None for those of the fields."""
        return None

    @abstractmethod
    def run(self) -> None:
        """Do what the command is for.

        Raises:
            OSError, TypeError, ValueError, ImportError: what the user can mend; the message is for them.
        """


def load_rig(text: str) -> FaceRig:
    """The rig that a command line names: a file, ``builtin``, or ``builtin:<number of vertices>``.

    Raises:
        ValueError: not a rig file, or an impossible number of vertices.
        OSError: the file cannot be read.
    """
    from biomechau.rig import FaceRig

    rig = builtin_rig(text)
    return FaceRig.load(text) if rig is None else rig


def builtin_rig(text: str) -> FaceRig | None:
    """The rig that ``builtin`` or ``builtin:<number of vertices>`` names; None for any other text.

    Raises:
        ValueError: an impossible number of vertices.
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
