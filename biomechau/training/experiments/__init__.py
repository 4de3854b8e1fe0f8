"""The paper's experiments as data, and what runs them.

Each entry of :data:`TABLES` says which trainings a table consists of; :func:`run_experiment` makes it.
"""

from collections.abc import Callable, Mapping

from biomechau.training.experiments.ablation import ablation as ablation
from biomechau.training.experiments.comparison import table1 as table1, table2 as table2, table3 as table3
from biomechau.training.experiments.cross_corpus import table5 as table5
from biomechau.training.experiments.experiment import (
    Experiment as Experiment,
    PublishedRow as PublishedRow,
    Row as Row,
    Setup as Setup,
    changed as changed,
)
from biomechau.training.experiments.few_labels import table4 as table4

TABLES: Mapping[str, Callable[[Setup], Experiment]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "table5": table5,
    "ablation": ablation,
}
