"""Quality: how far each frame of a result can be trusted, from what the recording itself tells."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biomechau.corpus import FaceSequence

Floats = npt.NDArray[np.float64]

# Beside a gap, smoothing and differences reach into frames that were filled in [s].
_REACH = 0.1
# Quality of a measured frame right beside a gap.
_AT_GAP = 0.5
# A residual of this size hardly counts where the face hardly moves [mm].
_FLOOR = 1.0
# A tracker's scores end at 1, whatever the face does.
_FULL = 0.999

QUALITY = (
    "0 to 1: the product of the tracker's confidence (where the file has it), 1 less the share of the motion that the "
    "forces leave unexplained, 0.5 to 1 within 0.1 s of frames that were not recorded, and 1 less half "
    "of the share of the activation in channels that are at their upper end; 0 where no face was recorded"
)


def frame_quality(sequence: FaceSequence, motion: Floats, residual: Floats | None) -> Floats:
    """How far each frame can be trusted, 0 to 1; what goes into it is said by :data:`QUALITY`.

    Args:
        sequence: the recording on the grid of the result.
        motion: (T,) displacement from the neutral face, root mean square over the face [mm].
        residual: (T,) that of what the forces leave unexplained [mm]; None where there are no forces.

    Returns:
        (T,) float64 in [0, 1].
    """
    valid = sequence.valid.numpy()
    quality = _beside_gaps(sequence.timestamp.numpy(), valid) * _unsaturated(sequence.coefficients.double().numpy())
    if sequence.confidence is not None:
        quality *= sequence.confidence.double().numpy()
    if residual is not None:
        quality *= 1.0 - np.clip(residual / np.maximum(motion, _FLOOR), 0.0, 1.0)
    return np.where(valid, quality, 0.0)


def _beside_gaps(timestamp: Floats, valid: npt.NDArray[np.bool_]) -> Floats:
    """(T,) from ``_AT_GAP`` right beside a frame that is not valid to 1 at a distance of ``_REACH``."""
    lost = timestamp[~valid]
    if not len(lost):
        return np.ones(len(timestamp))
    after = np.searchsorted(lost, timestamp).clip(0, len(lost) - 1)
    before = (after - 1).clip(0)
    distance = np.minimum(np.abs(timestamp - lost[before]), np.abs(lost[after] - timestamp))
    return _AT_GAP + (1.0 - _AT_GAP) * np.clip(distance / _REACH, 0.0, 1.0)


def _unsaturated(coefficients: Floats) -> Floats:
    """(T,) 1 less half of the share of each frame's activation in channels at their upper end; 1 at rest."""
    size = np.abs(coefficients)
    full = np.where(size >= _FULL, size, 0.0).sum(1)
    return 1.0 - 0.5 * full / np.maximum(size.sum(1), 1.0)
