"""Names of the FACS action units."""

from __future__ import annotations

# Of the two sides of the face, in the order of axes and columns.
SIDE_NAMES = ("left", "right")
NAMES = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    11: "nasolabial deepener",
    12: "lip corner puller",
    13: "sharp lip puller",
    14: "dimpler",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    18: "lip pucker",
    20: "lip stretcher",
    22: "lip funneler",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
    27: "mouth stretch",
    28: "lip suck",
    43: "eyes closed",
    45: "blink",
}


def column_name(action_unit: int, side: str = "") -> str:
    """The heading of an action unit's column, as ``"AU06"``, or ``"AU06_left"`` of one side."""
    return f"AU{action_unit:02d}_{side}" if side else f"AU{action_unit:02d}"
