"""A graded, exactly mirror-symmetric triangle mesh of the built-in face with a prescribed number of vertices.

Half of the sheet (u >= 0) is meshed: points along its boundary and the edges of the lids, then as many inside as the
count asks for, drawn at the density of `edge_size`, evened out and triangulated so that the triangles are Delaunay in
space. The other half is the mirror image; vertices of the midline are shared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import KDTree

from biomechau.rig._builtin_surface import (
    CANTHUS_INNER,
    CANTHUS_OUTER,
    LID_MARGIN,
    MOUTH_GAP,
    MOUTH_U,
    MOUTH_V,
    Array,
    face_surface,
    fissure,
    hidden_height,
    lens,
    roll,
    unroll,
)
from biomechau.rig._builtin_triangles import Index, even_out, triangulate

OUTLINE_CENTRE, OUTLINE_RADII, OUTLINE_POWER = -2.8, (9.6, 10.9), 2.5
_HILBERT_LEVEL = 9  # the density is tabulated on 2^9 x 2^9 cells
_CLEARANCE = 0.8  # least initial distance of inner points from the fixed points [edge lengths]


@dataclass(frozen=True)
class FaceMesh:
    """Mesh of the sheet: the midline's vertices first, then the left half, then its mirror image.

    Attributes:
        uv: (N, 2) float64, position of each vertex on the sheet [cm].
        faces: (F, 3) int64, counter-clockwise seen from outside.
        mirror: (N,) int64, the vertex on the other side of each vertex; itself on the midline.
    """

    uv: Array
    faces: Index
    mirror: Index


def edge_size(uv: Array) -> Array:
    """Edge length as a share of the cheek's: a quarter at the eyes, a third at the mouth, half at nose and brow."""

    def near(u: float, v: float, ru: float, rv: float) -> Array:
        q = ((uv[..., 0] - u) / ru) ** 2 + ((uv[..., 1] - v) / rv) ** 2
        return np.exp(-(q**2))

    fine = np.stack([
        0.78 * near(3.1, 0.05, 2.1, 1.15),
        0.68 * near(0.0, MOUTH_V, 3.4, 2.3),
        0.82 * near(MOUTH_U, MOUTH_V, 0.8, 0.8),
        0.60 * near(0.0, -3.9, 2.2, 1.6),
        0.45 * near(0.0, -1.5, 1.6, 3.5),
        0.52 * near(3.2, 1.9, 2.8, 1.4),
        0.20 * near(0.0, -4.0, 6.5, 8.0),
    ])  # fmt: skip
    return 1.0 - fine.max(0)


def face_mesh(num_vertices: int) -> FaceMesh:
    """Mesh with exactly ``num_vertices`` vertices."""
    table = _MetricTable.build()
    spacing = np.sqrt(table.area / (np.sqrt(3.0) / 4.0 * num_vertices))  # half the face, hexagons: sqrt(3)/2 l^2 each
    midline, hole, fixed, locked = _fixed_points(spacing, num_vertices)
    num_half = (num_vertices + midline) // 2
    inner = table.sample(num_half - len(fixed), fixed, spacing)
    uv = np.concatenate([fixed, inner])
    faces = triangulate(uv, hole)
    faces = even_out(uv, faces, len(fixed), locked, table.locate, edge_size)
    return _mirrored(uv, faces, midline)


