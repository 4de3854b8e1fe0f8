"""Finds and reads the pictures of the frames of a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biomechau.corpus.datasets.findings import frame_ranges
from biomechau.corpus.datasets.folder import by_name, find_folder
from biomechau.corpus.datasets.images import frame_images
from biomechau.corpus.picture_file import read_picture
from biomechau.corpus.protocols import DISFA
from biomechau.corpus.video import VIDEO_ENDINGS, read_video

if TYPE_CHECKING:
    from biomechau.corpus.corpus import Corpus
    from biomechau.corpus.corpus_sequence import CorpusSequence


@dataclass(frozen=True)
class SequencePictures:
    """The pictures of one sequence, T frames.

    Attributes:
        place: the folder or the video; None if there is neither.
        numbers: (T,) number of each frame, its time multiplied by the frame rate.
        frames: the picture of each frame: its file, its position in the video from 0, or None if there is none.
    """

    place: Path | None
    numbers: tuple[int, ...]
    frames: tuple[Path | int | None, ...]

    def without(self, wanted: NDArray[np.bool_]) -> str:
        """Which of the wanted frames (T,) have no picture, in words; empty if all have one."""
        lacking = [
            n for n, frame, want in zip(self.numbers, self.frames, wanted, strict=True) if want and frame is None
        ]
        if not lacking:
            return ""
        where = "neither a folder of images nor a video" if self.place is None else f"no picture in {self.place}"
        return f"{len(lacking)} labelled frames have {where} ({frame_ranges(lacking)})"

    def read(self, faults: list[str] | None = None) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Read the available pictures.

        Args:
            faults: a list for error messages; if given, files that cannot be read are left out and described there.

        Returns:
            The frame, from 0, and its picture (H, W, 3), red, green, blue; in the order of the frames.

        Raises:
            ImportError: pillow, or for videos PyAV, is not installed.
            ValueError: a picture or a video is broken, and ``faults`` is not given; the message names it.
            OSError: a file cannot be read.
        """
        for index, picture in self._read_video(faults) if self.place and self.place.is_file() else self._read_files():
            if isinstance(picture, ValueError):
                if faults is None:
                    raise picture
                faults.append(str(picture))
            else:
                yield index, picture

    def _read_files(self) -> Iterator[tuple[int, NDArray[np.uint8] | ValueError]]:
        for index, path in enumerate(self.frames):
            if isinstance(path, Path):
                try:
                    yield index, read_picture(path)
                except ValueError as error:
                    yield index, error

    def _read_video(self, faults: list[str] | None) -> Iterator[tuple[int, NDArray[np.uint8] | ValueError]]:
        assert self.place is not None
        wanted = {frame: index for index, frame in enumerate(self.frames)}
        last = -1
        try:
            for frame in read_video(self.place):
                last = frame.number
                if frame.number in wanted:
                    yield wanted.pop(frame.number), frame.picture
                if not wanted:
                    return
        except ValueError as error:
            yield -1, error
            return
        lacking = sorted(self.numbers[index] for index in wanted.values())
        yield (
            -1,
            ValueError(
                f"{self.place}: it ends after {last + 1} pictures, which leaves out {len(lacking)} frames "
                f"({frame_ranges(lacking)})"
            ),
        )


def find_pictures(corpus: Corpus, root: str | Path, sequence: CorpusSequence) -> SequencePictures:
    """Find the pictures of a sequence below a root folder.

    They are either files in the folder ``<sequence id>``, ``<subject>/<task>`` (as in BP4D) or ``<subject>`` (as in
    DISFA), named by their numbers with or without leading zeros, or the frames of the video ``<sequence id>.avi``
    (``.mp4``, ...) or, as in DISFA, ``Videos_LeftCamera/LeftVideoSN001_comp.avi``. Case is ignored.

    The number of a frame is its time multiplied by the frame rate; for BP4D and DISFA, that is its number in the
    labels. If frames count from 0 but there is no picture 0 and one more at the end, pictures count from 1. The first
    frame of a video is frame 1 for DISFA, and frame 0 otherwise.

    Raises:
        ValueError: two pictures of one frame.
        OSError: a folder cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise NotADirectoryError(f"no such folder: {root}")
    numbers = tuple(round(time * corpus.fps) for time in sequence.timestamp.tolist())
    names = [sequence.id, f"{sequence.subject}/{sequence.task}", *([] if sequence.task else [sequence.subject])]
    if folder := find_folder(root, *names):
        images = frame_images(folder)
        first = int(numbers[0] == 0 and 0 not in images and numbers[-1] + 1 in images)
        return SequencePictures(folder, numbers, tuple(images.get(number + first) for number in numbers))
    if video := _find_video(root, sequence):
        first = int(corpus.provenance.get("source") == DISFA.name)
        return SequencePictures(video, numbers, tuple(number - first for number in numbers))
    return SequencePictures(None, numbers, (None,) * len(numbers))


def _find_video(root: Path, sequence: CorpusSequence) -> Path | None:
    folder = find_folder(root, "Videos_LeftCamera", "Video_LeftCamera", "") or root
    stems = {sequence.id.casefold(), f"leftvideo{sequence.subject}_comp".casefold()}
    for path in by_name(folder):
        if path.suffix.lower() in VIDEO_ENDINGS and path.stem.casefold() in stems:
            return path
    return None
