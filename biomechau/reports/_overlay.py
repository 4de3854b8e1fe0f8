"""The overlay: a video of the face coloured by force, next to the filmed face, above the strongest curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from biomechau.analysis import CaptureForces
from biomechau.corpus.video import VideoFrame
from biomechau.reports._render import FaceRenderer
from biomechau.reports._video_file import Picture, video_file
from biomechau.reports.curves import SIDE_COLOURS, ForceCurves, draw_curves
from biomechau.reports.figures import new_figure

Strip = tuple[int, int, int, int]

_FACE_HEIGHT, _CURVES_HEIGHT = 480, 330  # pixels
_CURSOR = np.array((20, 20, 20), np.uint8)
# Faces that set the frame of the picture.
_SAMPLED = 40


def write_overlay(
    face: CaptureForces,
    path: Path,
    filmed: Iterable[VideoFrame] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a video (H.264 in MP4) with one picture per frame of the forces.

    The colour scale is that of ``forces.png`` throughout. Frames without a face show the neutral face, and the curves
    are grey there.

    Args:
        face: the face and its forces.
        path: of the MP4 file.
        filmed: the frames of the video that was tracked, to show at the left; its times are those of the sequence.
        progress: called with (frames done, frames in all).

    Raises:
        ImportError: PyAV, Pillow or pyvista is not installed.
        ValueError: the video that was tracked cannot be decoded.
        OSError: the file cannot be written.
    """
    timestamp, valid = face.sequence.timestamp.numpy(), face.sequence.valid.numpy()
    count = len(timestamp)
    neutral = face.rig.neutral.double().numpy()
    sampled = [neutral, *(face.vertices(frame) for frame in range(0, count, -(-count // _SAMPLED)))]
    scale = float(face.vertex_force(face.forces[face.strongest_frame]).max()) or 1.0
    at_each = None if filmed is None else _nearest(filmed, timestamp)
    with (
        video_file(path, face.sequence.fps) as append,
        FaceRenderer(sampled, face.rig.faces.numpy(), _FACE_HEIGHT, face.rig.axes) as renderer,
    ):
        curves, strips = None, []
        for frame in range(count):
            vertices, level = neutral, None
            if valid[frame]:
                vertices, level = face.vertices(frame), face.vertex_force(face.forces[frame]) / scale
            picture = _sided(renderer.picture(vertices, level))
            if at_each is not None:
                picture = np.concatenate([_of_height(next(at_each), _FACE_HEIGHT), picture], 1)
            if curves is None:
                curves, strips = _draw_curves(face, max(picture.shape[1], 960))
            append(np.concatenate([_centred(picture, curves.shape[1]), _with_cursor(curves, strips, frame, count)]))
            if progress is not None:
                progress(frame + 1, count)


def _draw_curves(face: CaptureForces, width: int) -> tuple[Picture, list[Strip]]:
    """A picture of the strongest curves, of even size, and where in it time runs: (left, right, top, bottom)."""
    dpi = 100
    width += width % 2
    figure = new_figure(width / dpi, _CURVES_HEIGHT / dpi)
    draw_curves(
        figure.add_subfigure(figure.add_gridspec(1, 1)[0]),
        ForceCurves.of(face, quality=face.quality),
        [],
        3,
        2,
        above=0.4,
    )
    figure.set_dpi(dpi)
    figure.canvas.draw()
    drawn = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # pyright: ignore[reportAttributeAccessIssue]
    strips = []
    for axes in figure.axes:
        box = axes.get_window_extent()
        height = len(drawn)
        strips.append((round(box.x0), round(box.x1), height - round(box.y1), height - round(box.y0)))
    return drawn, strips


def _with_cursor(curves: Picture, strips: list[Strip], frame: int, count: int) -> Picture:
    marked = curves.copy()
    for left, right, top, bottom in strips:
        x = left + round((right - left) * frame / max(count - 1, 1))
        marked[top:bottom, x : x + 2] = _CURSOR
    return marked


def _nearest(filmed: Iterable[VideoFrame], timestamp: npt.NDArray[np.float64]) -> Iterator[Picture]:
    """The picture that was filmed nearest to each time, one after the other."""
    frames = iter(filmed)
    here = next(frames)
    ahead = next(frames, None)
    for time in timestamp:
        while ahead is not None and abs(ahead.time - time) <= abs(here.time - time):
            here, ahead = ahead, next(frames, None)
        yield here.picture


def _of_height(picture: Picture, height: int) -> Picture:
    """Scaled to a height, averaged by PIL."""
    from PIL import Image

    width = max(round(picture.shape[1] * height / picture.shape[0]), 1)
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _centred(picture: Picture, width: int) -> Picture:
    """On white, of even height, in the middle of a width that is at least its own."""
    whole = np.full((picture.shape[0] + picture.shape[0] % 2, width, 3), 255, np.uint8)
    left = (width - picture.shape[1]) // 2
    whole[: picture.shape[0], left : left + picture.shape[1]] = picture
    return whole


def _sided(picture: Picture) -> Picture:
    """With the subject's own left and right marked below the face, in the colours of the curves."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    height, width = picture.shape[:2]
    for x, side, anchor in ((4, "right", "ls"), (width - 4, "left", "rs")):
        words = {"fill": SIDE_COLOURS[side], "anchor": anchor, "font_size": 15}
        ImageDraw.Draw(image).text((x, height - 6), f"subject's {side}", **words)
    return np.asarray(image)
