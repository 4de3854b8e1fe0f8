"""One spelling for the shape names of ARKit, Live Link Face, MediaPipe, ICT-FaceKit and Faceshift."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from biomechau.file_errors import quote, shorten

# The 52 blendshapes of ARKit, which Live Link Face and MediaPipe share.
ARKIT_SHAPES = (
    *("eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft"),
    *("eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight"),
    *("eyeSquintRight", "eyeWideRight", "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel"),
    *("mouthPucker", "mouthLeft", "mouthRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft"),
    *("mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight"),
    *("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft"),
    *("browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft"),
    *("cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut"),
)
# A side is set off by a separator or by its capital: "mouth_left", "mouthLeft" and "mouthL", but not "cleft".
_SIDE = re.compile(r"(?P<base>.+?)(?P<side>(?<=[\W_])(?i:left|right|l|r)|Left|Right|(?<=[a-z])[LR])")
_SEPARATORS = re.compile(r"[\W_]+")
# Of a name in a list of names, in characters.
_LONGEST_NAME = 40
# Names of Faceshift, and of tools after it, under those of ARKit; both without separators and side.
_FACESHIFT = {
    "browsd": "browdown",
    "browsdown": "browdown",
    "browsuc": "browinnerup",
    "browsupcenter": "browinnerup",
    "browsu": "browouterup",
    "browsup": "browouterup",
    "chinlowerraise": "mouthshruglower",
    "chinupperraise": "mouthshrugupper",
    "eyedown": "eyelookdown",
    "eyein": "eyelookin",
    "eyeopen": "eyewide",
    "eyeout": "eyelookout",
    "eyeup": "eyelookup",
    "jawfwd": "jawforward",
    "lipsfunnel": "mouthfunnel",
    "lipslowerclose": "mouthrolllower",
    "lipslowerdown": "mouthlowerdown",
    "lipspress": "mouthpress",
    "lipspucker": "mouthpucker",
    "lipsstretch": "mouthstretch",
    "lipstogether": "mouthclose",
    "lipsupperclose": "mouthrollupper",
    "lipsupperup": "mouthupperup",
    "lipstretch": "mouthstretch",
    "puff": "cheekpuff",
    "sneer": "nosesneer",
}
# Here left and right say where the shape moves, not which half of the face it belongs to.
_DIRECTIONS = {
    f"{part}{end}": f"{part}{way}" for part in ("jaw", "mouth") for way in ("left", "right") for end in (way, way[0])
}
# In small letters throughout nothing sets the side off.
_SMALL = {
    name.lower(): f"{name.lower().removesuffix(way)}_{way[0]}"
    for name in ARKIT_SHAPES
    for way in ("left", "right")
    if name.lower().endswith(way) and name.lower() not in _DIRECTIONS
}


def canonical(name: str) -> str:
    """The spelling shared by all conventions: lower case, no separators, the side as ``_l`` or ``_r``.

    >>> canonical("MouthSmileLeft"), canonical("mouthSmile_L"), canonical("JawLeft"), canonical("BrowsD_R")
    ('mouthsmile_l', 'mouthsmile_l', 'jawleft', 'browdown_r')
    """
    plain = _SEPARATORS.sub("", name).lower()
    side = _SIDE.fullmatch(name.strip())
    if plain in _DIRECTIONS or side is None:
        return _DIRECTIONS.get(plain) or _SMALL.get(plain) or _FACESHIFT.get(plain, plain)
    base = _SEPARATORS.sub("", side["base"]).lower()
    return f"{_FACESHIFT.get(base, base)}_{side['side'][0].lower()}"


def mirror_order(names: Sequence[str]) -> list[int]:
    """For each name the position of its mirror image: left for right, and the name itself where it has no side.

    >>> mirror_order(("mouthSmile_L", "jawOpen", "mouthSmile_R", "jawLeft", "jawRight"))
    [2, 1, 0, 4, 3]

    Raises:
        TypeError, ValueError: as :func:`index_by_name`, or a name whose mirror image is not among the names.
    """
    index = index_by_name(names, "names")
    order = []
    for name, key in zip(names, index, strict=True):
        mirrored = _mirrored(key)
        if mirrored not in index:
            raise ValueError(f"{quote(name)} has no mirror image among the names")
        order.append(index[mirrored])
    return order


def _mirrored(key: str) -> str:
    if key in _DIRECTIONS:
        return key.replace("left", "right") if key.endswith("left") else key.replace("right", "left")
    if key.endswith(("_l", "_r")):
        return key[:-1] + {"l": "r", "r": "l"}[key[-1]]
    return key


def name_tuple(names: Iterable[str], what: str) -> tuple[str, ...]:
    """The names as a tuple.

    Raises:
        TypeError: a single string instead of several, or a name that is not a string.
    """
    if isinstance(names, str):
        raise TypeError(f"{what} must be a sequence of strings, got the one string {quote(names)}")
    names = tuple(names)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what} must be strings, got {quote(name)}")
    return names


def index_by_name(names: Iterable[str], what: str) -> dict[str, int]:
    """Position of each name under its canonical spelling.

    Raises:
        TypeError: one string in place of several, or a name that is not a string.
        ValueError: two names mean the same shape.
    """
    index: dict[str, int] = {}
    spelled: dict[str, str] = {}
    for position, name in enumerate(name_tuple(names, what)):
        key = canonical(name)
        if key in index:
            raise ValueError(f"{what} must be unique: {quote(spelled[key])} and {quote(name)} are one name")
        index[key], spelled[key] = position, name
    return index


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """How the channels of a capture drive the shapes of a rig: shapes (..., K) = channels (..., C) @ matrix.

    Attributes:
        matrix: (C, K) float32, weight of each channel in each shape.
        missing_shapes: shapes that no channel drives; their coefficient is always 0.
        unused_channels: channels that drive no shape.
    """

    matrix: Tensor
    missing_shapes: tuple[str, ...]
    unused_channels: tuple[str, ...]


def map_channels(channel_names: Sequence[str], shape_names: Sequence[str]) -> ChannelMap:
    """Match capture channels to shapes by canonical name.

    A channel without a side (``BrowInnerUp``) drives the left and the right shape alike. A shape without a side is
    driven by the mean of the left and right channels that exist.

    Raises:
        ValueError: two channels or two shapes have one canonical name.
    """
    channels = index_by_name(channel_names, "channel names")
    matrix = torch.zeros(len(channel_names), len(shape_names))
    missing = []
    for name, column in index_by_name(shape_names, "shape names").items():
        base, _, side = name.rpartition("_")
        candidates = ((name,), (base,) if side else (), (f"{name}_l", f"{name}_r"))
        sources = next((rows for keys in candidates if (rows := [channels[k] for k in keys if k in channels])), [])
        if sources:
            matrix[sources, column] = 1 / len(sources)
        else:
            missing.append(shape_names[column])
    unused = tuple(name for name, row in zip(channel_names, matrix, strict=True) if not row.any())
    return ChannelMap(matrix, tuple(missing), unused)


def shortened(names: Sequence[str], most: int = 4) -> str:
    """The first few of a list of names, long ones shortened, and how many more there are."""
    more = len(names) - most
    return ", ".join(shorten(name, _LONGEST_NAME) for name in names[:most]) + (f" and {more} more" if more > 0 else "")
