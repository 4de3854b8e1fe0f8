"""Published evaluation protocols: the subjects and action units of BP4D and DISFA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """How a data set is usually evaluated in publications.

    Attributes:
        name: of the data set.
        action_units: in the usual order.
        fps: of the recordings [1/s].
        sequences: number of recordings.
        frames: number of labelled frames.
        positive_rates: share of the frames in which each action unit is on, as published.
        subject_sets: subjects by the name of their set. Publications agree on the sets but number them differently.
    """

    name: str
    action_units: tuple[int, ...]
    fps: float
    sequences: int
    frames: int
    positive_rates: tuple[float, ...]
    subject_sets: Mapping[str, tuple[str, ...]]


def _subjects(line: str) -> tuple[str, ...]:
    return tuple(line.split())


BP4D = Protocol(
    name="BP4D",
    action_units=(1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24),
    fps=25.0,
    sequences=328,
    frames=146847,
    positive_rates=(0.211, 0.171, 0.203, 0.461, 0.549, 0.594, 0.562, 0.466, 0.169, 0.343, 0.165, 0.151),
    subject_sets={
        "P1": _subjects("F001 F002 F008 F009 F010 F016 F018 F023 M001 M004 M007 M008 M012 M014"),
        "P2": _subjects("F003 F005 F011 F013 F020 F022 M002 M005 M010 M011 M013 M016 M017 M018"),
        "P3": _subjects("F004 F006 F007 F012 F014 F015 F017 F019 F021 M003 M006 M009 M015"),
    },
)
DISFA = Protocol(
    name="DISFA",
    action_units=(1, 2, 4, 6, 9, 12, 25, 26),
    fps=20.0,
    sequences=27,
    frames=130814,  # 4,845 each, except for SN010, whose label files are one line shorter
    positive_rates=(0.0497, 0.0431, 0.1524, 0.0789, 0.0418, 0.1288, 0.2771, 0.0882),
    subject_sets={
        "P1": _subjects("SN001 SN002 SN009 SN010 SN016 SN026 SN027 SN030 SN032"),
        "P2": _subjects("SN006 SN011 SN012 SN013 SN018 SN021 SN024 SN028 SN031"),
        "P3": _subjects("SN003 SN004 SN005 SN007 SN008 SN017 SN023 SN025 SN029"),
    },
)
# For training on one data set and testing on the other.
SHARED_ACTION_UNITS = (1, 2, 4, 6, 12)
