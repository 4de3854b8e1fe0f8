"""TemporalConv: what it sees of the frames around each."""

from __future__ import annotations

import pytest
import torch

from biomechau.models import TemporalConv


def test_equals_a_dense_layer_on_unfolded_frames() -> None:
    layer = TemporalConv(3, 5, context=2)
    x = torch.randn(2, 7, 3)
    frames = (torch.arange(7)[:, None] + torch.arange(-2, 3)).clamp(0, 6)
    bias = layer.convolution.bias
    assert bias is not None
    expected = torch.einsum("btjd,hdj->bth", x[:, frames], layer.convolution.weight) + bias
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("num_frames", [1, 2, 9])
def test_shapes_with_fewer_frames_than_context(lead: tuple[int, ...], num_frames: int) -> None:
    x = torch.randn(*lead, num_frames, 3)
    assert TemporalConv(3, 5, context=4)(x).shape == (*lead, num_frames, 5)


def test_without_context_each_frame_is_alone() -> None:
    layer = TemporalConv(3, 5)
    x = torch.randn(4, 3)
    torch.testing.assert_close(layer(x)[2], layer(x[2:3])[0])


def test_errors() -> None:
    with pytest.raises(ValueError, match="context must be at least 0, got -1"):
        TemporalConv(3, 5, -1)
    with pytest.raises(ValueError, match="must be positive, got 0 and 5"):
        TemporalConv(0, 5)
    with pytest.raises(ValueError, match=r"\(..., T, 3\) with T > 0, got \(0, 3\)"):
        TemporalConv(3, 5)(torch.zeros(0, 3))
