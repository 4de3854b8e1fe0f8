"""What others published on BP4D and DISFA, as collected in Tables 2 and 3 of Cui et al., CVPR 2023."""

from __future__ import annotations

import csv
from importlib.resources import files

from biomechau.corpus import Protocol
from biomechau.training.experiments.experiment import PublishedRow


def published_rows(protocol: Protocol) -> tuple[PublishedRow, ...]:
    """The published rows of a data set, in the order they were printed; slips are corrected and marked."""
    file = files("biomechau.training.experiments") / f"published_{protocol.name.lower()}.csv"
    return tuple(
        PublishedRow(
            method=row["method"],
            source=f"{row['authors']}, {row['venue']} {row['year']} (Table {row['table']} of Cui et al., CVPR 2023)",
            f1={unit: float(row[f"AU{unit}"]) for unit in protocol.action_units},
            average=float(row["Avg."]),
            note=row["note"],
        )
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    )
