"""The built-in face's blendshapes: displacements at full activation, each exactly zero outside its own region.

Sheet muscles pull a patch of skin along their line, sphincters draw the lips towards the mouth's centre, lids slide
over the eye, and the jaw turns about its joint. Shapes ending in ``_L`` are written for the subject's left; ``_R`` is
their exact mirror image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from biomechau.rig._builtin_mesh import FaceMesh
from biomechau.rig._builtin_surface import (
    CANTHUS_INNER,
    CANTHUS_OUTER,
    LID_MARGIN,
    MOUTH_V,
    Array,
    Mouth,
    face_surface,
    fissure,
    lens,
    mouth_frame,
    roll,
    smoothstep,
)

JAW_ANGLE = np.radians(15.0)  # moves the chin by about 3 cm
JAW_JOINT = np.array([-1.5, 1.5])  # (y, z) of the axis through both jaw joints
JAW_PIVOT = 2.0  # how far to the side the upright axis of jawLeft lies
LID_FOLD = 0.85  # height of upper-lid skin that follows the lid
LOWER_LID_FOLD = 1.3
LID_TUCK = 0.2  # how far the strip sinks under the eye, per cm that the lid closes
LID_LINING = 0.15  # width of the strip of eye under the lid that stretches when the lid moves
LIP_MEETING = 0.25  # share of the open jaw's gap that the upper lip closes in mouthClose

# Skin pulled along a muscle's line. One row per pull: centre (u, height), radii, displacement (x, y, z) at the centre
# [cm], and the lip it moves (both, or only the upper or lower one where a muscle ends in a lip).
_Pull = tuple[float, float, float, float, float, float, float, str]
_PULLS: dict[str, tuple[_Pull, ...]] = {
    "browInnerUp_L": ((1.7, 2.5, 2.4, 3.4, 0.00, 0.75, -0.05, "both"),),
    "browOuterUp_L": ((4.2, 2.4, 3.2, 3.4, 0.08, 0.68, -0.10, "both"),),
    "browDown_L": ((2.1, 1.9, 2.9, 2.0, -0.30, -0.60, 0.15, "both"),),
    "cheekSquint_L": (
        (4.0, -2.2, 2.9, 2.2, -0.05, 0.58, 0.25, "both"),
        (5.3, 0.2, 1.5, 1.2, -0.25, 0.05, 0.00, "both"),
    ),
    "noseSneer_L": (
        (1.5, -4.2, 1.6, 2.2, 0.00, 0.70, 0.05, "upper"),
        (1.3, -5.9, 1.6, 1.9, 0.00, 0.40, 0.10, "upper"),
        (0.9, -1.3, 1.1, 1.7, -0.05, 0.20, 0.12, "both"),
    ),
    "mouthUpperUp_L": (
        (1.3, -6.3, 1.9, 1.6, 0.10, 0.62, 0.00, "upper"),
        (2.3, -4.9, 1.7, 1.7, 0.10, 0.30, 0.05, "upper"),
    ),
    "mouthSmile_L": (
        (2.95, -6.6, 2.7, 2.5, 0.75, 0.68, -0.62, "both"),
        (3.8, -4.2, 2.5, 2.3, 0.15, 0.35, 0.30, "both"),
        (0.8, -6.9, 1.6, 1.6, 0.10, 0.14, -0.15, "both"),
    ),
    "mouthDimple_L": ((3.0, -6.7, 1.8, 1.6, 0.55, 0.12, -0.60, "both"),),
    "mouthFrown_L": ((2.9, -7.0, 2.6, 2.6, 0.10, -0.66, -0.15, "both"),),
    "mouthStretch_L": (
        (2.9, -7.0, 3.0, 2.6, 0.90, -0.35, -0.60, "both"),
        (4.0, -9.5, 2.2, 2.4, 0.20, -0.35, -0.10, "both"),
    ),
    "mouthLowerDown_L": ((1.2, -7.1, 1.9, 1.7, 0.12, -0.65, -0.05, "lower"),),
    "mouthShrugUpper": ((0.0, -6.2, 2.8, 1.8, 0.00, 0.45, 0.28, "upper"),),
    "mouthShrugLower": (
        (0.0, -9.4, 2.5, 2.4, 0.00, 0.60, 0.20, "both"),
        (0.0, -6.9, 2.9, 1.9, 0.00, 0.45, 0.22, "both"),
    ),
    "cheekPuff_L": ((4.7, -6.2, 3.1, 3.3, 0.75, 0.05, 0.75, "both"),),
}


@dataclass(frozen=True)
class _Sheet:
    """Properties of the vertices that the shapes depend on, (N,) each."""

    mesh: FaceMesh
    rest: Array  # (N, 3)

    @cached_property
    def u(self) -> Array:
        return self.mesh.uv[:, 0]

    @cached_property
    def v(self) -> Array:
        return self.mesh.uv[:, 1]

    @cached_property
    def mouth(self) -> Mouth:
        return mouth_frame(self.u, self.v)

    @cached_property
    def height(self) -> Array:
        """v with the mouth closed."""
        return MOUTH_V + self.mouth.side * self.mouth.outside

    @cached_property
    def rise(self) -> Array:
        """Signed distance from the lip line [1.1 cm], with 1 added on the lips at the midline and 0 at the corners."""
        return self.mouth.side * (lens(self.u) ** 1.1 + self.mouth.outside / 1.1)

    @cached_property
    def upper(self) -> Array:
        """1 on the upper lip and above, 0 on the lower lip and below, smooth around the corners of the mouth."""
        return smoothstep(0.5 + 0.65 * self.rise)

    @cached_property
    def jaw(self) -> Array:
        """1 where the skin follows the jaw, 0 above the line from the corners of the mouth to the joint."""
        across = np.abs(self.u)
        border = 4.2 * smoothstep((across - 2.5) / 6.2)
        half = 1.35 + 2.0 * smoothstep((across - 1.0) / 5.0)
        return smoothstep(0.5 + (border - 1.1 * self.rise) / (2.0 * half))

    def patch(self, u: float, height: float, radius_u: float, radius_v: float) -> Array:
        """Smooth bump of height 1, exactly 0 outside its ellipse."""
        q = ((self.u - u) / radius_u) ** 2 + ((self.height - height) / radius_v) ** 2
        return np.clip(1.0 - q, 0.0, None) ** 3

    def lips(self, radius_u: float, radius_v: float, u: float = 0.0) -> Array:
        """Plateau about a point of the lip line, exactly 0 outside its ellipse."""
        q = ((self.u - u) / radius_u) ** 2 + (self.mouth.outside / radius_v) ** 2
        return smoothstep(1.0 - q)


def _pulled(sheet: _Sheet, pulls: tuple[_Pull, ...]) -> Array:
    lip = {"both": 1.0, "upper": sheet.upper, "lower": 1.0 - sheet.upper}
    total = np.zeros_like(sheet.rest)
    for u, height, radius_u, radius_v, dx, dy, dz, which in pulls:
        total += (lip[which] * sheet.patch(u, height, radius_u, radius_v))[:, None] * np.array([dx, dy, dz])
    return total


def _lids(sheet: _Sheet, upper: Callable[[Array, Array], Array], lower: Callable[[Array, Array], Array]) -> Array:
    """Slide the left eye's lids along their closed surface; both arguments map lid edges (top, bottom) to travel."""
    x = roll(sheet.u, sheet.v)
    top, bottom = fissure(x)
    travel = np.zeros_like(x)
    above, below = sheet.v - top, bottom - sheet.v
    for distance, fold, move in ((above, LID_FOLD, upper), (below, LOWER_LID_FOLD, lower)):
        skin = 1.0 - smoothstep(distance / fold)  # lid skin is carried along less and less away from its edge
        edge = 1.0 - smoothstep((-distance - LID_MARGIN) / LID_LINING)  # the edge moves whole, the eye stays
        travel += np.where(distance >= 0.0, skin, edge) * move(top, bottom)
    travel[(x <= CANTHUS_INNER) | (x >= CANTHUS_OUTER)] = 0.0
    moved = face_surface(sheet.u, sheet.v + travel, eyes_open=False)
    shape = np.where(travel[:, None] != 0.0, moved - face_surface(sheet.u, sheet.v, eyes_open=False), 0.0)
    inside = smoothstep(-np.maximum(above, below) / LID_MARGIN)
    closing = np.maximum(travel * np.where(above > below, -1.0, 1.0), 0.0)
    shape[:, 2] -= LID_TUCK * inside * closing
    return shape


