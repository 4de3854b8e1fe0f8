"""Quality: how far each frame of a result can be trusted, estimated from the recording itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biomechau.corpus import FaceSequence

Floats = npt.NDArray[np.float64]

# Near a gap, smoothing and differences use frames that were filled in [s].
_REACH = 0.1
# Quality of a measured frame next to a gap.
_AT_GAP = 0.5
# Least motion that a residual is compared with, so that it hardly counts while the face is at rest [mm].
_FLOOR = 1.0
# Coefficients from here on are saturated: trackers clip them at 1.
_FULL = 0.999

QUALITY = (
    "0 to 1: the product of the tracker's confidence (if the file has it), 1 minus the share of the motion that the "
    "forces leave unexplained, 0.5 to 1 within 0.1 s of frames that were not measured, and 1 minus half "
    "of the share of the activation in saturated channels; 0 where no face was measured"
)


def frame_quality(sequence: FaceSequence, motion: Floats, residual: Floats | None) -> Floats:
    """How far each frame can be trusted, 0 to 1; see :data:`QUALITY`.

    Args:
        sequence: the recording on the grid of the result.
        motion: (T,) displacement from the neutral face, root mean square over the face [mm].
        residual: (T,) displacement that the forces leave unexplained [mm]; None if there are no forces.

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
    """(T,) from ``_AT_GAP`` next to a frame that is not valid to 1 at a distance of ``_REACH``."""
    lost = timestamp[~valid]
    if not len(lost):
        return np.ones(len(timestamp))
    after = np.searchsorted(lost, timestamp).clip(0, len(lost) - 1)
    before = (after - 1).clip(0)
    distance = np.minimum(np.abs(timestamp - lost[before]), np.abs(lost[after] - timestamp))
    return _AT_GAP + (1.0 - _AT_GAP) * np.clip(distance / _REACH, 0.0, 1.0)


def _unsaturated(coefficients: Floats) -> Floats:
    """(T,) 1 minus half of the share of each frame's activation in saturated channels; 1 at rest."""
    size = np.abs(coefficients)
    full = np.where(size >= _FULL, size, 0.0).sum(1)
    return 1.0 - 0.5 * full / np.maximum(size.sum(1), 1.0)
