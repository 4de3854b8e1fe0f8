"""The built-in face as a smooth map from a flat sheet to space: (u, v) -> (x, y, z), all in cm.

The sheet is the face unrolled, with the mouth held open: u runs from the midline (0) towards the subject's left, v
upwards, and the mouth is a lens-shaped hole. The map closes the lips, rolls their edges inwards and adds relief.
x points to the subject's left, y up, z out of the face; pupils at y = 0, ears near z = 1.

Sizes are textbook averages of the adult face: 14 cm wide, 19 cm from hairline to chin, pupils 6.2 cm apart,
mouth 5 cm wide, nose 5 cm long and 3.5 cm wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[np.float64]

MOUTH_V = -6.7  # height of the lip line
MOUTH_U = 2.85  # mouth corner
MOUTH_GAP = 0.55  # half height of the hole in the sheet
LIP_ROLL = 0.55  # depth of the inner lip at the midline
MOUTH_REACH = 3.2  # how far from the lips the sheet is stretched to hold the hole

EYE = np.array([3.1, 0.0, 7.0])  # centre of the eye
EYE_RADII = np.array([1.72, 1.30, 1.20])  # wider than an eyeball, so that both corners of the lids rest on it
LID_THICKNESS = 0.13
LID_MARGIN = 0.12  # width of the lid's edge, seen from the front
CANTHUS_INNER, CANTHUS_OUTER = 1.60, 4.62

_ROLLED = 6.9  # radius by which u is rolled into an angle

# Horizontal sections from hairline to neck. The section at v has its front at (y, z) on the midline (nose, lips and
# chin off), is an ellipse of half width `width` about the depth `centre`, rises by `tilt` per cm towards the ears
# (the jaw line), and is pinched by `pinch` in front.
_SECTIONS = np.array([
    # v,     y,     z,    width, centre, tilt, pinch
    [-16.0, -11.20, 4.30, 4.60, 1.9, 0.35, 0.20],
    [-14.0, -11.40, 6.25, 4.70, 1.9, 0.40, 0.20],
    [-12.6, -11.45, 7.65, 4.85, 1.9, 0.44, 0.20],
    [-11.6, -11.20, 8.60, 5.05, 1.9, 0.45, 0.20],
    [-10.8, -10.65, 9.15, 5.30, 1.8, 0.42, 0.20],
    [-9.8, -9.75, 9.35, 5.60, 1.7, 0.36, 0.20],
    [-8.4, -8.40, 9.40, 6.00, 1.5, 0.28, 0.16],
    [-6.7, -6.70, 9.60, 6.40, 1.2, 0.18, 0.06],
    [-4.7, -4.70, 9.55, 6.75, 1.0, 0.10, 0.00],
    [-3.0, -3.00, 9.30, 7.00, 0.9, 0.05, 0.00],
    [-1.5, -1.50, 9.10, 7.10, 0.8, 0.02, 0.00],
    [0.3, 0.30, 9.10, 7.05, 0.7, 0.00, 0.00],
    [2.0, 2.00, 9.40, 6.95, 0.6, 0.00, 0.00],
    [3.5, 3.50, 9.30, 6.80, 0.5, 0.00, 0.00],
    [5.0, 5.00, 8.95, 6.60, 0.4, 0.00, 0.00],
    [6.5, 6.50, 8.15, 6.10, 0.0, 0.00, 0.00],
    [8.0, 7.85, 6.80, 5.40, -0.5, 0.00, 0.00],
    [9.5, 8.90, 5.20, 4.90, -1.0, 0.00, 0.00],
])  # fmt: skip
_section = CubicSpline(_SECTIONS[:, 0], _SECTIONS[:, 1:])

# Relief of bone and soft tissue: rotated Gaussians, mirrored where they are off the midline.
_RELIEF = (
    # name, centre (x, v), radii, rotation, height
    ("glabella", 0.0, 1.70, 1.3, 0.90, 0.00, 0.15),
    ("brow ridge", 2.8, 1.95, 1.9, 0.80, 0.12, 0.18),
    ("brow tail", 4.7, 1.45, 1.1, 0.80, -0.40, 0.25),
    ("frontal eminence", 2.6, 5.00, 2.4, 2.00, 0.00, 0.07),
    ("temple", 6.2, 2.60, 1.4, 2.20, 0.00, -0.25),
    ("eye socket", 2.9, 0.50, 1.7, 0.95, 0.05, -0.58),
    ("inner socket", 1.5, 0.55, 0.6, 0.75, 0.00, -0.22),
    ("cheekbone", 4.4, -2.60, 2.0, 1.30, -0.45, 0.36),
    ("zygomatic arch", 6.2, -1.60, 1.8, 1.30, -0.10, 0.06),
    ("outer orbit", 4.6, -0.95, 0.9, 0.60, 0.00, 0.15),
    ("tear trough", 1.9, -1.50, 0.9, 0.40, -0.60, -0.10),
    ("cheek hollow", 4.9, -6.20, 1.6, 2.00, 0.30, -0.24),
    ("nasolabial fold", 2.75, -5.40, 0.42, 1.30, 0.35, -0.11),
    ("cheek pad", 3.4, -4.50, 1.0, 1.20, 0.30, 0.16),
    ("dental arch", 0.0, -6.20, 2.0, 1.90, 0.00, 0.55),
    ("mentolabial sulcus", 0.0, -8.45, 1.5, 0.50, 0.00, -0.26),
    ("chin", 0.0, -9.90, 1.25, 1.00, 0.00, 0.50),
    ("chin side", 1.4, -10.20, 1.0, 0.80, 0.00, 0.20),
    ("labiomandibular fold", 2.9, -7.80, 0.6, 0.90, 0.30, -0.10),
    ("mouth corner", 2.60, -6.75, 0.35, 0.35, 0.00, -0.16),
    ("jaw angle", 6.0, -8.00, 1.5, 1.20, 0.00, 0.08),
)

# Nose: height of its ridge and half width of the ridge, from subnasale to glabella.
_NOSE_V = np.array([-5.0, -4.5, -4.0, -3.4, -2.6, -1.6, -0.6, 0.2, 0.9, 1.6])
_nose_ridge = CubicSpline(_NOSE_V, [9.90, 11.00, 11.50, 11.35, 10.85, 10.20, 9.65, 9.35, 9.35, 9.45])
_nose_width = CubicSpline(_NOSE_V, [0.50, 0.55, 0.62, 0.62, 0.58, 0.52, 0.47, 0.46, 0.50, 0.55])


def smoothstep(t: Array) -> Array:
    """Quintic step: 0 below 0, 1 above 1, two continuous derivatives."""
    t = np.clip(t, 0.0, 1.0)
    return t**3 * (10.0 - 15.0 * t + 6.0 * t**2)


def _gaussian(x: Array, v: Array, centre_x: float, centre_v: float, rx: float, rv: float, rotation: float) -> Array:
    """A rotated Gaussian and, off the midline, its mirror image; x >= 0 is not assumed."""
    cos, sin = np.cos(rotation), np.sin(rotation)
    total = np.zeros_like(x)
    for side in (1.0, -1.0) if centre_x else (1.0,):
        dx, dv = side * x - centre_x, v - centre_v
        total += np.exp(-(((cos * dx + sin * dv) / rx) ** 2) - ((cos * dv - sin * dx) / rv) ** 2)
    return total


def _smooth_max(a: Array, b: Array, width: float) -> Array:
    """Maximum of two heights, rounded where they meet."""
    return (a + b + np.hypot(a - b, width)) / 2.0


def lens(u: Array) -> Array:
    """Height profile of the mouth hole: 1 at the midline, 0 at and beyond the corners."""
    return np.clip(1.0 - (u / MOUTH_U) ** 2, 0.0, None)


def hidden_height(u: Array) -> Array:
    """Height on the sheet, above and below the mouth line, of what lies inside the closed mouth [cm]."""
    return MOUTH_GAP * lens(u) + LIP_ROLL * lens(u) ** 0.75


@dataclass(frozen=True)
class Mouth:
    """Where points of the sheet lie with respect to the lip line.

    Attributes:
        side: +1 on the upper lip's side, -1 on the lower one's.
        outside: height above (below) the lip line with the mouth closed; 0 on the inner lip [cm].
        inside: depth behind the lip line along the inner lip; 0 outside [cm].
    """

    side: Array
    outside: Array
    inside: Array


def mouth_frame(u: Array, v: Array) -> Mouth:
    """Close the hole of the sheet: its edge goes inside the mouth, what is beyond meets at the lip line."""
    offset = v - MOUTH_V
    distance = np.abs(offset)
    hidden = hidden_height(u)
    beyond = distance - hidden
    outside = np.maximum(beyond, 0.0) + hidden * smoothstep(beyond / MOUTH_REACH)
    return Mouth(np.where(offset >= 0.0, 1.0, -1.0), outside, np.maximum(-beyond, 0.0))


def unroll(x: Array, v: Array) -> Array:
    """u of the point with abscissa x at height v; exact from the eyes upwards."""
    return _ROLLED * np.arcsin(x / _section(v)[..., 2])


def roll(u: Array, v: Array) -> Array:
    """Inverse of `unroll`."""
    return _section(v)[..., 2] * np.sin(u / _ROLLED)


def fissure(x: Array) -> tuple[Array, Array]:
    """Heights of the upper and lower lid's edge, x between the corners of the left eye [cm]."""
    s = np.clip((x - CANTHUS_INNER) / (CANTHUS_OUTER - CANTHUS_INNER), 0.0, 1.0)
    arch = 4.0 * s * (1.0 - s)
    line = 0.20 * s - 0.14
    return line + 0.64 * arch**0.75 * (1.125 - 0.25 * s), line - 0.42 * arch**0.85 * (0.825 + 0.35 * s)


