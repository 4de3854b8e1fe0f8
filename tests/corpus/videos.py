"""Videos made frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

# The matrix of an MP4 track that is shown as it is, and of one that is shown turned clockwise, as of an upright phone.
_IDENTITY = bytes.fromhex("00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000")
_CLOCKWISE = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000 00000000 00000000 00000000 40000000")


def write_video(
    path: Path,
    times: Sequence[float],
    upright: bool = True,
    rate: int = 25,
    codec: str = "mpeg4",
    backward_frames: int = 0,
) -> Path:
    """Frame n, 64 wide and 48 high, is shown at times[n] [s]; it is 10 n grey, with a red upper left corner.

    Of ``backward_frames`` in a row each is stored after the frame that follows them.
    """
    unit = Fraction(1, rate if path.suffix == ".avi" else 1000)  # AVI fills every unit of time with a frame
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 2_000_000
        stream.codec_context.max_b_frames = backward_frames
        stream.time_base = stream.codec_context.time_base = unit
        for number, time in enumerate(times):
            picture = np.full((48, 64, 3), 10 * number % 256, np.uint8)
            picture[:16, :16] = (255, 0, 0)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if not upright:
        data = path.read_bytes()
        place = data.rindex(_IDENTITY)  # of the track; the first is the whole file's
        path.write_bytes(data[:place] + _CLOCKWISE + data[place + len(_CLOCKWISE) :])
    return path
