"""The training objectives (Eq. 13-17) over frames that may be masked; if none is left they are 0, never NaN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import torch
from torch import Tensor
from torch.nn import functional

from biomechau.models.detector_config import LossWeights
from biomechau.physics.dynamics import FaceDynamics
from biomechau.physics.inverse import required_force
from biomechau.physics.smoothing import whittaker_masked

# The least strength of a muscle in the loss on true forces, root mean square [unit of FaceDynamics].
_WEAK = 0.1


def total_loss(terms: Mapping[str, Tensor], weights: LossWeights) -> Tensor:
    """L = lambda_3d L_3d + lambda_au L_au + lambda_c L_clean + lambda_s L_smooth (Eq. 17), over the terms given.

    Args:
        terms: scalars by the names of the weights; terms of weight 0 are ignored, even if they are not finite.
        weights: lambda.

    Raises:
        ValueError: no terms, or a term without a weight.
    """
    unknown = [name for name in terms if name not in {field.name for field in fields(weights)}]
    if unknown or not terms:
        raise ValueError(f"terms must be some of {', '.join(f.name for f in fields(weights))}, got {list(terms)}")
    used = [weight * term for name, term in terms.items() if (weight := getattr(weights, name)) > 0]
    return torch.stack(used).sum() if used else 0 * next(iter(terms.values())).detach()


def reconstruction_loss(
    c: Tensor, reconstructed: Tensor, scale: Tensor | None = None, valid: Tensor | None = None
) -> Tensor:
    """L_3d = 1/T sum_t |c(t) - c~(t)|^2 (Eq. 13), the mean over all valid frames of all sequences.

    With a scale, the squared norm is replaced by 1/K sum_k ((c_k - c~_k) / scale_k)^2, so that no shape dominates.

    Args:
        c: coefficients, (..., T, K).
        reconstructed: c~ of the same shape.
        scale: (K,) positive, about the standard deviation of each coefficient.
        valid: (..., T) bool, frames that count; all if not given.

    Raises:
        TypeError, ValueError: tensors of the wrong dtype or shape.
    """
    _check_shape("reconstructed", reconstructed, tuple(c.shape))
    error = _masked(c - reconstructed, valid)
    if scale is None:
        return _mean(error.square().sum(-1), valid)
    _check_shape("scale", scale, tuple(c.shape[-1:]))
    return _mean((error / scale).square().mean(-1), valid)


def action_unit_loss(
    logits: Tensor,
    labels: Tensor,
    valid: Tensor | None = None,
    positive_weights: Tensor | None = None,
    class_weights: Tensor | None = None,
) -> Tensor:
    """L_au = -1/(T R) sum_t sum_r [y log p + (1 - y) log(1 - p)], p = sigmoid(logit) (Eq. 14 with its minus sign).

    The mean runs over the known labels of valid frames.

    Args:
        logits: (..., T, R).
        labels: y, same shape, any number type: 1 on, 0 off, -1 unknown.
        valid: (..., T) bool, frames that count; all if not given.
        positive_weights: (R,), factor of the terms with y = 1, so that rare units are not ignored.
        class_weights: (R,), factor of each unit, not normalised.

    Raises:
        TypeError, ValueError: tensors of the wrong dtype or shape, or a label other than these.
    """
    _check_shape("labels", labels, tuple(logits.shape))
    for name, weights in (("positive_weights", positive_weights), ("class_weights", class_weights)):
        if weights is not None:
            _check_shape(name, weights, tuple(logits.shape[-1:]))
    wrong = (labels != 0) & (labels != 1) & (labels != -1)
    if bool(wrong.any()):
        index = wrong.nonzero()[0].tolist()
        raise ValueError(f"labels must be 1, 0 or -1 (unknown), got {labels[tuple(index)].item()} at {index}")
    known = labels >= 0
    if valid is not None:
        _check_valid(valid, logits.shape[:-1])
        known = known & valid[..., None]
    # Masked before the logarithm, so that a broken frame causes no NaN in the gradient.
    entropy = functional.binary_cross_entropy_with_logits(
        logits.masked_fill(~known, 0),
        labels.clamp_min(0).to(logits.dtype),
        reduction="none",
        pos_weight=positive_weights,
    )
    if class_weights is not None:
        entropy = entropy * class_weights
    return _mean(entropy.masked_fill(~known, 0), known)


def side_loss(
    side_logits: Tensor,
    side_labels: Tensor,
    valid: Tensor | None = None,
    positive_weights: Tensor | None = None,
    class_weights: Tensor | None = None,
) -> Tensor:
    """As :func:`action_unit_loss`, for the action units of the left and the right side.

    Args:
        side_logits: (..., T, R, 2).
        side_labels: same shape: 1 on, 0 off, -1 unknown.
        valid, positive_weights, class_weights: as there.

    Raises:
        TypeError, ValueError: as there.
    """
    _check_shape("side_labels", side_labels, tuple(side_logits.shape))
    weights = (None if each is None else each.repeat_interleave(2) for each in (positive_weights, class_weights))
    return action_unit_loss(side_logits.flatten(-2), side_labels.flatten(-2), valid, *weights)


def intensity_loss(intensities: Tensor, coded: Tensor, valid: Tensor | None = None) -> Tensor:
    """The mean squared error of intensities over those that are known in valid frames [intensity^2].

    Args:
        intensities: (..., T, I).
        coded: same shape, from 0 to 5, -1 unknown.
        valid: (..., T) bool, frames that count; all if not given.

    Raises:
        TypeError, ValueError: tensors of the wrong dtype or shape.
    """
    _check_shape("coded", coded, tuple(intensities.shape))
    known = coded >= 0
    if valid is not None:
        _check_valid(valid, intensities.shape[:-1])
        known = known & valid[..., None]
    return _mean((intensities - coded.to(intensities.dtype)).masked_fill(~known, 0).square(), known)


def clean_loss(forces: Tensor, valid: Tensor | None = None, vector: bool = False) -> Tensor:
    """L_clean = 1/M sum_m |F_m|_1 (Eq. 15), the mean over all valid frames.

    Args:
        forces: (..., T, M), or (..., T, M, 3) with ``vector``.
        valid: (..., T) bool, frames that count; all if not given.
        vector: forces are 3-vectors.

    Raises:
        TypeError, ValueError: tensors of the wrong dtype or shape.
    """
    forces = _frames_first(forces, vector)
    per_muscle = _masked(forces, valid).abs().sum(-1) / (forces.shape[-1] // (3 if vector else 1))
    return _mean(per_muscle, valid)


def smoothness_loss(forces: Tensor, valid: Tensor | None = None, vector: bool = False) -> Tensor:
    """L_smooth = 1/T sum_{t=2}^T |F(t) - F(t-1)|^2 (Eq. 16), the mean over all sequences.

    As printed, T - 1 terms are divided by T. Steps to or from a frame that is not valid are left out, and T is the
    number of valid frames.

    Args:
        forces, valid, vector: as for :func:`clean_loss`.

    Raises:
        TypeError, ValueError: tensors of the wrong dtype or shape.
    """
    forces = _frames_first(forces, vector)
    steps = _masked(forces, valid).diff(dim=-2).square().sum(-1)
    if valid is not None:
        steps = steps.masked_fill(~(valid[..., 1:] & valid[..., :-1]), 0)
    num_frames = torch.tensor(forces.shape[:-1].numel()) if valid is None else valid.sum()
    return steps.sum() / num_frames.clamp_min(1)


def slack_loss(slack: Tensor, valid: Tensor | None = None) -> Tensor:
    """1/K sum_k s_k^2 of a slack (..., T, K) in units of the coefficients' spread, the mean over all valid frames.

    Raises:
        TypeError, ValueError: tensors of the wrong dtype or shape.
    """
    return _mean(_masked(slack, valid).square().mean(-1), valid)


def inverse_dynamics_loss(
    dynamics: FaceDynamics,
    force: Tensor,
    c: Tensor,
    scale: Tensor,
    valid: Tensor | None = None,
    cutoff: float | None = None,
) -> Tensor:
    """1/K sum_k (d_k / scale_k)^2 with d = K^-1 (M c'' + D c' + K c - Q), the mean over all valid frames.

    d is the static displacement that the error of the generalized force Q would cause, frame by frame and so without
    the drift of a rollout. Under the law ``newton`` M^-1, in unit accelerations, takes the place of K^-1.

    Args:
        dynamics: the model.
        force: Q, (..., T, K').
        c: coefficients, (..., T, K'), T >= 3, finite.
        scale: (K',) positive, about the standard deviation of each coefficient.
        valid: (..., T) bool, frames that count; all if not given.
        cutoff: of the low-pass filter of c before differentiation [Hz], see
            :func:`biomechau.physics.smoothing.whittaker_masked`; None: off.

    Raises:
        TypeError, ValueError: tensors of the wrong dtype or shape, or as :func:`biomechau.physics.required_force`.
    """
    _check_shape("force", force, tuple(c.shape))
    _check_shape("scale", scale, tuple(c.shape[-1:]))
    motion = c.detach()
    if cutoff is not None:
        motion = whittaker_masked(motion, cutoff, dynamics.config.fps, valid)
    missing = _masked(required_force(dynamics, motion) - force, valid)
    displacement = missing @ dynamics.compliance
    return _mean((displacement / scale).square().mean(-1), valid)


def force_loss(forces: Tensor, truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """1/M sum_m |F_m - T_m|^2 / |T_m|^2, over all valid frames together.

    The error of each muscle's force as a share of the true one, so that weak muscles count as much as strong ones; a
    muscle that hardly pulls counts as one of 0.1. Muscles whose true force is unknown do not count.

    Args:
        forces: (..., T, M) [unit of ``FaceDynamics``].
        truth: T of the same shape and unit; NaN where it is unknown.
        valid: (..., T) bool, frames that count; all if not given.

    Raises:
        TypeError, ValueError: tensors of the wrong dtype or shape.
    """
    _check_shape("truth", truth, tuple(forces.shape))
    known = truth.isfinite()
    if valid is not None:
        _check_valid(valid, forces.shape[:-1])
        known = known & valid[..., None]
    found, true, known = (each.flatten(0, -2) for each in (forces, truth.to(forces.dtype), known))
    error = (found - true).masked_fill(~known, 0).square().sum(0)
    least = _WEAK**2 * known.sum(0)
    energy = true.masked_fill(~known, 0).square().sum(0).maximum(least)
    counted = known.any(0)
    return _mean(error / energy.where(counted, 1), counted)


def _frames_first(forces: Tensor, vector: bool) -> Tensor:
    """(..., T, M) of forces with or without axes."""
    if forces.ndim < 2 + vector or (vector and forces.shape[-1] != 3):
        raise ValueError(f"forces must have shape (..., T, M{', 3' if vector else ''}), got {tuple(forces.shape)}")
    return forces.flatten(-2) if vector else forces


def _masked(value: Tensor, valid: Tensor | None) -> Tensor:
    """value (..., T, K) with 0 in the frames that are not valid, even where it is not finite."""
    if valid is None:
        return value
    _check_valid(valid, value.shape[:-1])
    return value.masked_fill(~valid[..., None], 0)


def _mean(value: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over the valid entries (value is 0 elsewhere), 0 if there are none."""
    count = value.new_tensor(value.numel()) if valid is None else valid.sum()
    return value.sum() / count.clamp_min(1)


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")


def _check_valid(valid: Tensor, shape: torch.Size) -> None:
    if valid.dtype != torch.bool:
        raise TypeError(f"valid must be bool, got {valid.dtype}")
    _check_shape("valid", valid, tuple(shape))