def eye_height(x: Array, y: Array, thickness: float = 0.0) -> Array:
    """z of the eye (of the closed lids with their thickness) at (|x|, y), falling away steeply beyond it [cm]."""
    radii = EYE_RADII + thickness
    q = 1.0 - ((np.abs(x) - EYE[0]) / radii[0]) ** 2 - ((y - EYE[1]) / radii[1]) ** 2
    edge = 0.05  # below this the square root continues as its tangent
    root = np.where(q > edge, np.sqrt(np.maximum(q, edge)), np.sqrt(edge) + (q - edge) / (2.0 * np.sqrt(edge)))
    return EYE[2] + radii[2] * root


def _eyeball(x: Array, y: Array) -> Array:
    """The open eye: cornea, the iris's rim and a carved pupil."""
    r = np.hypot(np.abs(x) - EYE[0] + 0.02, y - 0.03)
    cornea = 0.03 * np.clip(1.0 - (r / 0.62) ** 2, 0.0, None)
    return eye_height(x, y) + cornea - 0.16 * np.exp(-((r / 0.24) ** 4)) - 0.03 * np.exp(-(((r - 0.56) / 0.07) ** 2))


def _eyebrow(x: Array, v: Array) -> Array:
    s = np.clip((np.abs(x) - 1.35) / 4.1, 0.0, 1.0)
    arc = 1.78 + 0.60 * np.sin(0.72 * np.pi * s**0.9)
    ends = smoothstep((np.abs(x) - 1.1) / 0.6) * smoothstep((5.6 - np.abs(x)) / 0.9)
    return 0.10 * ends * np.exp(-(((v - arc) / (0.30 - 0.16 * s)) ** 2))


