"""Windows: sections of equal length of the sequences of a corpus, for training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from biomechau.corpus.corpus_sequence import UNKNOWN, CorpusSequence, label_mask
from biomechau.corpus.labelled_corpus import LabelledCorpus

# Values of padded frames; other tensors repeat the last frame, so that there are no jumps.
_PADDING = {
    "labels": UNKNOWN,
    "side_labels": UNKNOWN,
    "intensities": UNKNOWN,
    "side_intensities": UNKNOWN,
    "valid": False,
    "image_valid": False,
}
_OPTIONAL = ("image_features", "muscle_forces", "vertices_residual", "side_labels", "intensities", "side_intensities")


class Windows(Dataset[dict[str, Any]]):
    """Windows of ``num_frames`` frames, one every ``stride`` frames of each sequence.

    An item is a dictionary that the default collation of a ``DataLoader`` can batch:

    - ``coefficients`` (T, K) float32, ``labels`` (T, R) int8 and ``valid`` (T,) bool, as in the sequence; with
      ``image_features``, frames without a picture are not valid;
    - ``label_mask`` (T, R) bool, True where the label is known and the frame valid;
    - the tensors in ``optional``, as far as the corpus has them;
    - ``subject`` () int64, index into ``corpus.subjects``;
    - ``sequence_id`` string and ``first_frame`` () int64, where the window begins.

    Sequences are read on first access, and are views of memory-mapped files.

    Args:
        corpus: of the sequences.
        ids: of the sequences to use, in the order of the windows; all of them if not given.
        num_frames: T, length of a window.
        stride: frames from the start of a window to the start of the next; by default ``num_frames``, so that every
            frame appears once.
        tail: what to do with frames at the end of a sequence that do not fill a window. ``"pad"`` gives them a window
            of their own, padded with frames that repeat the last one, are not valid and have no known label. ``"drop"``
            leaves them out, as well as sequences shorter than a window.
        optional: which of ``image_features``, ``muscle_forces``, ``vertices_residual``, ``side_labels``,
            ``intensities`` and ``side_intensities`` to include.

    Raises:
        ValueError: the corpus does not have an id, a length is below 1, there are no windows, or an option is unknown.
    """

    def __init__(
        self,
        corpus: LabelledCorpus,
        ids: Iterable[str] | None = None,
        num_frames: int = 32,
        stride: int | None = None,
        tail: Literal["pad", "drop"] = "pad",
        optional: Iterable[str] = ("image_features", "muscle_forces"),
    ) -> None:
        stride = num_frames if stride is None else stride
        if num_frames < 1 or stride < 1:
            raise ValueError(f"num_frames and stride must be at least 1, got {num_frames} and {stride}")
        if tail not in ("pad", "drop"):
            raise ValueError(f"tail must be 'pad' or 'drop', got {tail!r}")
        optional = tuple(optional)
        for name in optional:
            if name not in _OPTIONAL:
                raise ValueError(f"optional must name some of {', '.join(_OPTIONAL)}, got {name!r}")
        ids = corpus.ids if ids is None else tuple(ids)
        lengths = {entry.id: entry.frames for entry in corpus.manifest.sequences}
        unknown = [id for id in ids if id not in lengths]
        if unknown:
            raise ValueError(f"{corpus.path} has no sequence {unknown[0]!r}")
        self.corpus = corpus
        self.num_frames = num_frames
        self._names = ("coefficients", "labels", "valid", *(name for name in optional if name in corpus.tensor_names))
        self._starts = [
            (id, first)
            for id in ids
            for first in window_starts(lengths[id], num_frames, stride, drop_tail=tail == "drop")
        ]
        if not self._starts:
            raise ValueError(f"no window of {num_frames} frames in {len(ids)} sequences of {corpus.path}")
        self._subjects = {subject: index for index, subject in enumerate(corpus.subjects)}
        self._read: dict[str, CorpusSequence] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        id, first = self._starts[index]
        if id not in self._read:
            self._read[id] = self.corpus[id]
        sequence = self._read[id]
        item: dict[str, Any] = {name: self._cut(name, sequence.tensors[name], first) for name in self._names}
        if "image_features" in self._names and sequence.image_valid is not None:
            item["valid"] &= self._cut("image_valid", sequence.image_valid, first)
        item["label_mask"] = label_mask(item["labels"], item["valid"])
        item["subject"] = torch.tensor(self._subjects[sequence.subject])
        item["sequence_id"] = id
        item["first_frame"] = torch.tensor(first)
        return item

    def __getstate__(self) -> dict[str, Any]:
        # Workers of a DataLoader map the files themselves.
        return {**self.__dict__, "_read": {}}

    def _cut(self, name: str, tensor: Tensor, first: int) -> Tensor:
        cut = tensor[first : first + self.num_frames]
        missing = self.num_frames - len(cut)
        if not missing:
            return cut.clone()
        last = torch.full_like(cut[-1:], _PADDING[name]) if name in _PADDING else cut[-1:]
        return torch.cat([cut, last.expand(missing, *last.shape[1:])])


def window_starts(length: int, num_frames: int, stride: int, drop_tail: bool) -> range:
    """First frame of each window of a sequence.

    >>> list(window_starts(10, 4, 4, drop_tail=True)), list(window_starts(10, 4, 4, drop_tail=False))
    ([0, 4], [0, 4, 8])
    """
    if drop_tail:
        return range(0, length - num_frames + 1, stride)
    # The last window is the first one that reaches the end: later ones would have no new frames.
    last = -(-max(length - num_frames, 0) // stride) * stride
    return range(0, min(last + 1, length), stride)
