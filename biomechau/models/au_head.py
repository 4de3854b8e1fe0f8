"""The action-unit head (Eq. 12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from biomechau.configured_module import ConfiguredModule
from biomechau.models._distributed import BatchNorm, Dropout
from biomechau.models.temporal import TemporalConv


class AUHead(ConfiguredModule):
    """p(y_r = 1) = sigmoid(H([F || c || z2d])) (Eq. 12), with any part of the input left out.

    Forces, latents and image features pass a batch normalisation (over all processes that train together);
    coefficients come standardised, see :class:`biomechau.models.Normalisation`. Then one hidden layer with ReLU,
    between two dropouts.

    Args:
        num_action_units: R.
        num_forces: M, or 3 M for 3-vectors; 0 leaves them out, as it does below.
        num_coefficients: K'.
        num_latents: Z, geometric features of a mesh encoder.
        num_image_features: size of the image features.
        hidden: width of the hidden layer.
        dropout: share of inputs and of hidden units dropped in training, in [0, 1).
        context: frames to either side that are seen; with coefficients alone the ``position_temporal`` baseline.
        image_dropout: share of the image features dropped in training before all that, in [0, 1). A backbone that was
            trained on the same people has features that look better on them than they are.

    Raises:
        ValueError: no input at all, or a size out of range.
    """

    def __init__(
        self,
        num_action_units: int,
        num_forces: int = 0,
        num_coefficients: int = 0,
        num_latents: int = 0,
        num_image_features: int = 0,
        hidden: int = 64,
        dropout: float = 0.3,
        context: int = 0,
        image_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if num_action_units < 1:
            raise ValueError(f"num_action_units must be at least 1, got {num_action_units}")
        sizes = {
            "forces": num_forces,
            "coefficients": num_coefficients,
            "latents": num_latents,
            "image_features": num_image_features,
        }
        if min(sizes.values()) < 0 or not any(sizes.values()):
            raise ValueError(f"the head needs at least one input and no negative size, got {sizes}")
        self.sizes = {name: size for name, size in sizes.items() if size}
        self.normalisations = nn.ModuleDict(
            {name: BatchNorm(size) for name, size in self.sizes.items() if name != "coefficients"}
        )
        self.image_dropout = Dropout(image_dropout)
        self.layers = nn.Sequential(
            Dropout(dropout),
            TemporalConv(sum(self.sizes.values()), hidden, context),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(hidden, num_action_units),
        )

    def configuration(self) -> dict[str, Any]:
        """The sizes of what it reads, by name."""
        return {"inputs": [f"{name} {size}" for name, size in self.sizes.items()]}

    def forward(
        self,
        forces: Tensor | None = None,
        coefficients: Tensor | None = None,
        latents: Tensor | None = None,
        image_features: Tensor | None = None,
    ) -> Tensor:
        """The inputs the head was built for, each (..., T, size), to logits (..., T, R).

        Forces may also be (..., T, M, 3).

        Raises:
            ValueError: an input that is missing, not expected or of another shape.
        """
        given = {
            "forces": forces,
            "coefficients": coefficients,
            "latents": latents,
            "image_features": image_features,
        }
        if forces is not None and forces.shape[-1:] == (3,) and forces.shape[-2:].numel() == self.sizes.get("forces"):
            given["forces"] = forces.flatten(-2)
        return self.layers(torch.cat(self._normalised(given), -1))

    def _normalised(self, given: Mapping[str, Tensor | None]) -> list[Tensor]:
        """The parts of the input in a fixed order, checked."""
        unexpected = [name for name, tensor in given.items() if tensor is not None and name not in self.sizes]
        missing = [name for name in self.sizes if given[name] is None]
        if unexpected or missing:
            found = [name for name, tensor in given.items() if tensor is not None]
            raise ValueError(f"the head takes {', '.join(self.sizes)}, got {', '.join(found) or 'nothing'}")
        parts: list[Tensor] = []
        for name, size in self.sizes.items():
            tensor = given[name]
            assert tensor is not None
            lead = tensor.shape[:-1]
            if tensor.shape[-1:] != (size,) or not lead or (parts and lead != parts[0].shape[:-1]):
                frames = f"{tuple(parts[0].shape[:-1])} + ({size},)" if parts else f"(..., T, {size})"
                raise ValueError(f"{name} must have shape {frames}, got {tuple(tensor.shape)}")
            if name in self.normalisations:
                tensor = self.normalisations[name](tensor.reshape(-1, size)).reshape(tensor.shape)
            if name == "image_features":
                tensor = self.image_dropout(tensor)
            parts.append(tensor)
        return parts
