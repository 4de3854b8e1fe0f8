"""Off-screen pictures of a face, coloured by what its muscles do. Needs the ``viz`` extra."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np
import numpy.typing as npt

from biomechau.quiet_vtk import quiet_vtk
from biomechau.rig.mesh_holes import backing, mesh_holes

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

SKIN = (0.93, 0.81, 0.73)
# What is seen through the eyes and the mouth.
INSIDE = (0.27, 0.19, 0.19)
# Perceptually uniform and, over this part of it, darker than skin throughout: more force is always darker.
COLOUR_MAP = "magma_r"
COLOUR_RANGE = (0.12, 0.82)
# Force below this share of the scale fades into the skin, so that quiet regions look like a face.
FADE = 0.25
# Pixels are rendered this many times too fine in each direction and averaged: smooth edges on every driver.
OVERSAMPLING = 2
# A portrait lens: no bulging nose.
VIEW_ANGLE = 16.0


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


class FaceRenderer:
    """Renders one face topology from the front, always in the same frame and at the same scale.

    The face looks along +z with +y up, as every rig does. Use as a context manager.

    Args:
        shown: the faces it will be asked for, each (N, 3) [cm]; together they set the frame.
        faces: (F, 3) triangles.
        height: picture height [pixels]; the width follows from the face.

    Raises:
        ImportError: pyvista is not installed.
    """

    def __init__(self, shown: Sequence[Floats], faces: Integers, height: int = 700) -> None:
        import pyvista

        self._faces = faces
        self._holes = mesh_holes(shown[0], faces)
        low = np.min([vertices.min(0) for vertices in shown], 0).astype(float)
        high = np.max([vertices.max(0) for vertices in shown], 0).astype(float)
        width_cm, height_cm = 1.04 * (high - low)[:2]
        width = round(height * float(width_cm / height_cm))
        with quiet_vtk():
            self._plotter = pyvista.Plotter(
                off_screen=True, window_size=[width * OVERSAMPLING, height * OVERSAMPLING], lighting="none"
            )
        self._plotter.background_color = pyvista.Color("white")
        distance = 0.5 * float(height_cm) / np.tan(np.radians(0.5 * VIEW_ANGLE))
        centre = 0.5 * (low + high)
        camera = self._plotter.camera
        camera.position = tuple(centre + np.array((0.0, 0.0, distance)))
        camera.focal_point = tuple(centre)
        camera.up = (0.0, 1.0, 0.0)
        camera.view_angle = VIEW_ANGLE
        camera.clipping_range = (0.1 * distance, 3.0 * distance)
        for position, intensity in (((-0.6, 0.8, 1.0), 0.6), ((0.9, 0.2, 1.0), 0.42), ((0.0, -0.5, 1.0), 0.14)):
            light = pyvista.Light(position=tuple(centre + distance * np.array(position)), focal_point=tuple(centre))
            light.intensity = intensity
            self._plotter.add_light(light)

    def __enter__(self) -> FaceRenderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._plotter.close()

    def picture(
        self, vertices: Floats, level: Floats | None = None, colours: Floats | None = None
    ) -> npt.NDArray[np.uint8]:
        """One picture of the face on white.

        Args:
            vertices: (N, 3) deformed face [cm].
            level: (N,) relative force at each vertex for the overlay; skin everywhere without it.
            colours: (N, 3) RGB in [0, 1] of the vertices in place of the overlay.

        Returns:
            (height, width, 3) RGB.
        """
        import pyvista

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
        with quiet_vtk():
            image = np.asarray(self._plotter.screenshot(return_img=True))[..., :3].astype(float)
        height, width = image.shape[0] // OVERSAMPLING, image.shape[1] // OVERSAMPLING
        blocks = image.reshape(height, OVERSAMPLING, width, OVERSAMPLING, 3)
        return blocks.mean((1, 3)).round().astype(np.uint8)
