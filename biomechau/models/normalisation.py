"""Normalisation of features by the statistics of the training data."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Normalisation(nn.Module):
    """(x - mean) / scale per feature, with scale = standard deviation + floor.

    The floor keeps the noise of features that hardly vary from being amplified. Until :meth:`fit` or :meth:`set` is
    called, mean is 0 and scale 1.

    Args:
        shape: of one sample, the last axes of x.
        floor: added to the standard deviation, >= 0 [unit of x].

    Attributes:
        mean, scale: buffers of that shape.

    Raises:
        ValueError: a negative floor.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...], floor: float = 0.0) -> None:
        super().__init__()
        if not floor >= 0:
            raise ValueError(f"floor must be at least 0, got {floor}")
        self.floor = floor
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., *shape), normalised."""
        return (x - self.mean) / self.scale

    @torch.no_grad()
    def fit(self, samples: Tensor | Iterable[Tensor], noise: Tensor | None = None) -> None:
        """Compute mean and standard deviation over all leading axes of one tensor (..., *shape) or several.

        Args:
            samples: the data.
            noise: standard deviation (*shape) of independent noise of mean 0 that will be added to them.

        Raises:
            ValueError: samples or noise of the wrong shape, no samples, or values that are not finite.
        """
        shape, dims = self.mean.shape, self.mean.ndim
        count, total, squares = 0, torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        # Relative to the first sample, so that a large mean causes no cancellation in the variance.
        origin: Tensor | None = None
        for chunk in [samples] if isinstance(samples, Tensor) else samples:
            if chunk.ndim < dims or chunk.shape[chunk.ndim - dims :] != shape:
                raise ValueError(
                    f"samples must have shape (..., {', '.join(map(str, shape))}), got {tuple(chunk.shape)}"
                )
            flat = chunk.detach().cpu().double().reshape(-1, *shape)
            if not len(flat):
                continue
            origin = flat[0] if origin is None else origin
            centred = flat - origin
            count += len(flat)
            total += centred.sum(0)
            squares += centred.square().sum(0)
        if origin is None:
            raise ValueError("there are no samples to compute the normalisation from")
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0)
        self.set(origin + mean, (variance if noise is None else variance + noise.cpu().double().square()).sqrt())

    @torch.no_grad()
    def set(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and standard deviation, each of the normalisation's shape.

        Raises:
            ValueError: a wrong shape, a value that is not finite, a negative std, or one of 0 where the floor is 0.
        """
        for name, value in (("mean", mean), ("std", std)):
            if value.shape != self.mean.shape:
                raise ValueError(f"{name} must have shape {tuple(self.mean.shape)}, got {tuple(value.shape)}")
            if not bool(value.isfinite().all()):
                raise ValueError(f"{name} must be finite")
        if bool((std < 0).any()) or (self.floor == 0 and bool((std == 0).any())):
            raise ValueError("std must be positive where there is no floor")
        self.mean.copy_(mean)
        self.scale.copy_(std + self.floor)

    def extra_repr(self) -> str:
        return f"{tuple(self.mean.shape)}, floor={self.floor:g}"
