"""Pictures of simulated people, rendered off-screen. Needs the ``viz`` extra."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from scipy import sparse

from biomechau.corpus.simulator.performance import Array
from biomechau.corpus.simulator.scene import Markings, Scene
from biomechau.quiet_vtk import quiet_vtk
from biomechau.rig import FaceRig
from biomechau.rig.mesh_holes import backing, mesh_holes

_MOUTH, _EYES = (0.20, 0.10, 0.10), (0.36, 0.33, 0.31)  # colours of what is seen through holes
_MARGIN = 1.2  # side of the picture over the larger side of the part of the face that moves
_MOVING = 0.1  # of the largest displacement by any shape: what moves this far belongs into the picture
_VIEW_ANGLE = 16.0  # of the camera, a portrait lens [degrees]
_AMBIENT = 0.25
_OVERSAMPLING = 2  # pixels are rendered this many times too fine in each direction, and averaged
MISSING_VIZ = 'pictures need pyvista: pip install "biomechau[viz]"'


class PortraitCamera:
    """Takes square pictures of people on one mesh. A context manager.

    The mesh stays in the renderer, and only its points move.

    Args:
        rig: whose mesh; what its shapes move fills the pictures.
        size: side of the pictures [pixels].

    Raises:
        ImportError: pyvista is not installed.
    """

    def __init__(self, rig: FaceRig, size: int) -> None:
        try:
            import pyvista
        except ImportError as error:
            raise ImportError(MISSING_VIZ) from error
        neutral, faces = rig.neutral.double().numpy(), rig.faces.numpy()
        self._size = size
        self._corners = faces
        self._markings = Markings.of_rig(rig)
        # Sum of the normals of its faces, for every vertex.
        columns = np.repeat(np.arange(len(faces)), 3)
        self._sums = sparse.csr_array((np.ones(faces.size), (faces.ravel(), columns)), (len(neutral), len(faces)))
        with quiet_vtk():
            self._plotter = pyvista.Plotter(off_screen=True, window_size=2 * [size * _OVERSAMPLING], lighting="none")
        self._face = pyvista.PolyData.from_regular_faces(neutral, faces)
        self._face["colour"] = np.zeros((len(neutral), 3))
        self._face["normal"] = self._normals(neutral)
        self._face.point_data.active_normals_name = "normal"
        self._plotter.add_mesh(
            self._face, scalars="colour", rgb=True, smooth_shading=True, ambient=_AMBIENT, diffuse=0.85, specular=0.08
        )
        self._holes = mesh_holes(neutral, faces)
        self._backings = [pyvista.PolyData.from_regular_faces(*backing(neutral, hole)) for hole in self._holes]
        for index, mesh in enumerate(reversed(self._backings)):
            self._plotter.add_mesh(mesh, color=_EYES if index else _MOUTH, lighting=False)
        reach = rig.blendshapes.norm(dim=-1).amax(0).numpy()
        moving = neutral[reach > _MOVING * reach.max()]
        low, high = moving.min(0), moving.max(0)
        self._centre, self._side = 0.5 * (low + high), _MARGIN * float((high - low)[:2].max())
        self._lights = [pyvista.Light(), pyvista.Light()]
        for light in self._lights:
            self._plotter.add_light(light)

    def __enter__(self) -> PortraitCamera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._plotter.close()

    def set_scene(self, scene: Scene) -> None:
        """Colour the face, place the light and the camera."""
        self._face["colour"] = self._markings.colours(scene)
        self._plotter.set_background(scene.background.tolist())
        side = self._side / scene.zoom
        distance = 0.5 * side / np.tan(np.radians(0.5 * _VIEW_ANGLE))
        towards = np.array(
            (
                np.sin(scene.yaw) * np.cos(scene.pitch),
                np.sin(scene.pitch),
                np.cos(scene.yaw) * np.cos(scene.pitch),
            )
        )
        middle = self._centre - side * np.append(scene.shift, 0.0)
        camera = self._plotter.camera
        camera.position = tuple(middle + distance * towards)
        camera.focal_point = tuple(middle)
        camera.up = (np.sin(scene.roll), np.cos(scene.roll), 0.0)
        camera.view_angle = _VIEW_ANGLE
        camera.clipping_range = (0.1 * distance, 3.0 * distance)
        for light, direction, strength in zip(
            self._lights, (scene.light, towards), (scene.strength, 1 - scene.strength), strict=True
        ):
            light.position = tuple(self._centre + distance * direction)
            light.focal_point = tuple(self._centre)
            light.intensity = strength

    def picture(self, vertices: Array) -> npt.NDArray[np.uint8]:
        """One picture (size, size, 3), red, green, blue, of a face (N, 3) [cm]."""
        self._face.points = vertices
        self._face["normal"] = self._normals(vertices)
        for mesh, hole in zip(self._backings, self._holes, strict=True):
            mesh.points = backing(vertices, hole)[0]
        with quiet_vtk():
            self._plotter.render()  # a screenshot alone renders the first picture only
            image = np.asarray(self._plotter.screenshot(return_img=True))[..., :3]
        # Summed by slices, ten times as fast as by axes.
        total = np.zeros((self._size, self._size, 3), np.uint16)
        for row, column in np.ndindex(_OVERSAMPLING, _OVERSAMPLING):
            total += image[row::_OVERSAMPLING, column::_OVERSAMPLING]
        return ((total + _OVERSAMPLING**2 // 2) // _OVERSAMPLING**2).astype(np.uint8)

    def _normals(self, vertices: Array) -> Array:
        """(N, 3) mean of the faces' normals, weighted by their areas, of length 1."""
        corners = vertices[self._corners]
        normals = self._sums @ np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def write_portraits(camera: PortraitCamera, scene: Scene, vertices: Array, folder: Path) -> None:
    """Write ``000001.png``, ``000002.png``, ... of a recording (T, N, 3) [cm] into a new folder.

    Raises:
        ImportError: pillow is not installed.
        OSError: a file cannot be written.
    """
    from PIL import Image

    folder.mkdir(parents=True)
    camera.set_scene(scene)

    def write(picture: npt.NDArray[np.uint8], number: int) -> None:
        Image.fromarray(picture).save(folder / f"{number:06d}.png", compress_level=1)

    with ThreadPoolExecutor(1) as pool:  # beside the renderer
        written = [pool.submit(write, camera.picture(frame), number) for number, frame in enumerate(vertices, 1)]
        for future in written:
            future.result()