def _lips(x: Array, mouth: Mouth) -> Array:
    """Height of lips and philtrum over the dental arch."""
    t, upper = mouth.outside, mouth.side > 0.0
    width = np.clip(1.0 - (x / 2.55) ** 2, 0.0, None)
    bow = 0.80 + 0.10 * np.exp(-(((np.abs(x) - 0.55) / 0.35) ** 2)) - 0.04 * np.exp(-((x / 0.25) ** 2))
    height = np.where(upper, bow * width**0.6, 1.02 * width**0.55) + 1e-3  # of the red of the lip
    crest = 0.55 * height
    rise = np.sqrt(1.0 - (1.0 - np.clip(t / crest, 0.0, 1.0)) ** 2)
    fall = 1.0 - smoothstep((t - crest) / (1.25 * height - crest + 0.25))
    body = np.where(upper, 0.42, 0.50) * width**1.1 * rise * fall
    border = np.where(upper, 0.05, 0.03) * width * np.exp(-(((t - height) / 0.14) ** 2))
    recess = -0.30 * width**1.1 * np.exp(-((t / 0.5) ** 2))
    tubercle = 0.04 * np.exp(-((x / 0.4) ** 2) - ((t - 0.35) / 0.3) ** 2)
    groove = -0.08 * np.exp(-((x / 0.30) ** 2)) + 0.035 * np.exp(-(((np.abs(x) - 0.5) / 0.22) ** 2))
    philtrum = groove * smoothstep((t - 0.5) / 0.4) * smoothstep((1.8 - t) / 0.7)
    return body + border + recess + np.where(upper, tubercle + philtrum, 0.0)


