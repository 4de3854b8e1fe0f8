"""An even sample of the frames that pass by."""

import pytest
import torch

from biomechau.models._principal_components import EvenSample


@pytest.mark.parametrize("num_frames", [1, 5, 1000, 2048, 2049, 5000])
@pytest.mark.parametrize("piece", [1, 7, 3000])
def test_even_sample(num_frames: int, piece: int) -> None:
    """Every n-th frame, n a power of two, whatever the pieces; and the pieces pass unchanged."""
    if piece == 1 and num_frames > 1000:
        piece = 13
    frames = torch.arange(num_frames, dtype=torch.float32)[:, None]
    sample = EvenSample()
    passed = torch.cat(list(sample.passing(frames.split(piece), ndim=1)))
    assert torch.equal(passed, frames)
    step = 1
    while -(-num_frames // step) > 2048:
        step *= 2
    assert torch.equal(sample.frames, frames[::step])
