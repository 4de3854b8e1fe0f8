"""Fits recorded meshes with the shapes of a rig, and measures what the fit leaves unexplained."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from biomechau.corpus.mesh_axes import SAME_AXES, axes_of, check_mirror, parse_axes
from biomechau.rig import FaceRig
from biomechau.rig.left_over import LeftOver, LeftOverSums

# Share of the meshes' squared distance from the neutral. A recording of the rig's own person leaves less than 0.1 %, or
# 8 % with noise of 0.3 mm at each vertex. A head that drifts by 1 mm/s, or is shifted by 1 mm, leaves more than 16 %;
# one that moves, turns or has other axes leaves 65 to 96 %.
MOST_LEFT_OVER = 0.1
# A residual below this is noise, regardless of its share [cm].
_NOISE = 0.05
# Number of frames on which other options are tried.
_SAMPLE = 32
# Faces differ in size by much less than this factor, common units (mm, cm, m) by much more.
_LARGEST_RATIO = 3


class MeshFitter:
    """Fits the meshes of one recording, chunk by chunk.

    Args:
        rig: the face, with the vertices of the meshes in the same order.
        rigid: fit the rigid motion of the head too, and remove it.
        scale: centimetres per unit of the meshes.
        axes: which axes of the meshes are the rig's x, y and z, see :func:`biomechau.corpus.mesh_axes.parse_axes`.

    Raises:
        ValueError: the scale is not positive, or the axes are invalid or a reflection.
    """

    def __init__(self, rig: FaceRig, rigid: bool = False, scale: float = 1.0, axes: str = SAME_AXES) -> None:
        _check_scale(scale)
        parse_axes(axes)
        self._rig, self._rigid, self._scale, self._axes = rig, rigid, scale, axes
        self._sums = LeftOverSums()
        self._sample: list[Tensor] = []

    @property
    def placement(self) -> str:
        """The scale and the axes, in words."""
        axes = "" if self._axes == SAME_AXES else f", axes {self._axes}"
        return f"{self._scale:g} cm per unit{axes}"

    def fit(self, meshes: Tensor, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """Coefficients (T, K) of the next meshes (T, N, 3), which are overwritten.

        Raises:
            ValueError: the first mesh is mirrored, or more than three times larger or smaller than the rig, or
                :meth:`biomechau.FaceRig.fit` reports an error.
        """
        if meshes.shape[1:] == self._rig.neutral.shape:  # otherwise the fit raises the error
            meshes = meshes.mul_(self._scale) if self._axes == SAME_AXES else self._scale * _turn(meshes, self._axes)
            if not self._sample:
                _check_size(self._rig, meshes[0])
                check_mirror(meshes[0], self._rig.neutral, self._rig.vertex_masses)
            if len(self._sample) < _SAMPLE:
                self._sample += meshes[:: max(len(meshes) // 8, 1)].float()
        return self._rig.fit(meshes, rigid=self._rigid, progress=progress, left_over=self._sums)

    def left_over(self) -> LeftOver:
        """What the fit leaves unexplained of all meshes so far."""
        return self._sums.result()

    def notes(self) -> tuple[str, ...]:
        """A warning if the rig does not fit the meshes, with the option that would help."""
        found = self.left_over()
        residual, departure = (10 * float(part.square().mean().sqrt()) for part in (found.residual, found.departure))
        if not (found.shape > MOST_LEFT_OVER and residual > 10 * _NOISE):
            return ()
        return (
            f"the rig does not fit the meshes: {found.shape:.0%} of their shape and {found.motion:.0%} of their motion "
            f"are unexplained ({residual:.1f} of {departure:.1f} mm), so forces are wrong; {self._advice(found)}",
        )

    def _advice(self, found: LeftOver) -> str:
        sample = torch.stack(self._sample[:_SAMPLE])
        axes = axes_of(sample[0], self._rig.neutral)
        helps = []
        if axes != SAME_AXES:
            turned = _turn(sample, axes)
            chosen = self._combined(axes)
            if (share := self._share(turned, False)) < MOST_LEFT_OVER:
                helps.append(f"--axes={chosen} leaves {share:.1%}")
            elif (share := self._share(turned, True)) < MOST_LEFT_OVER:
                helps.append(f"--axes={chosen} with --rigid leaves {share:.1%}")
        if not self._rigid and (share := self._share(sample, True)) < MOST_LEFT_OVER:
            helps.append(f"--rigid, which removes the motion of the head, leaves {share:.1%}")
        if helps:
            return "; ".join(helps)
        tried = "--rigid is set" if self._rigid else "--rigid does not help"
        person = (
            "they move like the rig but have another neutral face: are they of another person?"
            if found.motion < MOST_LEFT_OVER
            else "are they meshes of this rig, with the vertices in its order?"
        )
        return f"{tried}, nor does another order of axes (--axes): {person}"

    def _share(self, meshes: Tensor, rigid: bool) -> float:
        sums = LeftOverSums()
        try:
            self._rig.fit(meshes, rigid=rigid, left_over=sums)
        except ValueError:  # no alignment
            return 1.0
        return sums.result().shape

    def _combined(self, axes: str) -> str:
        """The given axes followed by others, as one option."""
        turn = parse_axes(axes) @ parse_axes(self._axes)
        columns = turn.abs().argmax(1).tolist()
        return ",".join(("-" if float(turn[row, axis]) < 0 else "") + "xyz"[axis] for row, axis in enumerate(columns))


def _turn(meshes: Tensor, axes: str) -> Tensor:
    return meshes @ parse_axes(axes).T.to(meshes.dtype)


def _check_scale(scale: float) -> None:
    """Raise ``ValueError`` unless ``scale`` is a positive, finite number."""
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive, got {scale}")


def _check_size(rig: FaceRig, mesh: Tensor) -> None:
    """Raise ``ValueError`` if a mesh (N, 3) [cm] is more than three times larger or smaller than the rig.

    The size is the root mean square distance of the vertices from their mean, which does not depend on the head pose.
    """
    size, expected = (float((vertices - vertices.mean(0)).square().mean().sqrt()) for vertices in (mesh, rig.neutral))
    # A size of NaN passes: the fit names the vertex.
    if size * _LARGEST_RATIO < expected or size > expected * _LARGEST_RATIO:
        raise ValueError(
            f"the first mesh is {size / expected:.3g} times as large as the rig: is it in centimetres? "
            "(scale: centimetres per unit of the meshes)"
        )
