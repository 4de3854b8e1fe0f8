"""Off-screen pictures of a face, coloured by muscle force. Needs the ``viz`` extra."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from biomechau.rig.mesh_holes import backing, mesh_holes
from biomechau.rig.offscreen import OVERSAMPLING, OffscreenFace, distance_to_fill

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

SKIN = (0.93, 0.81, 0.73)
# Colour behind the openings of the eyes and the mouth.
INSIDE = (0.27, 0.19, 0.19)
# Perceptually uniform and, in this range, darker than skin throughout: more force is always darker.
COLOUR_MAP = "magma_r"
COLOUR_RANGE = (0.12, 0.82)
# Force below this share of the scale fades into the skin, so that quiet regions look like a face.
FADE = 0.25


def overlay_colours(level: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Colour of a relative force: skin at 0, blending into the colour map towards 1.

    Args:
        level: (...) force divided by the top of the scale; clipped to [0, 1].

    Returns:
        (..., 3) RGB in [0, 1].
    """
    from matplotlib import colormaps

    level = np.clip(np.asarray(level, dtype=float), 0.0, 1.0)
    weight = np.clip(level / FADE, 0.0, 1.0)[..., None]
    weight = weight * weight * (3.0 - 2.0 * weight)
    low, high = COLOUR_RANGE
    colour = colormaps[COLOUR_MAP](low + (high - low) * level)[..., :3]
    return (1.0 - weight) * np.array(SKIN) + weight * colour


class FaceRenderer(OffscreenFace):
    """Renders faces of one topology from the front, all with the same view and scale.

    Use as a context manager.

    Args:
        shown: the faces to render, each (N, 3) [cm]; together they determine the view.
        faces: (F, 3) triangles.
        height: picture height [pixels]; the width follows from the face.
        axes: (3, 3) the face's own left, up and front (:attr:`biomechau.FaceRig.axes`); x, y and z if not given.

    Raises:
        ImportError: pyvista is not installed.
    """

    def __init__(
        self, shown: Sequence[Floats], faces: Integers, height: int = 700, axes: npt.ArrayLike | None = None
    ) -> None:
        import pyvista

        self._faces = faces
        self._axes = np.eye(3) if axes is None else np.asarray(axes)
        shown = [vertices @ self._axes.T for vertices in shown]
        self._holes = mesh_holes(shown[0], faces)
        low = np.min([vertices.min(0) for vertices in shown], 0).astype(float)
        high = np.max([vertices.max(0) for vertices in shown], 0).astype(float)
        width_cm, height_cm = 1.04 * (high - low)[:2]
        super().__init__(round(height * float(width_cm / height_cm)), height)
        self._plotter.background_color = pyvista.Color("white")
        distance, centre = distance_to_fill(float(height_cm)), 0.5 * (low + high)
        self._aim(centre, (0.0, 0.0, 1.0), distance)
        for position, intensity in (((-0.6, 0.8, 1.0), 0.6), ((0.9, 0.2, 1.0), 0.42), ((0.0, -0.5, 1.0), 0.14)):
            light = pyvista.Light(position=tuple(centre + distance * np.array(position)), focal_point=tuple(centre))
            light.intensity = intensity
            self._plotter.add_light(light)

    def picture(
        self, vertices: Floats, level: Floats | None = None, colours: Floats | None = None
    ) -> npt.NDArray[np.uint8]:
        """One picture of the face on white.

        Args:
            vertices: (N, 3) deformed face [cm].
            level: (N,) relative force at each vertex for the overlay; skin everywhere if not given.
            colours: (N, 3) RGB in [0, 1] of the vertices, instead of the overlay.

        Returns:
            (height, width, 3) RGB.
        """
        import pyvista

        vertices = vertices @ self._axes.T
        mesh = pyvista.PolyData.from_regular_faces(vertices, self._faces)
        mesh.compute_normals(cell_normals=False, split_vertices=False, consistent_normals=False, inplace=True)
        if colours is None:
            colours = overlay_colours(np.zeros(len(vertices)) if level is None else level)
        mesh["colour"] = colours
        self._plotter.add_mesh(
            mesh,
            name="face",
            scalars="colour",
            rgb=True,
            smooth_shading=True,
            ambient=0.25,
            diffuse=0.85,
            specular=0.1,
            specular_power=12.0,
            reset_camera=False,
        )
        for index, edges in enumerate(self._holes):
            self._plotter.add_mesh(
                pyvista.PolyData.from_regular_faces(*backing(vertices, edges)),
                name=f"hole {index}",
                color=INSIDE,
                lighting=False,
                reset_camera=False,
            )
        return (self._pixel_sums() / OVERSAMPLING**2).round().astype(np.uint8)
