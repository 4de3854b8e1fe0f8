"""Packets as the app Live Link Face sends them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np


def packet(
    values: Sequence[float] | np.ndarray | None,
    frame: int = 5_373_215,
    fraction: float = 0.25,
    rate: tuple[int, int] = (60, 1),
    device: str = "6B2C1A0E-8C1D-4B52-9B55-0C51C1D0F3A1",
    subject: str = "iPhone",
    version: int = 6,
) -> bytes:
    """One packet; 52 values are followed by nine angles of 0, None is a frame without a face."""
    names = b"".join(struct.pack(">i", len(name.encode())) + name.encode() for name in (device, subject))
    time = struct.pack(">ifii", frame, fraction, *rate)
    if values is None:
        return bytes([version]) + names + time
    values = np.asarray(values, dtype=float)
    values = np.pad(values, (0, 9)) if len(values) == 52 else values
    return bytes([version]) + names + time + struct.pack(f">B{len(values)}f", len(values) % 256, *values)
