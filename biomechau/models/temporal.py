"""A dense layer over neighbouring frames."""

from __future__ import annotations

from torch import Tensor, nn


class TemporalConv(nn.Module):
    """One dense layer over each frame and the k frames before and after it; the first and last frame are repeated.

    Args:
        in_features: D.
        out_features: H.
        context: k, neighbouring frames on either side; 0 for each frame alone.

    Raises:
        ValueError: a size that is not positive, or a negative context.
    """

    def __init__(self, in_features: int, out_features: int, context: int = 0) -> None:
        super().__init__()
        if in_features < 1 or out_features < 1:
            raise ValueError(f"in_features and out_features must be positive, got {in_features} and {out_features}")
        if context < 0:
            raise ValueError(f"context must be at least 0, got {context}")
        self.convolution = nn.Conv1d(
            in_features,
            out_features,
            2 * context + 1,
            padding=context,
            padding_mode="replicate" if context else "zeros",
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., T, D) to (..., T, H).

        Raises:
            ValueError: x of the wrong shape.
        """
        if x.ndim < 2 or x.shape[-1] != self.convolution.in_channels or not x.shape[-2]:
            raise ValueError(
                f"x must have shape (..., T, {self.convolution.in_channels}) with T > 0, got {tuple(x.shape)}"
            )
        y = self.convolution(x.reshape(-1, *x.shape[-2:]).mT)
        return y.mT.reshape(*x.shape[:-1], -1)
