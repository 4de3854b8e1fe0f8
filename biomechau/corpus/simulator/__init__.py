"""Simulated people: labelled facial motion with known muscle forces, independent of the package's own physics."""

from typing import TYPE_CHECKING

from biomechau._lazy import lazy_names

if TYPE_CHECKING:
    from biomechau.corpus.simulator.muscle_table import ACTION_UNITS
    from biomechau.corpus.simulator.simulated_corpus import write_simulated_corpus
    from biomechau.corpus.simulator.simulation import SimulatedSequence, simulate
    from biomechau.corpus.simulator.simulation_config import SimulationConfig

__all__ = [
    "ACTION_UNITS",
    "SimulatedSequence",
    "SimulationConfig",
    "simulate",
    "write_simulated_corpus",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "muscle_table": ("ACTION_UNITS",),
        "simulated_corpus": ("write_simulated_corpus",),
        "simulation": ("SimulatedSequence", "simulate"),
        "simulation_config": ("SimulationConfig",),
    },
)
