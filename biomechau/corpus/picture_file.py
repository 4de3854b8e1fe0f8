"""Reads a picture file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MISSING_PILLOW = 'images need pillow: pip install "biomechau[image]"'
PICTURE_ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture (H, W, 3), red, green, blue, rotated as it is meant to be shown.

    Raises:
        ImportError: pillow is not installed.
        ValueError: not a picture, or a broken one; the message names the file.
        OSError: the file cannot be read.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(MISSING_PILLOW) from error
    with open(path, "rb") as file:  # the system's own error for a missing or locked file
        try:
            with Image.open(file) as image:
                return np.array(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path}: not a picture that can be read: {error}") from error
