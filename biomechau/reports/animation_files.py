"""Animations as files: Live Link Face's table, OBJ files, glTF, video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from biomechau.analysis import Animation
from biomechau.analysis.face_forces import Floats
from biomechau.corpus.channel_names import POSE
from biomechau.csv_output import write_rows
from biomechau.files import replacing, staged_directory
from biomechau.rig.gltf_export import write_glb
from biomechau.rig.names import ARKIT_SHAPES

Progress = Callable[[int, int], None]

# Timecodes count 60 frames per second, as the app's; other rates have a fraction of a frame.
_TICKS = 60
# A row of zeros is a frame without a face, to this package and to others: a face at rest is a hair from it.
_AT_REST = 1e-8
_HEIGHT = 720  # of a video [pixels]
# Faces that set the frame of the picture.
_SAMPLED = 40


def write_live_link(arkit: Floats, fps: float, path: str | Path) -> None:
    """Write coefficients (T, 52) of ``ARKIT_SHAPES`` with the columns of Live Link Face; head and eyes do not turn.

    The timecode begins at 0; 60 frames per second are written as frames, and other rates with a fraction of them.

    Raises:
        OSError: the file cannot be written.
    """
    names = [name[0].upper() + name[1:] for name in ARKIT_SHAPES]
    still = np.abs(arkit).max(1, keepdims=True) < _AT_REST
    values = np.where(still, _AT_REST, arkit)
    pose = ["0.00000000"] * len(POSE)
    count = str(len(names) + len(POSE))
    with replacing(path) as partial:
        write_rows(
            partial,
            ["Timecode", "BlendshapeCount", *names, *POSE],
            (
                [_timecode(frame / fps), count, *(f"{value:.8f}" for value in row), *pose]
                for frame, row in enumerate(values.tolist())
            ),
        )


def _timecode(time: float) -> str:
    """HH:MM:SS:FF.mmm, with .mmm a fraction of a frame."""
    frames, fraction = divmod(round(time * _TICKS * 1000), 1000)
    seconds, frame = divmod(frames, _TICKS)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frame:02}.{fraction:03}"


def write_obj_sequence(animation: Animation, out: str | Path, progress: Progress | None = None) -> None:
    """Write ``frame_000000.obj`` and so on, in centimetres, into a folder; those of an earlier animation are replaced.

    Raises:
        OSError: ``out`` cannot be written.
    """
    out = Path(out)
    earlier = [path.name for path in out.glob("frame_[0-9]*.obj")] if out.is_dir() else []
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in (animation.rig.faces + 1).tolist())
    with staged_directory(out, earlier) as stage:
        for frame in range(len(animation)):
            vertices = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in animation.vertices(frame).tolist())
            (stage / f"frame_{frame:06}.obj").write_text(vertices + faces, encoding="ascii")
            if progress is not None:
                progress(frame + 1, len(animation))


def write_animated_glb(animation: Animation, path: str | Path) -> None:
    """Write the rig with the animation, see :func:`biomechau.rig.gltf_export.write_glb`.

    Raises:
        ImportError: pygltflib is not installed.
        OSError: the file cannot be written.
    """
    write_glb(animation.rig, path, animation.coefficients.numpy(), animation.fps)


def write_video(animation: Animation, path: str | Path, progress: Progress | None = None) -> None:
    """Write a video (H.264 in MP4) of the face, one picture per frame.

    Raises:
        ImportError: PyAV or pyvista is not installed.
        OSError: the file cannot be written.
    """
    # Here, because the other files need neither of their packages.
    from biomechau.reports._render import FaceRenderer
    from biomechau.reports._video_file import even_sized, video_file

    count, rig = len(animation), animation.rig
    sampled = [rig.neutral.double().numpy(), *(animation.vertices(f) for f in range(0, count, -(-count // _SAMPLED)))]
    with (
        replacing(path) as partial,
        video_file(partial, animation.fps) as append,
        FaceRenderer(sampled, rig.faces.numpy(), _HEIGHT, rig.axes) as renderer,
    ):
        for frame in range(count):
            append(even_sized(renderer.picture(animation.vertices(frame))))
            if progress is not None:
                progress(frame + 1, count)
