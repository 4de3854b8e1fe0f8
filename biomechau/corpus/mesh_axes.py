"""Axes of recorded meshes: parsing and finding them, and detecting mirror images."""

from __future__ import annotations

from itertools import permutations, product

import torch
from torch import Tensor

from biomechau.file_errors import quote

SAME_AXES = "x,y,z"
# A reflection (or another rotation) must leave less than this share of the squared distance of the best rotation.
_CLEARLY = 0.5


def parse_axes(text: str) -> Tensor:
    """The rotation (3, 3) float64 from the meshes' axes to the rig's: ``positions @ rotation.T``.

    Args:
        text: which axes of the meshes are the rig's x, y and z: ``x,z,-y`` for meshes with z up that look along -y.

    Raises:
        ValueError: not three different axes, or a reflection.
    """
    rotation = torch.zeros(3, 3, dtype=torch.float64)
    words = [word.strip().lower() for word in text.split(",")]
    for row, word in enumerate(words[:3]):
        axis = word.removeprefix("-").removeprefix("+")
        if axis in ("x", "y", "z"):
            rotation[row, "xyz".index(axis)] = -1.0 if word.startswith("-") else 1.0
    if len(words) != 3 or not bool((rotation.abs().sum(0) == 1).all() and (rotation.abs().sum(1) == 1).all()):
        raise ValueError(f"axes must be x, y and z in any order and with any sign, such as x,z,-y, got {quote(text)}")
    if float(torch.linalg.det(rotation)) < 0:
        raise ValueError(
            f"axes {text} are a reflection, which swaps left and right: change the sign of one axis, as in x,z,-y"
        )
    return rotation


def axes_of(mesh: Tensor, neutral: Tensor) -> str:
    """The axes, among the 24 rotations that permute axes, that bring a mesh (N, 3) nearest to the neutral (N, 3);
    ``x,y,z`` if no others are clearly better."""
    return _nearest(mesh, neutral, 1) or SAME_AXES


def check_mirror(mesh: Tensor, neutral: Tensor, weights: Tensor) -> None:
    """Raise ``ValueError`` if a reflection, but no rotation, aligns a mesh (N, 3) with the neutral (N, 3)."""
    share = (weights.double() / weights.sum())[:, None]
    one, other = (points.double() - (share * points.double()).sum(0) for points in (mesh, neutral))
    if not bool(one.isfinite().all()):  # the fit names the vertex
        return
    u, sizes, vt = torch.linalg.svd((share * one).T @ other)
    if float(torch.linalg.det(u @ vt)) > 0:
        return
    squares = float((share * (one.square() + other.square())).sum())
    reflected = squares - 2 * float(sizes.sum())
    if reflected < _CLEARLY * (reflected + 4 * float(sizes[2])):
        words = _nearest(mesh, neutral, -1)
        raise ValueError(
            "the mesh is a mirror image of the rig: a reflection aligns them, but no rotation does"
            + (f" (its axes would be {words})" if words else "")
            + ". Left and right would be swapped: export the meshes with right-handed axes, like the rig's"
        )


def _nearest(mesh: Tensor, neutral: Tensor, sign: int) -> str:
    """The axes with this determinant that bring a mesh nearest to the neutral; empty if none are clearly better."""
    one, other = (points.double() - points.double().mean(0) for points in (mesh, neutral))
    agreement = one.T @ other  # of each axis of the mesh with each of the rig
    best, most = "", float(agreement.trace())
    squares = float(one.square().sum() + other.square().sum())
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            matrix = torch.zeros(3, 3, dtype=torch.float64)
            matrix[torch.arange(3), torch.tensor(order)] = torch.tensor(signs, dtype=torch.float64)
            if float(torch.linalg.det(matrix)) * sign < 0:
                continue
            found = float((matrix.T * agreement).sum())
            if found > most and squares - 2 * found < _CLEARLY * (squares - 2 * float(agreement.trace())):
                most = found
                best = ",".join(("-" if s < 0 else "") + "xyz"[axis] for axis, s in zip(order, signs, strict=True))
    return best
