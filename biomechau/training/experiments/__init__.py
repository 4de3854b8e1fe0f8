"""The experiments of the paper: each entry of :data:`TABLES` defines the trainings of a table.

:func:`biomechau.training.experiments.running.run_experiment` runs them.
"""

from collections.abc import Callable, Mapping

from biomechau.training.experiments import _paper_tables as _tables
from biomechau.training.experiments.experiment import (
    Experiment,
    PublishedRow,
    Row,
    Setup,
)

__all__ = [
    "TABLES",
    "Experiment",
    "PublishedRow",
    "Row",
    "Setup",
]

TABLES: Mapping[str, Callable[[Setup], Experiment]] = {
    "table1": _tables.table1,
    "table2": _tables.table2,
    "table3": _tables.table3,
    "table4": _tables.table4,
    "table5": _tables.table5,
    "ablation": _tables.ablation,
}
