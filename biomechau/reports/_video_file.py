"""Video files, H.264 in MP4, written picture by picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from biomechau.corpus.video import MISSING_AV

Picture = npt.NDArray[np.uint8]


@contextmanager
def video_file(path: Path, fps: float) -> Iterator[Callable[[Picture], None]]:
    """A function that appends a picture (height, width, 3), red, green, blue, to a new video.

    All pictures have the same size, which is even: H.264 stores colours for blocks of 2 x 2 pixels.

    Raises:
        ImportError: PyAV is not installed.
        OSError: the file cannot be written.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError(MISSING_AV) from error
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"

        def append(picture: Picture) -> None:
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.shape[:2]
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)

        yield append
        for packet in stream.encode():
            container.mux(packet)


def even_sized(picture: Picture) -> Picture:
    """The picture with a white row or column added where its size is odd."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=255)
