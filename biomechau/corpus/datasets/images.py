"""The images and videos of a data set, and their consistency with the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from biomechau.corpus.datasets.bp4d import BP4DFolder
from biomechau.corpus.datasets.disfa import DISFAFolder
from biomechau.corpus.datasets.findings import Finding, frame_ranges
from biomechau.corpus.datasets.folder import LabelledSequence, by_name
from biomechau.corpus.frame_columns import LARGEST_FRAME

_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


def frame_images(folder: Path) -> dict[int, Path]:
    """The images of a folder that are named by frame numbers, with or without leading zeros, in increasing order.

    Raises:
        ValueError: two images have the same number, or a number is too large; the message names the files.
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


def check_images(dataset: BP4DFolder | DISFAFolder, root: Path) -> list[Finding]:
    """Compare the images below a root folder with the labels, frame by frame.

    Raises:
        ValueError: no label files.
        OSError: a folder cannot be read.
    """
    return [finding for sequence in dataset.find()[0] for finding in _check_folder(dataset, root, sequence)]


def check_videos(dataset: DISFAFolder, root: Path) -> list[Finding]:
    """Find the subjects without a video of the left camera below a root folder.

    Raises:
        ValueError: no label files.
        OSError: a folder cannot be read.
    """
    missing = [sequence.id for sequence in dataset.find()[0] if dataset.video(root, sequence) is None]
    return [Finding(id, f"no video below {root}") for id in missing]


def _check_folder(dataset: BP4DFolder | DISFAFolder, root: Path, sequence: LabelledSequence) -> list[Finding]:
    folder = dataset.image_folder(root, sequence)
    if folder is None:
        return [Finding(sequence.id, f"no images below {root}")]
    try:
        images = np.array(list(frame_images(folder)), np.int64)
        labels = dataset.read_labels(sequence).frame
    except ValueError as error:
        return [Finding(sequence.id, str(error), fault=True)]
    findings = []
    for numbers, words in (
        (np.setdiff1d(labels, images), "labelled frames without an image"),
        (np.setdiff1d(images, labels), "images without a label"),
    ):
        if len(numbers):
            findings.append(Finding(sequence.id, f"{words}: {len(numbers)} ({frame_ranges(numbers)})"))
    return findings