def _blink(sheet: _Sheet) -> Array:
    return _lids(sheet, lambda top, bottom: 0.88 * (bottom - top), lambda top, bottom: 0.1 * (top - bottom))


def _wide(sheet: _Sheet) -> Array:
    return _lids(sheet, lambda top, bottom: 0.33 * (top - bottom), lambda top, bottom: 0.10 * (bottom - top))


def _squint(sheet: _Sheet) -> Array:
    return _lids(sheet, lambda top, bottom: 0.18 * (bottom - top), lambda top, bottom: 0.36 * (top - bottom))


def _jaw_turn(sheet: _Sheet) -> Array:
    """Displacement of points that turn with the jaw by its full angle."""
    y, z = (sheet.rest[:, 1:] - JAW_JOINT).T
    cos, sin = np.cos(JAW_ANGLE), np.sin(JAW_ANGLE)
    return np.stack([np.zeros_like(y), cos * y - sin * z - y, sin * y + cos * z - z], -1)


def _jaw_open(sheet: _Sheet) -> Array:
    shape = sheet.jaw[:, None] * _jaw_turn(sheet)
    shape[:, 0] -= 0.14 * sheet.u * sheet.lips(4.6, 3.0)  # the stretched mouth narrows
    return shape


def _mouth_close(sheet: _Sheet) -> Array:
    """Bring the lips of the open jaw together: the lower one most of the way, the upper one the rest."""
    near = np.where(sheet.mouth.side > 0.0, sheet.lips(4.2, 1.7), sheet.lips(4.2, 2.7))
    return (near * (LIP_MEETING - sheet.jaw))[:, None] * _jaw_turn(sheet)


