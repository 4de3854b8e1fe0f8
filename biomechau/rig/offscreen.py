"""Off-screen rendering of faces by VTK, with its messages silenced. Needs the ``viz`` extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

import numpy as np
import numpy.typing as npt

# Rendered pixels per pixel in each direction, which are averaged: smooth edges on every driver.
OVERSAMPLING = 2
# That of a portrait lens, which does not exaggerate the nose [degrees].
VIEW_ANGLE = 16.0
_Self = TypeVar("_Self", bound="OffscreenFace")


@contextmanager
def quiet_vtk() -> Iterator[None]:
    """Keep VTK from writing to stderr: without a display it warns about each driver that it skips."""
    from vtkmodules.vtkCommonCore import vtkLogger

    before = vtkLogger.GetCurrentVerbosityCutoff()
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtkLogger.SetStderrVerbosity(before)


class OffscreenFace:
    """An off-screen window with a camera in front of a face; the base class of face renderers.

    Use as a context manager.

    Args:
        width, height: size of the pictures [pixels].

    Raises:
        ImportError: pyvista is not installed.
    """

    def __init__(self, width: int, height: int) -> None:
        import pyvista

        window = [width * OVERSAMPLING, height * OVERSAMPLING]
        with quiet_vtk():
            self._plotter = pyvista.Plotter(off_screen=True, window_size=window, lighting="none")

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._plotter.close()

    def _aim(self, middle: npt.ArrayLike, towards: npt.ArrayLike, distance: float, roll: float = 0.0) -> None:
        """Put the camera ``distance`` [cm] from ``middle`` (3,) along the unit vector ``towards`` (3,)."""
        middle = np.asarray(middle, float)
        camera = self._plotter.camera
        camera.position = tuple(middle + distance * np.asarray(towards))
        camera.focal_point = tuple(middle)
        camera.up = (np.sin(roll), np.cos(roll), 0.0)
        camera.view_angle = VIEW_ANGLE
        camera.clipping_range = (0.1 * distance, 3.0 * distance)

    def _pixel_sums(self) -> npt.NDArray[np.uint16]:
        """(height, width, 3) sums over the ``OVERSAMPLING`` ** 2 rendered pixels of each pixel; red, green, blue."""
        with quiet_vtk():
            self._plotter.render()  # a screenshot alone renders the first picture only
            image = np.asarray(self._plotter.screenshot(return_img=True))[..., :3]
        # Summing slices is ten times as fast as summing axes.
        total = np.zeros((image.shape[0] // OVERSAMPLING, image.shape[1] // OVERSAMPLING, 3), np.uint16)
        for row, column in np.ndindex(OVERSAMPLING, OVERSAMPLING):
            total += image[row::OVERSAMPLING, column::OVERSAMPLING]
        return total


def distance_to_fill(size: float) -> float:
    """Distance from which ``size`` fills the view, both [cm]."""
    return 0.5 * size / float(np.tan(np.radians(0.5 * VIEW_ANGLE)))
