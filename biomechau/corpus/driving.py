"""Maps the channels of a recording to the shapes of a rig, at the frame rate of a model."""

from __future__ import annotations

from torch import Tensor

from biomechau.corpus.face_sequence import FaceSequence
from biomechau.rig import FaceRig
from biomechau.rig.names import ChannelMap, shortened


def drive(sequence: FaceSequence, rig: FaceRig, fps: float) -> tuple[FaceSequence, ChannelMap, Tensor]:
    """Resample a recording and map its channels to the shapes of a rig.

    Returns:
        The resampled recording, how its channels drive the shapes, and the coefficients of the shapes (T, K).

    Raises:
        ValueError: no channel drives a shape, or there are fewer than 3 frames at this rate.
    """
    sequence = sequence.resample(fps)
    if len(sequence) < 3:
        raise ValueError(
            f"{sequence.name}: too short a recording: expected at least 3 frames at {fps:g} fps, found {len(sequence)}"
        )
    channels = rig.map_channels(sequence.channels)
    if not channels.matrix.any():
        raise ValueError(
            f"{sequence.name}: none of its {len(sequence.channels)} channels drives a shape of the rig; "
            f"channels {shortened(sequence.channels)}, shapes {shortened(rig.names)}; give a table with the columns "
            "channel, shape, weight that says which drives which (--channels MAP.csv)"
        )
    return sequence, channels, sequence.coefficients @ channels.matrix
