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
    """p(y_r = 1) = sigmoid(H([F || c || z2d])) (Eq. 12), from any subset of these inputs.

    Forces, latents and image features are batch-normalised (over all processes that train together); coefficients are
    expected standardised, see :class:`biomechau.models.Normalisation`. Then follows one hidden layer with ReLU between
    two dropouts.

    Args:
        num_action_units: R.
        num_forces: M, or 3 M for 3-vectors; for this and the other inputs, 0 means not used.
        num_coefficients: K'.
        num_latents: Z, geometric features of a mesh encoder.
        num_image_features: D, size of the image features.
        hidden: width of the hidden layer.
        dropout: probability of dropping inputs and hidden units in training, in [0, 1).
        context: neighbouring frames on either side; with coefficients alone the ``position_temporal`` baseline.
        image_dropout: probability of dropping image features in training, in addition, in [0, 1). On people that a
            backbone was trained on, its features look better than they are.
        num_others: outputs beside the logits of the action units.

    Raises:
        ValueError: no inputs, or a size out of range.
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
        num_others: int = 0,
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
            nn.Linear(hidden, num_action_units + num_others),
        )

    def configuration(self) -> dict[str, Any]:
        """Names and sizes of the inputs."""
        return {"inputs": [f"{name} {size}" for name, size in self.sizes.items()]}

    def forward(
        self,
        forces: Tensor | None = None,
        coefficients: Tensor | None = None,
        latents: Tensor | None = None,
        image_features: Tensor | None = None,
    ) -> Tensor:
        """The inputs that the head was built for, each (..., T, size), to logits (..., T, R).

        With ``num_others`` the other outputs follow, (..., T, R + num_others).
        Forces may also be (..., T, M, 3).

        Raises:
            ValueError: an input that is missing, unexpected or of the wrong shape.
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
        """The inputs in a fixed order, checked and normalised."""
        unexpected = [name for name, tensor in given.items() if tensor is not None and name not in self.sizes]
        missing = [name for name in self.sizes if given[name] is None]
        if unexpected or missing:
            found = [name for name, tensor in given.items() if tensor is not None]
            raise ValueError(f"the head takes {', '.join(self.sizes)}, got {', '.join(found) or 'nothing'}")
        inputs: list[Tensor] = []
        for name, size in self.sizes.items():
            tensor = given[name]
            assert tensor is not None
            lead = tensor.shape[:-1]
            if tensor.shape[-1:] != (size,) or not lead or (inputs and lead != inputs[0].shape[:-1]):
                frames = f"{tuple(inputs[0].shape[:-1])} + ({size},)" if inputs else f"(..., T, {size})"
                raise ValueError(f"{name} must have shape {frames}, got {tuple(tensor.shape)}")
            if name in self.normalisations:
                tensor = self.normalisations[name](tensor.reshape(-1, size)).reshape(tensor.shape)
            if name == "image_features":
                tensor = self.image_dropout(tensor)
            inputs.append(tensor)
        return inputs