def _fixed_points(spacing: float, num_vertices: int) -> tuple[int, Index, Array, Index]:
    """Fixed points: midline (first), outline, mouth hole, lip line and three lines along the lids.

    Returns the number of points on the midline, the indices on the hole, the points and the edges to keep.
    """
    v_top, v_bottom = OUTLINE_CENTRE + OUTLINE_RADII[1], OUTLINE_CENTRE - OUTLINE_RADII[1]
    angle = np.pi / 2 * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 2001))
    power = 2.0 / OUTLINE_POWER
    outline = np.stack([
        OUTLINE_RADII[0] * np.abs(np.cos(angle)) ** power,
        OUTLINE_CENTRE + OUTLINE_RADII[1] * np.sign(angle) * np.abs(np.sin(angle)) ** power,
    ], -1)  # fmt: skip
    outline[[0, -1], 0] = 0.0
    across = MOUTH_U * np.sin(np.linspace(0.0, np.pi / 2, 501))
    lip = np.stack([across, MOUTH_GAP * lens(across)], -1)
    centre = np.array([0.0, MOUTH_V])
    lip_line = np.stack([across, hidden_height(across)], -1)
    inner = np.linspace(lip[0], lip_line[0], 201)
    below = np.linspace([0.0, v_bottom], centre - lip_line[0], 1001)
    above = np.linspace(centre + lip_line[0], [0.0, v_top], 1001)

    lower_mid = np.concatenate([_spaced(below, spacing), _spaced(centre - inner[::-1], spacing)[1:]])
    upper_mid = _spaced(centre + inner, spacing)[:-1]
    count_so_far = len(lower_mid) + len(upper_mid)
    upper_mid = np.concatenate([upper_mid, _spaced(above, spacing, odd_total=(num_vertices - count_so_far) % 2 == 1)])
    rim = _spaced(outline, spacing)[1:-1]
    upper_lip, lower_lip = _spaced(centre + lip, spacing)[1:], _spaced(centre + lip * [1.0, -1.0], spacing)[1:-1]
    parts = [lower_mid, upper_mid, rim, upper_lip, lower_lip]
    starts = np.cumsum([0, *map(len, parts)])
    hole = np.concatenate([[len(lower_mid) - 1, len(lower_mid)], np.arange(starts[3], starts[5])])
    locked = []
    for side in ([1.0, 1.0], [1.0, -1.0]):
        line = _spaced(centre + lip_line * side, spacing)[1:-1]
        index = np.arange(len(line)) + sum(map(len, parts))
        locked.append(np.stack([index[:-1], index[1:]], -1))
        parts.append(line)
    for ring in _lid_rings(spacing):
        index = np.arange(len(ring)) + sum(map(len, parts))
        locked.append(np.stack([index, np.roll(index, -1)], -1))
        parts.append(ring)
    return len(lower_mid) + len(upper_mid), hole, np.concatenate(parts), np.concatenate(locked)


def _spaced(curve: Array, spacing: float, odd_total: bool | None = None) -> Array:
    """Points along a finely sampled curve of the sheet, both ends included, at the wanted spacing in space.

    ``odd_total`` asks for an odd (True) or even (False) number of points.
    """
    middle = (curve[1:] + curve[:-1]) / 2.0
    length = np.linalg.norm(np.diff(face_surface(*curve.T), axis=0), axis=-1) / edge_size(middle)
    travelled = np.concatenate([[0.0], np.cumsum(length)])
    wanted = travelled[-1] / spacing
    count = max(2, round(wanted))
    if odd_total is not None and (count % 2 == 1) is odd_total:  # count segments have count + 1 points
        count += 1 if wanted > count else -1
    stops = np.linspace(0.0, travelled[-1], count + 1)
    points = np.stack([np.interp(stops, travelled, coordinate) for coordinate in curve.T], -1)
    points[[0, -1]] = curve[[0, -1]]
    return points


def _lid_rings(spacing: float) -> list[Array]:
    """Closed curves along the lids' front edge, the line where they touch the eye and the skin beside, in step."""
    centre, half = (CANTHUS_INNER + CANTHUS_OUTER) / 2.0, (CANTHUS_OUTER - CANTHUS_INNER) / 2.0
    x = centre - half * np.cos(np.linspace(0.0, np.pi, 801))
    upper, lower = fissure(x)
    lids = [_spaced(np.stack([unroll(x, y), y], -1), spacing) for y in (lower, upper)]
    front = np.concatenate([lids[0][:-1], lids[1][:0:-1]])
    side = np.where(np.arange(len(front)) < len(lids[0]), -1.0, 1.0)
    corners = [0, len(lids[0]) - 1]
    side[corners] = 0.0
    rings = [front]
    for inset in (LID_MARGIN, -np.clip(0.12 * spacing, 0.04, 0.12)):
        x = centre + (1.0 - 2.0 * inset / half) * (roll(*front.T) - centre)
        upper, lower = fissure(x)
        middle, gap = (upper + lower) / 2.0, (upper - lower) / 2.0
        y = middle + side * np.maximum(gap - inset, 0.02)
        rings.append(np.stack([unroll(x, y), y], -1))
    return rings


