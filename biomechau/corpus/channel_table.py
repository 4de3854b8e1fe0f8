"""Tables of channels: which channel of a recording drives which shape of a rig, and how strongly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.face_sequence import LARGEST_COEFFICIENT, FaceSequence
from biomechau.file_errors import quote
from biomechau.rig import FaceRig
from biomechau.rig.names import canonical, shortened

_COLUMNS = ("channel", "shape", "weight")


class ChannelRow(NamedTuple):
    """One line: the channel is added to the shape with this weight."""

    line: int
    channel: str
    shape: str
    weight: float


@dataclass(frozen=True)
class ChannelTable:
    """Which channels drive which shapes, for channels that do not have the names of the shapes.

    A shape is the weighted sum of the channels in its rows. Shapes without a row are driven by the channel of their
    name, as without a table.
    """

    path: Path
    rows: tuple[ChannelRow, ...]

    @classmethod
    def load(cls, path: str | Path) -> ChannelTable:
        """Read a CSV file with the columns ``channel, shape, weight``; a missing weight is 1.

        Raises:
            ValueError: a column is missing, a name is empty, a weight is not a number of at most 10 in size, or a pair
                appears twice; the message names file and line.
            OSError: the file cannot be read.
        """
        table = CsvTable.read(path)
        columns = {name: table.find(name) for name in _COLUMNS}
        if columns["channel"] is None or columns["shape"] is None:
            raise ValueError(f"{path}:1: expected the columns {', '.join(_COLUMNS)}, found {shortened(table.header)}")
        rows, seen = [], set()
        for row in table.rows:
            channel, shape = (row.fields[column] for column in (columns["channel"], columns["shape"]))
            text = "" if columns["weight"] is None else row.fields[columns["weight"]]
            weight = table.number(text) if text else 1.0
            if not channel or not shape:
                raise ValueError(f"{path}:{row.line}: expected a channel and a shape, found {quote(row.fields)}")
            if not (math.isfinite(weight) and abs(weight) <= LARGEST_COEFFICIENT):
                expected = f"a weight of at most {LARGEST_COEFFICIENT:g} in size"
                raise ValueError(f"{path}:{row.line}: expected {expected}, found {quote(text)}")
            if (pair := (canonical(channel), canonical(shape))) in seen:
                raise ValueError(f"{path}:{row.line}: {quote(channel)} and {quote(shape)} appear twice")
            seen.add(pair)
            rows.append(ChannelRow(row.line, channel, shape, weight))
        return cls(Path(path), tuple(rows))

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels in the table, each once."""
        return tuple(dict.fromkeys(row.channel for row in self.rows))

    def drive(self, sequence: FaceSequence, rig: FaceRig) -> FaceSequence:
        """Map a recording to the rig's shapes.

        Raises:
            ValueError: the rig lacks a shape, or the recording lacks all channels; the message names the line.
        """
        shapes = {canonical(name): index for index, name in enumerate(rig.names)}
        own = {canonical(name): index for index, name in enumerate(sequence.channels)}
        mapped = rig.map_channels(sequence.channels)
        matrix, named = mapped.matrix.clone(), set()
        driven = {name: name not in mapped.missing_shapes for name in rig.names}
        missing = []
        for row in self.rows:
            shape = shapes.get(canonical(row.shape))
            if shape is None:
                raise ValueError(
                    f"{self.path}:{row.line}: the rig has no shape {quote(row.shape)}; it has {shortened(rig.names)}"
                )
            if shape not in named:
                named.add(shape)
                matrix[:, shape] = 0
            channel = own.get(canonical(row.channel))
            driven[rig.names[shape]] |= channel is not None
            if channel is None:
                missing.append(row.channel)
            else:
                matrix[channel, shape] += row.weight
        if len(missing) == len(self.rows):
            raise ValueError(
                f"{self.path}: {sequence.name} has none of its channels ({shortened(missing)}); it has "
                f"{shortened(sequence.channels)}"
            )
        kept = [index for index, name in enumerate(rig.names) if driven[name]]
        unused = [name for name, row in zip(sequence.channels, matrix, strict=True) if not row.any()]
        notes = [
            *([f"channels of {self.path.name} missing in the recording: {shortened(missing, 8)}"] if missing else []),
            *([f"channels that drive no shape: {len(unused)} ({shortened(unused, 8)})"] if unused else []),
        ]
        values = torch.where(sequence.valid[:, None], sequence.coefficients, 0.0) @ matrix[:, kept]
        return replace(
            sequence,
            coefficients=values,
            channels=tuple(rig.names[index] for index in kept),
            notes=(*sequence.notes, *notes),
        )
