"""Images of a sequence by frame number."""

from __future__ import annotations

from pathlib import Path

from biomechau.corpus.datasets.folder import by_name
from biomechau.corpus.frame_columns import LARGEST_FRAME

_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


def frame_images(folder: Path) -> dict[int, Path]:
    """The images of a folder by the number that is their name, whatever zeros are in front, in rising order.

    Raises:
        ValueError: two images of one frame, or a number that is too large; the message names the files.
        OSError: the folder cannot be read.
    """
    images: dict[int, Path] = {}
    for path in by_name(folder):
        if path.suffix.lower() not in _ENDINGS or not (path.stem.isascii() and path.stem.isdecimal()):
            continue
        number = int(path.stem)
        if number > LARGEST_FRAME:
            raise ValueError(f"{path}: the frame number is too large, expected at most {LARGEST_FRAME:,}")
        if number in images:
            raise ValueError(f"{folder}: two images of frame {number}, {images[number].name} and {path.name}")
        images[number] = path
    return dict(sorted(images.items()))
