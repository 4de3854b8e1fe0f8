"""The muscles of the simulated people: the action unit that commands each, and the shapes that it moves.

The table is separate from that of :class:`biomechau.rig.Muscles`, so that the inference does not share assumptions with
its test data. Identifiers agree if the muscle is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from biomechau.rig.names import canonical, index_by_name

# BP4D's action units, in its order.
ACTION_UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
# Others that can be labelled: lids, nose, stretched lips and jaw. Blinks and the jaw in speech count.
MORE_ACTION_UNITS = (5, 9, 20, 26, 45)

# (name, action unit, weight of each shape). "*" stands for the side; a name without it acts on both sides.
# 23 and 24 intentionally share shapes with speech: coders confuse them too.
_TABLE: tuple[tuple[str, int, Mapping[str, float]], ...] = (
    ("frontalis_medialis_*", 1, {"browInnerUp_*": 1.0}),
    ("frontalis_lateralis_*", 2, {"browOuterUp_*": 1.0}),
    ("corrugator_supercilii_*", 4, {"browDown_*": 1.0}),
    ("levator_palpebrae_*", 5, {"eyeWide_*": 1.0}),
    ("orbicularis_oculi_orbitalis_*", 6, {"cheekSquint_*": 1.0}),
    ("orbicularis_oculi_palpebralis_*", 7, {"eyeSquint_*": 1.0}),
    ("levator_labii_alaeque_nasi_*", 9, {"noseSneer_*": 1.0}),
    ("levator_labii_superioris_*", 10, {"mouthUpperUp_*": 1.0}),
    ("zygomaticus_major_*", 12, {"mouthSmile_*": 1.0}),
    ("buccinator_*", 14, {"mouthDimple_*": 1.0}),
    ("depressor_anguli_oris_*", 15, {"mouthFrown_*": 1.0}),
    ("depressor_labii_inferioris_*", 16, {"mouthLowerDown_*": 1.0}),
    ("mentalis", 17, {"mouthShrugLower": 1.0}),
    ("incisivii_labii", 18, {"mouthPucker": 1.0}),
    ("risorius_*", 20, {"mouthStretch_*": 1.0}),
    (
        "orbicularis_oris_marginalis",
        23,
        {"mouthPucker": 0.25, "mouthRollUpper": 0.15, "mouthRollLower": 0.15, "mouthPress": 0.3},
    ),
    ("orbicularis_oris", 24, {"mouthPress": 1.0, "mouthRollLower": 0.12}),
    ("digastric", 26, {"jawOpen": 1.0}),
    ("orbicularis_oris_superior", 28, {"mouthRollUpper": 1.0}),
    ("orbicularis_oris_inferior", 28, {"mouthRollLower": 1.0}),
    ("orbicularis_oculi_pretarsalis_*", 45, {"eyeBlink_*": 1.0}),
)

# Other movements, so that shapes of other units are not evidence for these. Numbers above 100 are not in FACS.
_OTHERS: tuple[tuple[str, int, Mapping[str, float]], ...] = (
    ("orbicularis_oris_peripheralis", 22, {"mouthFunnel": 1.0}),
    ("cheek_puff_*", 34, {"cheekPuff_*": 1.0}),
    ("jaw_thrust", 29, {"jawForward": 1.0}),
    ("jaw_leftward", 101, {"jawLeft": 1.0}),
    ("jaw_rightward", 102, {"jawRight": 1.0}),
    ("mouth_leftward", 103, {"mouthLeft": 1.0}),
    ("mouth_rightward", 104, {"mouthRight": 1.0}),
    ("upper_lip_shrug", 105, {"mouthShrugUpper": 1.0}),
    ("lips_together", 106, {"mouthClose": 1.0}),
)

# The action units in the table of displays, and all movements that a simulated person can command.
UNITS = tuple(dict.fromkeys(unit for _, unit, _ in _TABLE))
COMMANDS = UNITS + tuple(unit for _, unit, _ in _OTHERS)
# Movements that each side of the face can do alone.
PAIRED = frozenset(unit for name, unit, _ in (*_TABLE, *_OTHERS) if name.endswith("*"))


@dataclass(frozen=True)
class GeneratorMuscle:
    """One muscle of a simulated person on a given rig.

    Attributes:
        name: identifier, with ``_left`` or ``_right`` if there are two.
        stem: identifier without the side.
        side: "left", "right", or "" for a muscle of both sides.
        command: position of its action unit in ``COMMANDS``.
        shapes: weight of each shape of the rig, by position.
    """

    name: str
    stem: str
    side: str
    command: int
    shapes: Mapping[int, float]


def find_muscles(
    shape_names: Sequence[str], usable: Collection[str], labelled: Collection[int] = ACTION_UNITS, others: bool = True
) -> tuple[GeneratorMuscle, ...]:
    """The muscles that a rig has shapes for. The two sides of a muscle become one if the rig does not separate them.

    Args:
        shape_names: all shapes of the rig.
        usable: the shapes that muscles may use.
        labelled: action units that must have a muscle.
        others: whether to include movements that are not in the displays.

    Raises:
        ValueError: an action unit of ``labelled`` has no muscle; all of these are named with the missing shapes.
    """
    positions_of = index_by_name(shape_names, "shape names")
    index = {canonical(name): positions_of[canonical(name)] for name in usable}
    muscles: list[GeneratorMuscle] = []
    missing: dict[int, list[str]] = {}
    for name, unit, weights in (*_TABLE, *(_OTHERS if others else ())):
        sides = (("left", "L"), ("right", "R")) if name.endswith("*") else (("", ""),)
        for side, letter in sides:
            wanted = {shape.replace("*", letter): weight for shape, weight in weights.items()}
            found = {shape: _positions(index, shape) for shape in wanted}
            lacking = [shape for shape, positions in found.items() if not positions]
            if lacking:
                missing.setdefault(unit, []).extend(lacking)
                continue
            shapes = {position: wanted[shape] for shape, positions in found.items() for position in positions}
            one_for_both = bool(side) and not all(canonical(shape) in index for shape in wanted)
            stem, own_side = name.removesuffix("_*"), "" if one_for_both else side
            identifier = f"{stem}_{own_side}" if own_side else stem
            if identifier not in [muscle.name for muscle in muscles]:
                muscles.append(GeneratorMuscle(identifier, stem, own_side, COMMANDS.index(unit), shapes))
    unseen = {unit: shapes for unit, shapes in missing.items() if unit in labelled}
    if unseen:
        lists = "; ".join(f"AU{unit} needs {', '.join(shapes)}" for unit, shapes in unseen.items())
        raise ValueError(f"the rig has no moving shapes for action units to simulate: {lists}")
    return tuple(muscles)


def _positions(index: Mapping[str, int], shape: str) -> list[int]:
    """The rig's shapes for a shape of the table: the shape itself, its unsplit whole, or its two halves."""
    key = canonical(shape)
    whole, _, side = key.rpartition("_")
    for candidates in ((key,), (whole,) if side else (), (f"{key}_l", f"{key}_r")):
        if candidates and all(name in index for name in candidates):
            return [index[name] for name in candidates]
    return []
