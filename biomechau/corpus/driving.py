"""From the channels of a recording to the shapes of a rig, at the frame rate of a model."""

from __future__ import annotations

from torch import Tensor

from biomechau.corpus.face_sequence import FaceSequence
from biomechau.rig import FaceRig
from biomechau.rig.names import ChannelMap, shortened


def drive(sequence: FaceSequence, rig: FaceRig, fps: float) -> tuple[FaceSequence, ChannelMap, Tensor]:
    """A recording on an even grid, how its channels drive the shapes of a rig, and the coefficients (T, K) they give.

    Raises:
        ValueError: no channel drives a shape, or fewer than 3 frames at this rate.
    """
    sequence = sequence.resample(fps)
    if len(sequence) < 3:
        raise ValueError(f"{sequence.name}: expected at least 3 frames at {fps:g} fps, found {len(sequence)}")
    channels = rig.map_channels(sequence.channels)
    if not channels.matrix.any():
        raise ValueError(
            f"{sequence.name}: none of its {len(sequence.channels)} channels drives a shape of the rig; "
            f"channels {shortened(sequence.channels)}, shapes {shortened(rig.names)}; a table with the columns channel,"
            " shape, weight says which drives which (--channels MAP.csv)"
        )
    return sequence, channels, sequence.coefficients @ channels.matrix