def _lip_line(x: Array) -> Array:
    """Bend of the lip line: dip under the tubercle, shallow arches beside it, corners."""
    x = np.abs(x)
    dip, arches = -0.06 * np.exp(-((x / 0.5) ** 2)), 0.05 * np.exp(-(((x - 1.1) / 0.6) ** 2))
    return dip + arches + 0.03 * np.exp(-(((x - 2.6) / 0.5) ** 2))


def _nose(x: Array, v: Array, z: Array) -> Array:
    """Ridge, tip and wings joined to the face at height z."""
    at = np.clip(v, _NOSE_V[0], _NOSE_V[-1])
    width = _nose_width(at)
    flank = 1.28 * width * (np.sqrt(1.0 + 2.4 * (x / width) ** 2) - 1.0)
    ridge = _nose_ridge(at) - flank
    floor = z - 2.0
    ridge = floor + (ridge - floor) * smoothstep(1.9 - v) - 3.0 * smoothstep((-4.4 - v) / 0.55)
    tip = 11.75 - 0.62 * ((x / 0.80) ** 2 + ((v + 3.85) / 0.75) ** 2) - 6.0 * np.clip(-4.3 - v, 0.0, None) ** 2
    wing = 10.75 - 0.60 * (((np.abs(x) - 0.98) / 0.50) ** 2 + ((v + 4.05) / 0.52) ** 2)
    return _smooth_max(_smooth_max(_smooth_max(z, ridge, 0.22), tip, 0.16), wing, 0.16)


def face_surface(u: Array, v: Array, eyes_open: bool = True) -> Array:
    """Position of the points (u, v) of the sheet, (..., 3) [cm]; odd in u for x, even for y and z.

    With ``eyes_open`` false the skin of the lids covers the eyes.
    """
    mouth = mouth_frame(u, v)
    level = MOUTH_V + mouth.side * mouth.outside
    y, front, half_width, centre, tilt, pinch = np.moveaxis(_section(level), -1, 0)
    sin, cos = np.sin(u / _ROLLED), np.cos(u / _ROLLED)
    x = half_width * sin * (1.0 - np.clip(pinch, 0.0, None) * cos**2)
    z = centre + (front - centre) * cos
    y = y + tilt * (front - z)
    bend = _lip_line(x) * (1.0 - smoothstep(mouth.outside / 2.5))
    y, level = y + bend, level + bend
    relief = sum((h * _gaussian(x, level, *shape) for _, *shape, h in _RELIEF), np.zeros_like(x))
    x_front = x
    x = x + relief * sin * smoothstep((np.abs(sin) - 0.6) / 0.4)
    z = z + relief * cos + _eyebrow(x_front, level) + _lips(x_front, mouth)
    z = _nose(x_front, level, z)
    nostril = np.exp(-(((np.abs(x_front) - 0.52) / 0.26) ** 2) - ((level + 4.55) / 0.16) ** 2)
    y, z = y + 0.20 * nostril, z - 0.35 * nostril
    lids = _smooth_max(z, eye_height(x_front, level, LID_THICKNESS), 0.45) - 0.09
    upper, lower = fissure(np.abs(x_front))
    within = np.minimum(upper - level, level - lower)
    corner = np.minimum(np.abs(x_front) - CANTHUS_INNER, CANTHUS_OUTER - np.abs(x_front))
    opening = float(eyes_open) * smoothstep(within / LID_MARGIN) * smoothstep(0.1 + corner / 0.5)
    z = lids + opening * (np.minimum(_eyeball(x_front, level), lids - 0.02) - lids)
    z = z - 0.95 * mouth.inside
    y = y + mouth.side * (0.22 * mouth.inside**2 + 0.012 * np.sqrt(lens(u)) * np.exp(-mouth.outside / 0.1))
    return np.stack([x, y, z], -1)
