"""Muscles: a table of the facial muscles and of the shapes of a rig that show their contraction."""

from __future__ import annotations

import csv
import importlib.resources
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType

from biomechau.csv_output import original_cell, plain_cell
from biomechau.file_errors import naming, quote, reason
from biomechau.files import replacing
from biomechau.rig.names import canonical, index_by_name

SIDES = ("left", "right", "both")
KINDS = ("sheet", "sphincter", "relax")
# The first is a letter: spreadsheets take text that begins with a sign for a formula.
_NAME = re.compile(r"[^\W\d_][\w.-]{0,79}")
# Names of other columns in the tables of forces.
_RESERVED = ("frame", "timestamp", "recorded_frame")
_AXES = ("x", "y", "z")
_COLUMNS = ("name", "side", "kind", "action_units", "shapes", "source")


@dataclass(frozen=True)
class Muscle:
    """One muscle, or one group of fibres that acts as a muscle.

    Attributes:
        name: anatomical name in snake case, without the side.
        side: "left" or "right" (the subject's), or "both".
        kind: "sheet" pulls towards a fixed origin, "sphincter" closes a ring, "relax" is a relaxation.
        action_units: numbers of the FACS action units that it contributes to.
        shapes: blendshapes whose sum is the face at its full contraction; empty if none is known.
        source: reference for the row.

    Raises:
        TypeError: shapes that are not a sequence of strings.
        ValueError: an unknown side or kind, a name that :func:`check_muscle_names` refuses, an action unit that is not
            positive, a shape that is not printable or is given twice in any spelling.
    """

    name: str
    side: str
    kind: str
    action_units: tuple[int, ...]
    shapes: tuple[str, ...]
    source: str = ""

    def __reduce__(self) -> tuple[type[Muscle], tuple[object, ...]]:
        # A muscle from a file passes the checks of a new one.
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    def __post_init__(self) -> None:
        check_muscle_names([self.name])
        if self.side not in SIDES:
            raise ValueError(f"side of {self.name} must be one of {', '.join(SIDES)}, got {quote(self.side)}")
        if self.kind not in KINDS:
            raise ValueError(f"kind of {self.name} must be one of {', '.join(KINDS)}, got {quote(self.kind)}")
        if any(unit < 1 for unit in self.action_units):
            raise ValueError(f"action units of {self.name} must be positive, got {quote(self.action_units)}")
        index_by_name(self.shapes, f"shapes of {self.identifier}")
        if unprintable := [shape for shape in self.shapes if not "".join(shape.split()).isprintable()]:
            raise ValueError(f"shapes of {self.identifier} must be printable, got {quote(unprintable[0])}")

    @property
    def identifier(self) -> str:
        """Name with the side, as in tables and columns: ``zygomaticus_major_left``; the bare name for both sides."""
        return self.name if self.side == "both" else f"{self.name}_{self.side}"


class Muscles(tuple[Muscle, ...]):
    """An ordered table of muscles with unique identifiers.

    Raises:
        ValueError: a duplicate identifier, or one that is the column of an axis of another muscle's force.
    """

    __slots__ = ()

    def __new__(cls, muscles: Iterable[Muscle] = ()) -> Muscles:
        self = super().__new__(cls, muscles)
        check_muscle_names(self.names)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The identifiers, in order."""
        return tuple(muscle.identifier for muscle in self)

    @classmethod
    def facs(cls) -> Muscles:
        """The table that ships with the package: the facial muscles of FACS and their ARKit shapes."""
        with importlib.resources.as_file(importlib.resources.files("biomechau.rig") / "facs_muscles.csv") as path:
            return cls.load(path)

    @classmethod
    def load(cls, path: str | Path) -> Muscles:
        """Read a table written by :meth:`save`, or a copy edited by hand.

        CSV in UTF-8 with the columns ``name, side, kind, action_units, shapes, source``; several action units or
        shapes in a cell are separated by spaces.

        Raises:
            OSError: the file cannot be read.
            ValueError: a missing or duplicate column, a broken row, a duplicate muscle; the message names the line.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: expected UTF-8 text, found {error.reason} at byte {error.start}") from None
        reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
        muscles: dict[str, Muscle] = {}
        try:
            header = _parse_header(next(reader, []))
            for row in filter(None, reader):
                muscle = _parse_row(header, row)
                if muscle.identifier in muscles:
                    raise ValueError(f"muscle {muscle.identifier} is given twice")
                muscles[muscle.identifier] = muscle
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}:{max(reader.line_num, 1)}: {reason(error)}") from None
        if not muscles:
            raise ValueError(f"{path}: expected one muscle per line below the header, found none")
        with naming(path):
            return cls(muscles.values())

    def save(self, path: str | Path) -> None:
        """Write the table as CSV; on failure an existing file stays as it was.

        Raises:
            OSError: the file cannot be written.
            ValueError: a shape name that is not one word; white space separates the shapes of a cell.
        """
        for m in self:
            for shape in m.shapes:
                if shape.split() != [shape]:
                    raise ValueError(
                        f"{path}: a shape name must be one word in a table, {m.identifier} has {quote(shape)}"
                    )
        with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for m in self:
                units = " ".join(map(str, m.action_units))
                writer.writerow(map(plain_cell, (m.name, m.side, m.kind, units, " ".join(m.shapes), m.source)))

    def match(self, shape_names: Iterable[str]) -> MuscleMatch:
        """Find the muscles' shapes among those of a rig, in any spelling of :mod:`biomechau.rig.names`.

        Where the rig has one shape for both sides, the left and the right muscle become one of side "both"; where the
        rig splits the shape of an unpaired muscle, the muscle takes the two halves.
        """
        available = {canonical(name): name for name in shape_names}
        found: dict[str, Muscle] = {}
        left_out: dict[str, tuple[str, ...]] = {}
        for muscle in self:
            shapes: list[str] = []
            missing: list[str] = []
            side = muscle.side
            for shape in muscle.shapes:
                key = canonical(shape)
                base, _, half = key.rpartition("_")
                if key in available:
                    shapes.append(available[key])
                elif half and base in available:
                    shapes.append(available[base])
                    side = "both"
                elif f"{key}_l" in available and f"{key}_r" in available:
                    shapes += [available[f"{key}_l"], available[f"{key}_r"]]
                else:
                    missing.append(shape)
            if missing or not shapes:
                left_out[muscle.identifier] = tuple(missing)
                continue
            # No duplicates: both halves of a muscle may have found the same shape, which the rig does not split.
            matched = replace(muscle, side=side, shapes=tuple(dict.fromkeys(shapes)))
            other = found.get(matched.identifier)
            if other is not None:
                matched = replace(other, shapes=tuple(dict.fromkeys((*other.shapes, *shapes))))
            found[matched.identifier] = matched
        return MuscleMatch(Muscles(found.values()), MappingProxyType(left_out))


