"""The neutral face of a person, from what was recorded of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biomechau.corpus.face_sequence import FaceSequence
from biomechau.corpus.labelled_corpus import LabelledCorpus
from biomechau.physics.neutral import neutral_coefficients
from biomechau.rig import FaceRig

# A percentile over less than this [s] takes a held expression for rest.
SHORTEST = 30.0
_MEDIAN = 50.0


@dataclass(frozen=True, eq=False)
class NeutralSource:
    """Which frames tell a person's neutral face: those in which the face rests, or a low percentile of all.

    Attributes:
        percentile: of each coefficient over the frames; None for their median, where they are known to be at rest.
        recordings: of the person; the recording itself if there are none.
        frames: first and last frame at rest, as numbered in the recording; all if not given.
    """

    percentile: float | None = None
    recordings: tuple[FaceSequence, ...] = ()
    frames: tuple[int, int] | None = None

    def neutral(self, sequence: FaceSequence, rig: FaceRig) -> Tensor:
        """The neutral face (K,) of the person of a recording, in coefficients of a rig.

        Raises:
            ValueError: no face was found in the frames, or they go beyond the end; the message names the recording.
        """
        found = []
        for recording in self.recordings or (sequence,):
            recorded = recording.recorded
            last = int(recorded.recorded_frame.max())
            if self.frames is not None and self.frames[1] > last:
                first, end = self.frames
                raise ValueError(
                    f"{recording.name}: the face should rest in the frames {first} to {end}, but the recording ends at "
                    f"frame {last}"
                )
            found.append(recorded.coefficients[self._chosen(recorded)] @ rig.map_channels(recorded.channels).matrix)
        frames = torch.cat(found)
        if not len(frames):
            names = ", ".join(recording.name for recording in self.recordings or (sequence,))
            where = "any frame" if self.frames is None else f"the frames {self.frames[0]} to {self.frames[1]}"
            raise ValueError(f"{names}: no face in {where}, so there is no neutral face")
        return neutral_coefficients(frames, _MEDIAN if self.percentile is None else self.percentile)

    def seconds(self, sequence: FaceSequence) -> float:
        """Length of the frames with a face that it takes [s]."""
        recordings = [recording.recorded for recording in self.recordings or (sequence,)]
        return sum(float(self._chosen(recorded).sum()) / recorded.fps for recorded in recordings)

    def doubt(self, sequence: FaceSequence) -> str:
        """Why not to trust a percentile of so few frames; empty where nothing is known against it."""
        if self.percentile is None or (seconds := self.seconds(sequence)) >= SHORTEST:
            return ""
        return (
            f"the neutral face is the percentile {self.percentile:g} of {seconds:.1f} s: below {SHORTEST:g} s it takes "
            "expressions for rest; say where the face rests (--neutral-frames, --neutral-from), or give analyze more "
            "recordings of the person"
        )

    def words(self) -> str:
        """Where the neutral face is from, for the summary."""
        which = "median" if self.percentile is None else f"percentile {self.percentile:g}"
        where = "" if self.frames is None else f"the frames {self.frames[0]} to {self.frames[1]} of "
        names = ", ".join(recording.name for recording in self.recordings)
        return f"{which} of {where}{names or 'the recording'}"

    def _chosen(self, recorded: FaceSequence) -> Tensor:
        """(T,) the frames that count."""
        if self.frames is None:
            return recorded.valid
        number = recorded.recorded_frame
        return recorded.valid & (number >= self.frames[0]) & (number <= self.frames[1])


def subject_neutral(corpus: LabelledCorpus, subject: str, percentile: float | None) -> Tensor:
    """The neutral face (K,) of a subject over all their sequences in the corpus; zeros without a percentile.

    Raises:
        ValueError: no frame of the subject is valid.
    """
    if percentile is None:
        return torch.zeros(len(corpus.shapes))
    sequences = [corpus[id] for id in corpus.ids_of([subject])]
    frames = torch.cat([sequence.coefficients[sequence.valid] for sequence in sequences])
    if not len(frames):
        raise ValueError(f"{corpus.path}: no frame of subject {subject!r} is valid, so there is no neutral face")
    return neutral_coefficients(frames, percentile)