@dataclass(frozen=True)
class _MetricTable:
    """The face and the wanted density on a grid of the half sheet, cells along a Hilbert curve for even sampling."""

    cells: Array  # (n, 2) centres
    order: Index  # (n,) cells along the curve
    density: Array  # (n,) share of vertices wanted in each cell, up to scale: area / size^2
    area: float  # total of density
    position: Array  # (side, side, 3)
    origin: Array
    step: Array

    @classmethod
    def build(cls) -> _MetricTable:
        side = 2**_HILBERT_LEVEL
        low = np.array([0.0, OUTLINE_CENTRE - OUTLINE_RADII[1]])
        step = np.array([OUTLINE_RADII[0], 2.0 * OUTLINE_RADII[1]]) / side
        i, j = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
        cells = low + (np.stack([i, j], -1) + 0.5) * step
        position = face_surface(cells[..., 0], cells[..., 1])
        du, dv = np.gradient(position, axis=(0, 1))
        area = np.linalg.norm(np.cross(du, dv), axis=-1)
        u, v = cells[..., 0], cells[..., 1]
        outline = (u / OUTLINE_RADII[0]) ** OUTLINE_POWER
        outline = outline + (np.abs(v - OUTLINE_CENTRE) / OUTLINE_RADII[1]) ** OUTLINE_POWER
        solid = (outline < 1.0) & ((np.abs(v - MOUTH_V) > MOUTH_GAP * lens(u)) | (u > MOUTH_U))
        density = np.where(solid, area / edge_size(cells) ** 2, 0.0).ravel()
        order = np.argsort(_hilbert_rank(i.ravel(), j.ravel()))
        return cls(cells.reshape(-1, 2), order, density, float(density.sum()), position, low, step)

    def sample(self, count: int, fixed: Array, spacing: float) -> Array:
        """(count, 2) points at the wanted density, clear of the fixed points; deterministic."""
        where = self.locate(self.cells)
        gap, _ = KDTree(self.locate(fixed)).query(where, distance_upper_bound=_CLEARANCE * spacing)
        density = np.where(gap < _CLEARANCE * spacing * edge_size(self.cells), 0.0, self.density)[self.order]
        travelled = np.cumsum(density)
        stops = (np.arange(count) + 0.5) / count * travelled[-1]
        rank = np.searchsorted(travelled, stops, side="right")
        # Cells hold several points where the mesh is finest: the golden ratio spreads them over the cell.
        jitter = np.mod(np.arange(count)[:, None] * [0.7548776662466927, 0.5698402909980532], 1.0) - 0.5
        return self.cells[self.order[rank]] + jitter * self.step

    def locate(self, uv: Array) -> Array:
        """Positions in space, linear between cells: quick, for sizes and angles."""
        at = ((uv - self.origin) / self.step - 0.5).T
        return np.stack([map_coordinates(self.position[..., k], at, order=1, mode="nearest") for k in range(3)], -1)


def _hilbert_rank(i: Index, j: Index) -> Index:
    """Rank of cell (i, j) along the Hilbert curve."""
    rank = np.zeros_like(i)
    i, j = i.copy(), j.copy()
    for level in reversed(range(_HILBERT_LEVEL)):
        size = 2**level
        ri, rj = (i & size) > 0, (j & size) > 0
        rank += size * size * ((3 * ri) ^ rj)
        turn = ~rj
        back = turn & ri
        i, j = (
            np.where(back, size - 1 - (i & (size - 1)), i & (size - 1)),
            np.where(back, size - 1 - (j & (size - 1)), j & (size - 1)),
        )
        i, j = np.where(turn, j, i), np.where(turn, i, j)
    return rank


def _mirrored(uv: Array, faces: Index, midline: int) -> FaceMesh:
    """Both halves: vertices of the midline are shared, and the faces of the mirror image are reversed."""
    half = len(uv) - midline
    other = np.concatenate([np.arange(midline), np.arange(half) + len(uv)])
    mirror = np.concatenate([other, np.arange(half) + midline])
    both = np.concatenate([uv, uv[midline:] * [-1.0, 1.0]])
    return FaceMesh(both, np.concatenate([faces, other[faces][:, ::-1]]), mirror)
