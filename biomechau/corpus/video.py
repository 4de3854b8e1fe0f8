"""Frames of a video file or of a folder of numbered pictures.

Files are read by PyAV, because it gives the exact time of each frame, which variable frame rates need (OpenCV only
approximates it), and because reading DISFA's videos should not need MediaPipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biomechau.corpus.face_sequence import check_frame_rate
from biomechau.corpus.numbered_files import number_files
from biomechau.corpus.picture_file import PICTURE_ENDINGS, read_picture

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

MISSING_AV = 'videos need PyAV: pip install "biomechau[track]"'
VIDEO_ENDINGS = frozenset(
    (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".mts", ".m2ts", ".3gp", ".flv", ".ogv")
)


class VideoFrame(NamedTuple):
    """One frame: its number, its time after the first [s], and its picture (H, W, 3) uint8, red, green, blue.

    Frames of a file count from 0; those of a folder have the numbers in their names.
    """

    number: int
    time: float
    picture: NDArray[np.uint8]


def read_frames(
    path: str | Path, fps: float | None = None, progress: Callable[[int, int], None] | None = None
) -> Iterator[VideoFrame]:
    """Read a video file, or a folder of pictures whose names number the frames, frame by frame.

    Args:
        path: the file or the folder.
        fps: frame rate [1/s]; needed for a folder; for a file, used instead of its own times.
        progress: called with (frames done, total frames as far as known).

    Raises:
        ImportError: a package that reads it is not installed.
        ValueError: an error of :func:`read_video`, pictures without a frame rate, names without a number, a number that
            appears twice or is too large, or a picture that cannot be read; the message names the file.
        OSError: a file cannot be read.
    """
    path = Path(path)
    if fps is not None:
        check_frame_rate(fps)
    if not path.is_dir():
        for frame in read_video(path, progress):
            yield frame if fps is None else frame._replace(time=frame.number / fps)
        return
    if fps is None:
        raise ValueError(f"{path}: fps must be given (--recorded-fps): pictures do not contain it")
    files, _ = number_files(path, PICTURE_ENDINGS, "pictures")
    numbers = np.array(list(files))
    step = int(np.diff(numbers).min()) if len(numbers) > 1 else 1
    for done, (number, file) in enumerate(files.items(), 1):
        yield VideoFrame(number, (number - int(numbers[0])) / (step * fps), read_picture(file))
        if progress is not None:
            progress(done, len(files))


def read_video(path: str | Path, progress: Callable[[int, int], None] | None = None) -> Iterator[VideoFrame]:
    """Decode a video frame by frame, rotated as it is meant to be shown.

    Args:
        path: the file.
        progress: called with (frames done, total frames as far as the file says).

    Raises:
        ImportError: PyAV is not installed.
        ValueError: not a video, a frame that cannot be decoded, or times that do not increase; the message names file
            and frame.
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
            times = _times_in_order(container)
        with av.open(str(path)) as container:
            stream = _stream(container)
            stream.thread_type = "AUTO"
            rate = stream.average_rate
            for frame in container.decode(stream):
                time = frame.time if frame.time is not None else None if rate is None else count / float(rate)
                if times is not None:
                    time = times[count] if count < len(times) else None
                if time is None:
                    raise ValueError("it does not contain the times of its frames")
                first = time if count == 0 else first
                if time - first <= last:
                    raise ValueError("the time does not increase from the frame before")
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


def _stream(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise ValueError("it has no pictures")
    return container.streams.video[0]


def _times_in_order(container: InputContainer) -> list[float] | None:
    """Times at which frames are shown [s], if the file assigns its times to the wrong frames; otherwise None.

    AVI files have times in storage order only. B-frames are stored after a later frame that they depend on, so they get
    the wrong times. The decoder returns frames in display order.
    """
    stream = _stream(container)
    if not stream.codec_context.has_b_frames or stream.time_base is None:
        return None
    times: list[float] = []
    for packet in container.demux(stream):
        if not packet.size:  # the end, or a dropped frame
            continue
        if packet.pts is None or (times and packet.pts * stream.time_base <= times[-1]):
            return None
        times.append(float(packet.pts * stream.time_base))
    return times
