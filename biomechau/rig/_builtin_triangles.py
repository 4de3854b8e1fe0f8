"""Triangles of the built-in face's sheet, well shaped in space, where the sheet is bent and stretched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from biomechau.rig._builtin_surface import Array, face_surface

Index = NDArray[np.int64]
_Field = Callable[[Array], Array]  # of points of the sheet

_STEP = 0.5  # fraction of the way to the neighbours' mean; larger steps overshoot, as weights grow with length
_MIN_QUALITY = 0.3  # smoothing makes no triangle worse than this
_FLAT, _REPAIRS = 0.5, 3  # triangles below this quality are repaired one by one, in this many passes
_ROUNDS = 24  # of smoothing and flipping; the smallest angle no longer grows after about twenty
_PASSES = 60  # of edge flips at the end; about ten are used


def triangulate(uv: Array, hole: Index) -> Index:
    """Delaunay triangles of the sheet, except those that span the mouth hole."""
    faces = Delaunay(uv).simplices.astype(np.int64)
    in_hole = np.zeros(len(uv), bool)
    in_hole[hole] = True
    faces = faces[~in_hole[faces].all(1)]
    turn = _cross(uv, faces)
    faces[turn < 0.0] = faces[turn < 0.0][:, ::-1]
    return faces[np.abs(turn) > 1e-12]


def _cross(uv: Array, faces: Index) -> Array:
    """Twice the signed area of triangles of the sheet."""
    a, b, c = (uv[faces[:, k]] for k in range(3))
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def even_out(uv: Array, faces: Index, num_fixed: int, locked: Index, locate: _Field, size: _Field) -> Index:
    """Move the inner points (in place) towards even spacing in space and flip edges until Delaunay in space."""
    num = len(uv)
    locked_keys = np.unique(locked.min(1) * num + locked.max(1))
    for _ in range(_ROUNDS):
        _smooth(uv, faces, num_fixed, locate, size)
        faces = _delaunay(uv, faces, locked_keys, locate(uv), 3)
    position = face_surface(*uv.T)
    for _ in range(_REPAIRS):
        faces = _delaunay(uv, faces, locked_keys, position, _PASSES)
        _repair(uv, faces, num_fixed, position)
    return faces


def _repair(uv: Array, faces: Index, num_fixed: int, position: Array) -> None:
    """Move single inner points of flat triangles (in place) to where the worst of their own triangles is best."""
    flat = np.unique(faces[_quality(uv, faces, position) < _FLAT])
    turn = np.linspace(0.0, 2.0 * np.pi, 12, endpoint=False)
    compass = np.stack([np.cos(turn), np.sin(turn)], -1)
    for point in flat[flat >= num_fixed]:
        own = faces[(faces == point).any(1)]
        points, local = np.unique(own, return_inverse=True)
        local = local.reshape(own.shape)
        at = np.searchsorted(points, point)
        reach = np.linalg.norm(uv[points] - uv[point], axis=-1).mean()
        steps = (uv[point] + reach * step * compass for step in (0.1, 0.2, 0.4, 0.6))
        candidates = np.concatenate([uv[[point]], *steps])
        candidate_positions = face_surface(*candidates.T)
        scores = []
        for candidate, candidate_position in zip(candidates, candidate_positions, strict=True):
            trial_uv, trial = uv[points], position[points]
            trial_uv[at], trial[at] = candidate, candidate_position
            scores.append(_quality(trial_uv, local, trial).min())
        best = int(np.argmax(scores))
        uv[point], position[point] = candidates[best], candidate_positions[best]


def _smooth(uv: Array, faces: Index, num_fixed: int, locate: _Field, size: _Field) -> None:
    """One step towards the mean of the neighbours, weighted by squared edge length over wanted length."""
    start, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    position = locate(uv)
    length = np.linalg.norm(position[start] - position[end], axis=-1)
    weight = (length / size((uv[start] + uv[end]) / 2.0)) ** 2
    total = np.bincount(start, weight, len(uv)) + np.bincount(end, weight, len(uv))
    mean = np.stack([
        np.bincount(start, weight * uv[end, k], len(uv)) + np.bincount(end, weight * uv[start, k], len(uv))
        for k in range(2)
    ], -1) / total[:, None]  # fmt: skip
    old = uv.copy()
    uv[num_fixed:] += _STEP * (mean - uv)[num_fixed:]
    before = _quality(old, faces, position)
    while True:
        after = _quality(uv, faces, locate(uv))
        bad = faces[(after < _MIN_QUALITY) & (after < before)]
        if not bad.size:
            return
        uv[bad.ravel()] = old[bad.ravel()]  # these would flatten or fold: their points stay


def _quality(uv: Array, faces: Index, position: Array) -> Array:
    """Shape of triangles in space, 1 if equilateral, 0 if flat; negative where folded on the sheet."""
    a, b, c = (position[faces[:, k]] for k in range(3))
    squares = ((b - a) ** 2 + (c - b) ** 2 + (a - c) ** 2).sum(-1)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    return np.sign(_cross(uv, faces)) * 2.0 * np.sqrt(3.0) * area / squares


def _delaunay(uv: Array, faces: Index, locked_keys: Index, position: Array, passes: int) -> Index:
    """Flip edges until the mesh is Delaunay, or for this many passes."""
    for _ in range(passes):
        faces, changed = _flip(uv, faces, locked_keys, position)
        if not changed:
            break
    return faces


def _flip(uv: Array, faces: Index, locked_keys: Index, position: Array) -> tuple[Index, bool]:
    """Flip a set of independent edges whose opposite angles in space add up to more than 180 degrees."""
    num = len(uv)
    a, b, c = faces.ravel(), faces[:, [1, 2, 0]].ravel(), faces[:, [2, 0, 1]].ravel()
    key = np.minimum(a, b) * num + np.maximum(a, b)
    by_key = np.argsort(key, kind="stable")
    pair = np.nonzero(key[by_key][1:] == key[by_key][:-1])[0]
    one, two = by_key[pair], by_key[pair + 1]
    to_a, to_b = position[a] - position[c], position[b] - position[c]
    cotangent = (to_a * to_b).sum(-1) / np.maximum(np.linalg.norm(np.cross(to_a, to_b), axis=-1), 1e-12)
    badness = -(cotangent[one] + cotangent[two])
    wanted = (badness > 1e-6) & ~np.isin(key[one], locked_keys)
    one, two, badness = one[wanted], two[wanted], badness[wanted]
    first, second = np.stack([c[one], a[one], c[two]], -1), np.stack([c[two], b[one], c[one]], -1)
    convex = np.minimum(_cross(uv, first), _cross(uv, second)) > 0.02 * (
        _cross(uv, faces[one // 3]) + _cross(uv, faces[two // 3])
    )
    chosen = np.nonzero(convex)[0][np.argsort(-badness[convex], kind="stable")]
    rank = np.arange(len(chosen))
    best = np.full(len(faces), len(chosen))
    np.minimum.at(best, one[chosen] // 3, rank)
    np.minimum.at(best, two[chosen] // 3, rank)
    chosen = chosen[(best[one[chosen] // 3] == rank) & (best[two[chosen] // 3] == rank)]
    faces = faces.copy()
    faces[one[chosen] // 3], faces[two[chosen] // 3] = first[chosen], second[chosen]
    return faces, bool(len(chosen))
