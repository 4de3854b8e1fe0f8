"""Frames of a video file.

By PyAV, because it tells the time at which each frame is shown, which variable frame rates need and OpenCV tells only
nearly; and because DISFA's videos are read without MediaPipe too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MISSING_AV = 'videos need PyAV: pip install "biomechau[track]"'


class VideoFrame(NamedTuple):
    """One frame: its number from 0, its time after the first [s], and its picture (H, W, 3) uint8, red, green, blue."""

    number: int
    time: float
    picture: NDArray[np.uint8]


def read_video(path: str | Path, progress: Callable[[int, int], None] | None = None) -> Iterator[VideoFrame]:
    """Decode a video frame by frame, upright as it is meant to be shown.

    Args:
        path: the file.
        progress: called with (frames done, frames in all, where the file tells that).

    Raises:
        ImportError: PyAV is not installed.
        ValueError: not a video, a frame that cannot be decoded, times that do not rise; the message names file and
            frame.
        OSError: the file cannot be read.
    """
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise ImportError(MISSING_AV) from error
    with open(path, "rb"):  # the system's own error for a missing or locked file
        pass
    count, first, last = 0, 0.0, -1.0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("it has no pictures")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = stream.average_rate
            for frame in container.decode(stream):
                time = frame.time if frame.time is not None else None if rate is None else count / float(rate)
                if time is None:
                    raise ValueError("it does not tell the time of its frames")
                first = time if count == 0 else first
                if time - first <= last:
                    raise ValueError("the time does not rise from the frame before")
                last = time - first
                # FFmpeg counts degrees counter-clockwise, as numpy does.
                picture = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                yield VideoFrame(count, last, np.ascontiguousarray(picture))
                count += 1
                if progress is not None:
                    progress(count, max(stream.frames, count))
            if not count:
                raise ValueError("it has no pictures")
    except (FFmpegError, ValueError) as error:
        words = error.strerror if isinstance(error, FFmpegError) else error
        raise ValueError(f"{path}: not a video that can be read, at frame {count}: {words}") from error
