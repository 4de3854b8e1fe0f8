"""Pictures of simulated people, rendered off-screen. Needs the ``viz`` extra."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from biomechau.corpus.simulator._displays import Array
from biomechau.corpus.simulator._scene import Markings, Scene
from biomechau.rig import FaceRig
from biomechau.rig.mesh_holes import backing, mesh_holes
from biomechau.rig.offscreen import OVERSAMPLING, OffscreenFace, distance_to_fill

_MOUTH, _EYES = (0.20, 0.10, 0.10), (0.36, 0.33, 0.31)  # colours seen through the holes of the mesh
_MARGIN = 1.2  # width of the picture relative to the larger side of the moving part of the face
_MOVING = 0.1  # of the largest displacement by any shape: vertices that move this far are in the picture
_AMBIENT = 0.25
MISSING_VIZ = 'pictures need pyvista: pip install "biomechau[viz]"'


class PortraitCamera(OffscreenFace):
    """Takes square pictures of people on one mesh. A context manager.

    The mesh stays in the renderer; only its points move.

    Args:
        rig: the mesh; the part that its shapes move fills the pictures.
        size: width and height of the pictures [pixels].

    Raises:
        ImportError: pyvista is not installed.
    """

    def __init__(self, rig: FaceRig, size: int) -> None:
        try:
            import pyvista
        except ImportError as error:
            raise ImportError(MISSING_VIZ) from error
        super().__init__(size, size)
        neutral, faces = rig.neutral.double().numpy(), rig.faces.numpy()
        self._corners = faces
        self._markings = Markings.of_rig(rig)
        # For every vertex, the sum of the normals of its faces.
        columns = np.repeat(np.arange(len(faces)), 3)
        self._sums = sparse.csr_array((np.ones(faces.size), (faces.ravel(), columns)), (len(neutral), len(faces)))
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

    def set_scene(self, scene: Scene) -> None:
        """Colour the face, and place the light and the camera."""
        self._face["colour"] = self._markings.colours(scene)
        self._plotter.set_background(scene.background.tolist())
        side = self._side / scene.zoom
        distance = distance_to_fill(side)
        towards = np.array(
            (
                np.sin(scene.yaw) * np.cos(scene.pitch),
                np.sin(scene.pitch),
                np.cos(scene.yaw) * np.cos(scene.pitch),
            )
        )
        self._aim(self._centre - side * np.append(scene.shift, 0.0), towards, distance, scene.roll)
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
        return ((self._pixel_sums() + OVERSAMPLING**2 // 2) // OVERSAMPLING**2).astype(np.uint8)

    def _normals(self, vertices: Array) -> Array:
        """(N, 3) mean of the faces' normals, weighted by their areas and normalised to length 1."""
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

    with ThreadPoolExecutor(1) as pool:  # while the renderer works
        written = [pool.submit(write, camera.picture(frame), number) for number, frame in enumerate(vertices, 1)]
        for future in written:
            future.result()