@dataclass(frozen=True)
class MuscleMatch:
    """The muscles that a rig has shapes for.

    Attributes:
        muscles: those whose shapes the rig has, with the rig's own shape names.
        left_out: identifier of every other muscle, with the shapes that the rig lacks (none for a muscle without
            known shapes).
    """

    muscles: Muscles
    left_out: Mapping[str, tuple[str, ...]]


def check_muscle_names(names: Sequence[str]) -> None:
    """Raise ``ValueError`` unless these can name muscles, or be their identifiers, together in one table.

    A name is 1 to 80 letters, digits, ``_``, ``.`` or ``-``, the first a letter; ``frame``, ``timestamp`` and
    ``recorded_frame`` are other columns of the tables of forces, and ``NAME_x`` is a column of the muscle ``NAME``
    if forces are vectors.
    """
    taken: set[str] = set()
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"name of a muscle must be 1 to 80 letters, digits, '_', '.' or '-', the first a letter, "
                f"got {quote(name)}"
            )
        if name.casefold() in _RESERVED:
            raise ValueError(f"a muscle cannot be called {name}: the tables of forces have a column of this name")
        if name in taken:
            raise ValueError(f"muscle {name} is given twice")
        taken.add(name)
    for name in names:
        for axis in _AXES:
            if f"{name}_{axis}" in taken:
                raise ValueError(f"muscle {name}_{axis} has the name of the {axis} axis of the muscle {name}")


def split_identifier(identifier: str) -> tuple[str, str]:
    """``"zygomaticus_major_left"`` -> ``("zygomaticus major", "left")``; the side is ``"both"`` if it names none."""
    base, _, side = identifier.rpartition("_")
    if side not in ("left", "right"):
        base, side = identifier, "both"
    return base.replace("_", " "), side


def _parse_header(row: list[str]) -> list[str]:
    header = [cell.strip() for cell in row]
    missing = [column for column in _COLUMNS if column not in header]
    if missing:
        raise ValueError(f"expected the columns {', '.join(_COLUMNS)}; missing {', '.join(missing)}")
    twice = [column for column in _COLUMNS if header.count(column) > 1]
    if twice:
        raise ValueError(f"column {twice[0]} is given twice")
    return header


def _parse_row(header: list[str], row: list[str]) -> Muscle:
    if len(row) < len(header):
        raise ValueError(f"expected {len(header)} cells, found no {header[len(row)]}")
    if len(row) > len(header):
        raise ValueError(f"expected {len(header)} cells, found {len(row)}; quote a cell that holds a comma")
    cells = {column: original_cell(cell.strip()) for column, cell in zip(header, row, strict=True)}
    try:
        units = tuple(int(unit) for unit in cells["action_units"].split())
    except ValueError:
        raise ValueError(
            f"action_units must be whole numbers separated by spaces, got {quote(cells['action_units'])}"
        ) from None
    return Muscle(cells["name"], cells["side"], cells["kind"], units, tuple(cells["shapes"].split()), cells["source"])