def _jaw_forward(sheet: _Sheet) -> Array:
    """The joint slides forward and down; the lower lip comes before the upper one."""
    lip = sheet.lips(2.6, 2.0) * (1.0 - sheet.upper)
    return sheet.jaw[:, None] * np.array([0.0, -0.15, 0.75]) + lip[:, None] * np.array([0.0, 0.25, 0.15])


def _jaw_left(sheet: _Sheet) -> Array:
    """The jaw turns about an upright axis on its left: the chin goes left and, with the right joint, forward."""
    x, _, z = sheet.rest.T
    turn = 0.9 / (9.5 - JAW_JOINT[1])
    moved = turn * np.stack([z - JAW_JOINT[1], np.zeros_like(x), JAW_PIVOT - x], -1)
    return sheet.jaw[:, None] * moved


def _mouth_left(sheet: _Sheet) -> Array:
    """The lips slide left along the dental arch; the stretched right corner moves most."""
    weight = sheet.patch(-0.7, MOUTH_V, 4.4, 3.4)
    return weight[:, None] * np.stack([np.full_like(weight, 1.3), np.zeros_like(weight), -0.25 * sheet.u], -1)


def _pucker(sheet: _Sheet) -> Array:
    wide, near = sheet.lips(5.0, 2.9), sheet.lips(3.1, 1.9)
    thicken = 0.25 * sheet.mouth.side * sheet.mouth.outside * near
    return np.stack([-0.38 * sheet.u * wide, thicken, 0.6 * near + 0.25 * wide], -1)


def _funnel(sheet: _Sheet) -> Array:
    wide, near = sheet.lips(5.0, 2.9), sheet.lips(3.0, 1.9)
    open_y = near * (0.38 * sheet.upper - 0.62 * (1.0 - sheet.upper))
    return np.stack([-0.30 * sheet.u * wide, open_y, 0.62 * near], -1)


def _press(sheet: _Sheet) -> Array:
    near = sheet.lips(2.0, 1.5, 1.5)
    flatten = -0.45 * sheet.mouth.side * sheet.mouth.outside * near
    return np.stack([0.10 * near, flatten, -0.32 * near], -1)


def _roll(upper: bool) -> Callable[[_Sheet], Array]:
    def shape(sheet: _Sheet) -> Array:
        near = sheet.lips(3.1, 1.4) * (sheet.upper if upper else 1.0 - sheet.upper)
        return np.stack([np.zeros_like(near), -0.75 * sheet.mouth.side * sheet.mouth.outside * near, -0.60 * near], -1)

    return shape


_SHAPES: dict[str, Callable[[_Sheet], Array]] = {
    "eyeBlink_L": _blink,
    "eyeWide_L": _wide,
    "eyeSquint_L": _squint,
    "mouthPress_L": _press,
    "mouthPucker": _pucker,
    "mouthFunnel": _funnel,
    "mouthRollUpper": _roll(upper=True),
    "mouthRollLower": _roll(upper=False),
    "mouthClose": _mouth_close,
    "jawOpen": _jaw_open,
    "jawForward": _jaw_forward,
}
_SIDEWAYS: dict[str, Callable[[_Sheet], Array]] = {"jaw": _jaw_left, "mouth": _mouth_left}


def face_blendshapes(mesh: FaceMesh, rest: Array) -> dict[str, Array]:
    """Name -> (N, 3) displacement at full activation [cm], left and right exact mirror images of each other."""
    sheet = _Sheet(mesh, rest)
    flip = np.array([-1.0, 1.0, 1.0])

    def mirrored(shape: Array) -> Array:
        return shape[mesh.mirror] * flip

    shapes: dict[str, Array] = {}
    written = {name: _pulled(sheet, pulls) for name, pulls in _PULLS.items()}
    written |= {name: shape(sheet) for name, shape in _SHAPES.items()}
    for name, shape in written.items():
        if name.endswith("_L"):
            shapes[name], shapes[name[:-2] + "_R"] = shape, mirrored(shape)
        else:
            shapes[name] = (shape + mirrored(shape)) / 2.0
    for name, shape_of in _SIDEWAYS.items():
        shape = shape_of(sheet)
        shapes[f"{name}Left"], shapes[f"{name}Right"] = shape, mirrored(shape)
    return dict(sorted(shapes.items()))
