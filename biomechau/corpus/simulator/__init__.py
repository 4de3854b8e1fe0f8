"""Simulated people: labelled facial motion with known muscle forces, made without the package's own physics."""

from biomechau.corpus.simulator.muscle_table import ACTION_UNITS as ACTION_UNITS
from biomechau.corpus.simulator.simulate import SimulatedSequence as SimulatedSequence, simulate as simulate
from biomechau.corpus.simulator.simulated_corpus import write_simulated_corpus as write_simulated_corpus
from biomechau.corpus.simulator.simulation_config import SimulationConfig as SimulationConfig
