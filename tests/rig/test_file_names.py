"""Names of shape files: versions, neutrals, and what programs put around a shape's name."""

from __future__ import annotations

import pytest

from biomechau.rig.file_names import find_neutral, plain_shape_names, split_version


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("smile_v002", ("smile", 2)),
        ("smile.v2", ("smile", 2)),
        ("smileV12", ("smile", 12)),
        ("face_0001_v2", ("face_0001", 2)),
        ("browU2", ("browU2", -1)),
        ("v2", ("v2", -1)),
        ("liv2", ("liv2", -1)),
    ],
)
def test_versions(stem: str, expected: tuple[str, int]) -> None:
    assert split_version(stem) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["blendShape1.jawOpen", "blendShape1.mouthSmileLeft"], ["jawOpen", "mouthSmileLeft"]),
        (["ns:bs.big", "ns:bs.small"], ["big", "small"]),
        (["01_jawOpen", "02-mouthSmileLeft", "3browDownLeft"], ["jawOpen", "mouthSmileLeft", "browDownLeft"]),
        (["jawOpen_001", "jawLeft_002"], ["jawOpen", "jawLeft"]),
        (["BS_jawOpen_geo", "BS_Sneer_L_geo", "BS_ears_geo"], ["jawOpen", "Sneer_L", "ears"]),
        (["FaceJawOpen", "FaceMouthSmileLeft"], ["JawOpen", "MouthSmileLeft"]),
        (["mouth_smile_left", "mouth_frown_left"], ["mouth_smile_left", "mouth_frown_left"]),
        (["my_smile", "my_frown"], ["my_smile", "my_frown"]),
        (["01_jawOpen", "02_jawOpen"], ["01_jawOpen", "02_jawOpen"]),
        (["07_jawOpen"], ["jawOpen"]),
        (["a.b"], ["a.b"]),
    ],
)
def test_what_is_no_part_of_a_shape_name(names: list[str], expected: list[str]) -> None:
    assert plain_shape_names(names) == tuple(expected)


def test_long_names_take_no_time() -> None:
    names = tuple(f"{'x' * 200}{number}{'y' * 50}" for number in range(300))
    assert plain_shape_names(names) == names


def test_the_surest_word_for_the_neutral_wins() -> None:
    assert find_neutral(["base_mesh", "Basis", "smile"]) == ["Basis"]
    assert find_neutral(["neutral_smile", "_neutral"]) == ["_neutral"]
    assert find_neutral(["smile", "baseball"]) == []
