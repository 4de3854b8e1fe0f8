"""Principal components of the training data as features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

# Least number of samples that components are computed from, if there are as many; neighbouring frames are nearly alike.
_NUM_SAMPLES = 1024
# Components with less than this share of the largest variance fade out.
_SHRINKAGE = 0.03


class PrincipalComponents(nn.Module):
    """The first principal components of x over the training data; those of large variance are scaled to variance 1.

    Neighbouring vertices move together. In a linear map of thousands of such inputs the steps of all weights add up, so
    that Adam's first steps are far too large; a map of uncorrelated features of similar variance learns evenly. Small
    components stay small, var / (var + 0.03 max(var)): they mostly show differences between single people.

    Until :meth:`fit` is called the features are zeros.

    Args:
        num_features: of x, D.
        num_components: P; features of zeros follow where the data have fewer.

    Attributes:
        components: (P, D).
    """

    components: Tensor

    def __init__(self, num_features: int, num_components: int) -> None:
        super().__init__()
        self.register_buffer("components", torch.zeros(num_components, num_features))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D), centred, to (..., P)."""
        return x @ self.components.mT

    @torch.no_grad()
    def fit(self, samples: Tensor, modes: Tensor | None = None) -> None:
        """Compute the components of samples.

        Args:
            samples: (n, D) with n > 0, of x or as many times the same affine map of it.
            modes: (I, D), modes that augmentation adds to x with independent weights N(0, 1).
        """
        rows = samples.double()
        rows = (rows - rows.mean(0)) / len(rows) ** 0.5
        if modes is not None:
            rows = torch.cat([rows, modes.to(rows)])
        # By the Gram matrix of the rows, which are fewer than the axes: rows^T rows is the covariance of x.
        variance, vectors = torch.linalg.eigh(rows @ rows.mT)
        used = variance > 1e-6 * variance[-1].clamp_min(torch.finfo(variance.dtype).tiny)  # more than rounding errors
        count = len(self.components)
        variance, vectors = variance[used].flip(0)[:count], vectors[:, used].flip(1)[:, :count]
        self.components.zero_()
        scale = (variance * (variance + _SHRINKAGE * variance[:1])).sqrt()
        self.components[: len(variance)] = vectors.mT @ rows / scale[:, None]


class EvenSample:
    """An evenly spaced sample of the frames that pass: ``_NUM_SAMPLES`` to twice as many, or all if fewer."""

    def __init__(self) -> None:
        self._step = 1
        self._seen = 0
        self._kept: list[Tensor] = []

    def passing(self, chunks: Iterable[Tensor], ndim: int) -> Iterator[Tensor]:
        """Yield the chunks, each (..., *shape) with a shape of ``ndim`` axes, and sample them."""
        for chunk in chunks:
            frames = chunk.detach().reshape(-1, *chunk.shape[chunk.ndim - ndim :])
            self._kept.append(frames[-self._seen % self._step :: self._step].cpu())
            self._seen += len(frames)
            while sum(map(len, self._kept)) > 2 * _NUM_SAMPLES:
                self._step *= 2
                self._kept = [torch.cat(self._kept)[::2]]
            yield chunk

    @property
    def frames(self) -> Tensor:
        """The sample, (n, *shape)."""
        return torch.cat(self._kept)
