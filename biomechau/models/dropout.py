"""Dropout whose mask does not depend on the number of processes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from biomechau.models.processes import whole_batch


class Dropout(nn.Module):
    """``torch.nn.Dropout`` of (S, ...), with one mask for the batch of all processes that train together.

    Each process draws the mask of the whole batch and takes its own sequences, see
    :func:`biomechau.models.processes.whole_batch`. So two processes with half a batch each drop what one drops of the
    whole, provided that all have the same random state and the same number of sequences.

    Args:
        p: share dropped in training, in [0, 1).

    Raises:
        ValueError: a share out of range.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {p}")
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        """(S, ...), with a share p set to 0 and the rest divided by 1 - p; the input itself when not training."""
        if not self.training or not self.p:
            return input
        count, own = whole_batch(len(input))
        return input * functional.dropout(input.new_ones(count, *input.shape[1:]), self.p)[own]

    def extra_repr(self) -> str:
        return f"p={self.p}"
