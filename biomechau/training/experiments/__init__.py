"""The paper's experiments as data, and what runs them.

Each entry of :data:`TABLES` says which trainings a table consists of;
:func:`biomechau.training.experiments.running.run_experiment` makes it.
"""

from collections.abc import Callable, Mapping

from biomechau.training.experiments.experiment import (
    Experiment,
    PublishedRow,
    Row,
    Setup,
)
from biomechau.training.experiments.paper_tables import ablation, table1, table2, table3, table4, table5

__all__ = [
    "TABLES",
    "Experiment",
    "PublishedRow",
    "Row",
    "Setup",
]

TABLES: Mapping[str, Callable[[Setup], Experiment]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "table5": table5,
    "ablation": ablation,
}
