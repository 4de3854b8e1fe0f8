"""Movements of single shapes: which units they show, and whether a detector names them."""

from __future__ import annotations

import torch

from biomechau.rig import FaceRig
from biomechau.training._movements import Movement, named_rightly, paired_movements, single_movements


def test_single_movements_show_the_units_of_their_muscles() -> None:
    names = FaceRig.builtin(1000).names
    movements = {movement.name: movement for movement in single_movements(names)}
    shapes = sorted(shape for movement in movements.values() for shape in movement.shapes)
    assert shapes == list(range(len(names)))
    units = {name: sorted(movement.units) for name, movement in movements.items()}
    assert units["mouthSmile"] == [12]
    assert units["mouthPress"] == [23, 24]
    assert units["mouthShrugLower"] == [17]
    assert units["jawOpen"] == [26, 27]
    assert units["mouthShrugUpper"] == units["cheekPuff"] == units["jawLeft"] == []
    assert movements["browDown"].shapes == (names.index("browDown_L"), names.index("browDown_R"))


def test_one_sided_movements_are_those_of_pairs() -> None:
    names = ("browDownLeft", "browDownRight", "jawLeft", "jawOpen")
    assert [m.name for m in single_movements(names)] == ["browDown", "jawLeft", "jawOpen"]
    sided = single_movements(names, one_sided=True)
    assert [(m.name, m.shapes, set(m.units)) for m in sided] == [
        ("browDownLeft", (0,), {4}),
        ("browDownRight", (1,), {4}),
    ]


def test_pairs_move_the_shapes_of_both() -> None:
    single = single_movements(("mouthSmile_L", "mouthSmile_R", "browInnerUp", "jawOpen"))
    assert [m.name for m in single] == ["mouthSmile", "browInnerUp", "jawOpen"]
    pairs = paired_movements(single)
    assert [m.name for m in pairs] == ["mouthSmile + browInnerUp", "mouthSmile + jawOpen", "browInnerUp + jawOpen"]
    assert pairs[0].shapes == (0, 1, 2)
    assert pairs[0].units == {1, 12}


def test_the_motion_rises_to_its_level_is_held_and_falls() -> None:
    motion = Movement("a", (1,), frozenset()).coefficients(3, 25.0)
    assert motion.shape == (75, 3)
    assert not motion[:, [0, 2]].any()
    moved = motion[:, 1]
    assert not moved[:15].any()
    assert not moved[-14:].any()
    assert torch.allclose(moved[25:51], torch.tensor(0.7))
    assert (moved[15:25].diff() > 0).all()
    assert (moved[51:60].diff() < 0).all()


def test_a_movement_is_named_rightly_by_its_units_and_no_others() -> None:
    movements = [Movement("a", (), frozenset({4, 99})), Movement("b", (), frozenset())]
    found = torch.tensor([[0.5, 0.49], [0.1, 0.2]])
    assert named_rightly(found, movements, (4, 12)).tolist() == [True, True]
    assert named_rightly(found + 0.02, movements, (4, 12)).tolist() == [False, True]
    assert named_rightly(found - 0.02, movements, (4, 12)).tolist() == [False, True]
