"""Augmentation of meshes with random identities."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from biomechau.models._distributed import whole_batch
from biomechau.rig.face_rig import FaceRig

# rms of a random face of a rig without identity modes, as a share of the rms radius; ICT-FaceKit's modes make 0.077.
_SPREAD = 0.07


class IdentityAugmentation(nn.Module):
    """u + strength * sum_i w_i V_i in training, with w ~ N(0, 1) of each sequence and the identity modes V of the rig.

    If the face of a mesh differs from its neutral, the displacements contain part of that difference. An encoder that
    was trained on few people takes it for expression, and recognises the people by it. Random numbers are drawn as in
    :class:`biomechau.models._distributed.Dropout`.

    Args:
        rig: the face; if it has no identity modes, smooth random fields are used.
        vertices: (N_in,) int64, vertices of the rig to augment.
        strength: factor of a random identity, > 0.

    Attributes:
        modes: (I, N_in, 3), strength * V [cm].

    Raises:
        ValueError: a strength that is not positive and finite.
    """

    modes: Tensor

    def __init__(self, rig: FaceRig, vertices: Tensor, strength: float) -> None:
        super().__init__()
        if not 0 < strength < math.inf:
            raise ValueError(f"strength must be positive and finite, got {strength}")
        modes = rig.identity if len(rig.identity) else _smooth_fields(rig.neutral.double())
        modes = strength * modes[:, vertices].to(torch.get_default_dtype())
        self.register_buffer("modes", modes, persistent=False)

    @property
    def std(self) -> Tensor:
        """Standard deviation of the augmentation, (N_in, 3) [cm]."""
        return self.modes.square().sum(0).sqrt()

    def forward(self, displacements: Tensor) -> Tensor:
        """u (..., T, N_in, 3) [cm], the same identity in all frames of a sequence; unchanged when not training."""
        if not self.training:
            return displacements
        lead = displacements.shape[:-3] or (1,)
        count, own = whole_batch(lead[0])
        weights = self.modes.new_empty(count, *lead[1:], len(self.modes)).normal_()[own]
        identity = torch.tensordot(weights, self.modes, 1).unsqueeze(-3)
        return displacements + (identity if displacements.ndim > 3 else identity[0])


def _smooth_fields(positions: Tensor) -> Tensor:
    """(87, N, 3) smooth fields, not orthogonal: waves as long as the face or half as long, and slopes.

    Each of the 29 functions is used along x, y and z; with weights N(0, 1) their sum has the rms ``_SPREAD`` times the
    radius.
    """
    centred = positions - positions.mean(0)
    radius = centred.square().sum(1).mean().sqrt()
    scaled = centred / centred.abs().max()
    # One of each pair k and -k.
    waves = [k for k in itertools.product((-1, 0, 1), repeat=3) if k > (0, 0, 0)]
    phase = math.pi * scaled @ torch.tensor(waves, dtype=positions.dtype).T
    fields = torch.cat([scaled, phase.sin(), phase.cos()], 1)
    fields = fields - fields.mean(0)
    # A flat face has no slope across.
    fields = fields / fields.square().mean(0).sqrt().clamp_min(1e-6)
    fields = fields * _SPREAD * radius / math.sqrt(3 * fields.shape[1])
    return torch.einsum("nj,ad->jand", fields, torch.eye(3, dtype=positions.dtype)).flatten(0, 1)
