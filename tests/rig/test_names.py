"""Shape names across conventions, and capture channels to rig shapes."""

import pytest
import torch

from biomechau.rig.names import ARKIT_SHAPES, canonical, map_channels, mirror_order


@pytest.mark.parametrize(
    ("spellings", "expected"),
    [
        (("MouthSmileLeft", "mouthSmileLeft", "mouthSmile_L", "mouth_smile_left", "mouthSmile.L"), "mouthsmile_l"),
        (("EyeBlinkRight", "eyeBlink_R", "eye blink right"), "eyeblink_r"),
        (("BrowInnerUp", "browInnerUp"), "browinnerup"),
        (("JawLeft", "jawLeft", "jaw_left"), "jawleft"),
        (("MouthRight", "mouthRight"), "mouthright"),
        (("MouthPucker", "mouth_pucker"), "mouthpucker"),
        (("LeftEyeYaw",), "lefteyeyaw"),
        (("mouthRoll",), "mouthroll"),
        (("eyeBlinkL", "eyeBlinkLeft", "eye_blink_l"), "eyeblink_l"),
        (("smileR", "SmileRight", "smile right"), "smile_r"),
        (("cleft", "CLEFT"), "cleft"),
        (("bright", "Bright"), "bright"),
        (("NASAL",), "nasal"),
        (("BrowsD_L", "browDownLeft", "BrowsDown_Left"), "browdown_l"),
        (("BrowsU_C", "browInnerUp"), "browinnerup"),
        (("BrowsU_C_R", "browInnerUp_R"), "browinnerup_r"),
        (("EyeOpen_R", "eyeWideRight"), "eyewide_r"),
        (("Sneer", "noseSneer"), "nosesneer"),
        (("JawFwd", "jawForward"), "jawforward"),
    ],
)
def test_spellings_of_one_shape_share_one_canonical_name(spellings: tuple[str, ...], expected: str) -> None:
    assert {canonical(name) for name in spellings} == {expected}


def test_arkit_has_52_distinct_shapes_of_which_36_have_a_side() -> None:
    names = {canonical(name) for name in ARKIT_SHAPES}
    assert len(names) == 52
    assert sum(name.endswith(("_l", "_r")) for name in names) == 36


def test_channels_drive_the_shapes_of_their_name() -> None:
    mapped = map_channels(("JawOpen", "MouthSmileLeft", "TongueOut"), ("mouthSmile_L", "mouthSmile_R", "jawOpen"))
    assert torch.equal(mapped.matrix, torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 0, 0]]))
    assert mapped.missing_shapes == ("mouthSmile_R",)
    assert mapped.unused_channels == ("TongueOut",)


def test_channel_without_side_drives_both_sides() -> None:
    mapped = map_channels(("BrowInnerUp",), ("browInnerUp_L", "browInnerUp_R"))
    assert torch.equal(mapped.matrix, torch.ones(1, 2))
    assert mapped.missing_shapes == mapped.unused_channels == ()


def test_split_channels_average_into_a_shape_without_side() -> None:
    both = map_channels(("CheekPuffLeft", "CheekPuffRight"), ("cheekPuff",))
    assert torch.equal(both.matrix, torch.tensor([[0.5], [0.5]]))
    one = map_channels(("CheekPuffRight",), ("cheekPuff",))
    assert torch.equal(one.matrix, torch.ones(1, 1))


def test_own_channel_wins_over_the_channel_without_side() -> None:
    mapped = map_channels(("BrowInnerUp", "BrowInnerUpLeft"), ("browInnerUp_L", "browInnerUp_R"))
    assert torch.equal(mapped.matrix, torch.tensor([[0.0, 1], [1, 0]]))


def test_directions_are_not_sides() -> None:
    mapped = map_channels(("JawLeft", "JawRight"), ("jaw", "jawLeft"))
    assert mapped.missing_shapes == ("jaw",)
    assert mapped.unused_channels == ("JawRight",)


def test_two_spellings_of_one_channel_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channel names must be unique: 'JawOpen' and 'jaw_open'"):
        map_channels(("JawOpen", "jaw_open"), ("jawOpen",))


def test_mirror_images_swap_sides_and_directions() -> None:
    names = ("browDownLeft", "jawOpen", "mouthRight", "browDownRight", "mouthLeft", "zygomaticus_major_left")
    names += ("zygomaticus_major_right",)
    order = mirror_order(names)
    assert [names[position] for position in order] == [
        *("browDownRight", "jawOpen", "mouthLeft", "browDownLeft", "mouthRight"),
        *("zygomaticus_major_right", "zygomaticus_major_left"),
    ]
    assert [order[position] for position in order] == list(range(len(names)))
    with pytest.raises(ValueError, match="'jawLeft' has no mirror image among the names"):
        mirror_order(("jawLeft", "jawOpen"))
