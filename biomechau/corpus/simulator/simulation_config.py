"""SimulationConfig: all options of a simulated corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff

from biomechau._options import Interval, Options

# Displays of a table, random sets of units and single units; the last two only; these and sets of many units; displays.
Displays = Literal["mixed", "random", "crowded", "table"]


@dataclass(frozen=True)
class SimulationConfig(Options):
    """Size, behaviour and difficulty of a simulated corpus.

    The settings of version 0.1.0 are displays "table", sides "tied", trackers "alike" and label_level None.

    Raises:
        ValueError: a value is out of range or has the wrong type, or label_rate is combined with label_level.
    """

    # people, 1 to 10,000
    subjects: Annotated[int, Interval("[1, 10000]")] = 36
    # recordings of each subject, 1 to 1,000
    sequences: Annotated[int, Interval("[1, 1000]")] = 6
    # frames of each recording, 8 to 10,000
    frames: Annotated[int, Interval("[8, 10000]")] = 96
    # frames per second, 10 to 240 [1/s]
    fps: Annotated[float, Interval("[10, 240]")] = 25.0
    # scale of the differences between people and of the tracker's noise, 0 to 4; 0 leaves little noise
    hardness: Annotated[float, Interval("[0, 4]")] = 2.0
    # seed of all random numbers, 0 to 4,294,967,295
    seed: Annotated[int, Interval("[0, 4294967295]")] = 0
    # what people show: "mixed" for displays of a table, random sets of units and single units, of any strength;
    # "random" for the last two only; "crowded" for these and sets of 6 to 14 units at once; "table" for the displays,
    # in which the same units always occur together
    displays: Displays = "mixed"
    # symmetry of the face: "free" for different amplitudes left and right in every event, one-sided events, and people
    # with one weak side; "tied" for equal sides
    sides: Literal["free", "tied"] = "free"
    # "varied" for a different tracker per person: noise, cross-talk, smoothing, delay, rounding, dead channels and lost
    # frames; "posed" for such trackers calibrated to poses: tissue spreads no movement over channels, but these
    # lean to neighbours; "alike" for noise and cross-talk by the hardness only; "clean" for no errors but those of
    # its shapes
    trackers: Literal["varied", "posed", "alike", "clean"] = "varied"
    # what is labelled: "bp4d" for the 12 action units of BP4D; "all" for AU5, AU9, AU20, AU26 and AU45 too, whose rates
    # BP4D does not tell, so that it needs a label level
    action_units: Literal["bp4d", "all"] = "bp4d"
    # visible intensity from which coders see an action unit, 0.05 to 1, where 1 is full; 0.4 is DISFA's 2 of 5. "None"
    # for action units as frequent as in BP4D
    label_level: Annotated[float, Interval("[0.05, 1]")] | None = 0.4
    # vertices of the mass-spring face, 100 to 5,000
    coarse_vertices: Annotated[int, Interval("[100, 5000]")] = 1200
    # with --label-level None, frequency of action units as a multiple of that in BP4D, 0.2 to 1.5; below 1, coders need
    # to see more
    label_rate: Annotated[float, Interval("[0.2, 1.5]")] = 1.0
    # store meshes too, which contain more than their coefficients: the person's own shapes and 20 % of their identity;
    # takes 6 bytes per vertex and frame, 1.2 GB for 9,409 vertices and the default size
    meshes: FlagCreatePairsOff[bool] = False
    # render a picture of every frame, of the person without the tracker's errors, to images/<sequence>/000001.png, ...;
    # needs the viz extra
    images: FlagCreatePairsOff[bool] = False
    # width and height of the pictures, 32 to 1,024 [pixels]
    image_size: Annotated[int, Interval("[32, 1024]")] = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_rate != 1 and self.label_level is not None:
            raise ValueError(
                f"label_rate {self.label_rate:g} scales the rates of BP4D, which label_level {self.label_level:g} "
                "overrides: set label_level to None"
            )
        if self.action_units == "all" and self.label_level is None:
            raise ValueError('action_units "all" needs a label_level: BP4D does not tell the rates of the other units')

    @property
    def labelled(self) -> tuple[int, ...]:
        """The action units that are labelled, by number."""
        # Here, because it loads numpy, and the help of a command does without.
        from biomechau.corpus.simulator.muscle_table import ACTION_UNITS, MORE_ACTION_UNITS

        return ACTION_UNITS if self.action_units == "bp4d" else tuple(sorted(ACTION_UNITS + MORE_ACTION_UNITS))
