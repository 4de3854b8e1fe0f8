"""Packets that the app Live Link Face sends over UDP, one per frame.

Layout, all numbers big-endian: version (1 byte, 6), device and subject (each a 32-bit length and UTF-8), frame time
(frame number, 32 bits; fraction of a frame, float32; frames per second as numerator and denominator, 32 bits each),
number of values (1 byte, 61) and the values, float32, in the order of the app's CSV files. Without a face the values
are missing.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biomechau.corpus.channel_names import POSE
from biomechau.corpus.face_sequence import LARGEST_COEFFICIENT
from biomechau.file_errors import quote
from biomechau.rig.names import ARKIT_SHAPES

VERSION = 6
CHANNELS = ARKIT_SHAPES
# Bytes of a name, of the frame time, and of the values with their number.
_LONGEST_NAME = 256
_TIME = struct.Struct(">ifii")
_NUM_VALUES = len(CHANNELS) + len(POSE)
_VALUES = 1 + 4 * _NUM_VALUES
LARGEST_PACKET = 1 + 2 * (4 + _LONGEST_NAME) + _TIME.size + _VALUES
# Frames per second that a camera may have, and the largest angle of head and eyes, in whichever unit.
_SLOWEST, _FASTEST = 1.0, 1000.0
_LARGEST_ANGLE = 1000.0


class OtherVersion(ValueError):
    """A packet of another version, which has another layout."""


class LiveLinkPacket(NamedTuple):
    """One frame.

    Attributes:
        device: identifier of the device.
        subject: name of the subject, as set in the app.
        frame: number of the frame, as in the timecode.
        fps: frames per second.
        time: of the frame by the clock of the device [s].
        values: (52,) float32 of :data:`CHANNELS`; None where the app sees no face.
        pose: (9,) float32, angles of head and eyes; None where the app sees no face.
    """

    device: str
    subject: str
    frame: int
    fps: float
    time: float
    values: NDArray[np.float32] | None
    pose: NDArray[np.float32] | None

    @classmethod
    def decode(cls, data: bytes) -> LiveLinkPacket:
        """The packet in the bytes of a datagram. Nothing about them is trusted: every length and value is checked.

        Raises:
            OtherVersion: another version than 6.
            ValueError: not such a packet; the message says what is wrong.
        """
        if not data:
            raise ValueError("an empty packet")
        if data[0] != VERSION:
            raise OtherVersion(f"a packet of version {data[0]}, expected {VERSION}")
        device, start = _name(data, 1, "device")
        subject, start = _name(data, start, "subject")
        rest = len(data) - start
        if rest not in (_TIME.size, _TIME.size + 1, _TIME.size + _VALUES):
            raise ValueError(f"a packet with {rest} bytes after its names, expected {_TIME.size + _VALUES}")
        frame, fraction, numerator, denominator = _TIME.unpack_from(data, start)
        if frame < 0 or not 0 <= fraction <= 1:
            raise ValueError(f"frame {frame} and {fraction:g}: expected a number and a fraction, not negative")
        if numerator <= 0 or denominator <= 0 or not _SLOWEST <= numerator / denominator <= _FASTEST:
            raise ValueError(f"{numerator}/{denominator} frames per second, expected {_SLOWEST:g} to {_FASTEST:g}")
        values, pose = _values(data[start + _TIME.size :])
        time = (frame + fraction) * denominator / numerator
        return cls(device, subject, frame, numerator / denominator, time, values, pose)


def _name(data: bytes, start: int, what: str) -> tuple[str, int]:
    """A name with its length before it, and where it ends."""
    if len(data) < start + 4:
        raise ValueError(f"a packet of {len(data)} bytes, which ends before the name of its {what}")
    length = int.from_bytes(data[start : start + 4], "big", signed=True)
    end = start + 4 + length
    if not 0 <= length <= _LONGEST_NAME or end > len(data):
        raise ValueError(f"the name of the {what} has {length} bytes in a packet of {len(data)}")
    try:
        return data[start + 4 : end].decode(), end
    except UnicodeDecodeError:
        raise ValueError(f"the name of the {what} is not UTF-8: {quote(data[start + 4 : end])}") from None


def _values(data: bytes) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Coefficients and angles, after their number; None and None if there are none."""
    count = data[0] if data else 0
    if count not in (0, _NUM_VALUES) or len(data) not in (0, 1 + 4 * count):
        raise ValueError(f"{count} values in {len(data)} bytes, expected {_NUM_VALUES}")
    if not count:
        return None, None
    found = np.frombuffer(data, ">f4", count, 1).astype(np.float32)
    values, pose = np.split(found, [len(CHANNELS)])
    for part, names, most in ((values, CHANNELS, LARGEST_COEFFICIENT), (pose, POSE, _LARGEST_ANGLE)):
        wrong = ~(np.abs(part) <= most)  # also true of NaN
        if wrong.any():
            index = int(wrong.argmax())
            raise ValueError(f"{names[index]} is {part[index]:g}, expected a number of at most {most:g} in size")
    # The app sends zeros while it looks for a face.
    return (values, pose) if values.any() else (None, None)
