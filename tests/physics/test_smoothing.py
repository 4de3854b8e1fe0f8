"""The Whittaker smoother is a low-pass filter of known response."""

import math

import pytest
import torch

from biomechau.physics.smoothing import whittaker


def test_it_solves_the_penalised_least_squares_problem() -> None:
    signal = torch.randn(2, 11, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    difference = torch.eye(11, dtype=torch.float64).diff(n=2, dim=0)
    mu = (2 * math.sin(math.pi * 4 / 25)) ** -4
    expected = torch.linalg.solve(torch.eye(11, dtype=torch.float64) + mu * difference.T @ difference, signal)
    torch.testing.assert_close(whittaker(signal, 4.0, 25.0), expected, rtol=1e-12, atol=1e-12)


def test_three_frames_are_enough() -> None:
    signal = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    smooth = whittaker(signal, 1.0, 25.0)
    assert smooth.diff(n=2, dim=0).abs() < 0.1 * signal.diff(n=2, dim=0).abs()
    assert torch.equal(whittaker(signal[:2], 1.0, 25.0), signal[:2])


@pytest.mark.parametrize("frequency", [1.0, 4.0, 8.0])
def test_sines_keep_the_documented_share_of_their_amplitude(frequency: float) -> None:
    time = torch.arange(2000, dtype=torch.float64) / 25
    signal = torch.sin(2 * math.pi * frequency * time)[:, None]
    ratio = math.sin(math.pi * frequency / 25) / math.sin(math.pi * 4 / 25)
    middle = slice(500, 1500)
    torch.testing.assert_close(whittaker(signal, 4.0, 25.0)[middle], signal[middle] / (1 + ratio**4), rtol=0, atol=1e-9)


def test_lines_pass_unchanged_and_so_does_all_above_the_frame_rate() -> None:
    line = torch.linspace(-3, 5, 40, dtype=torch.float64)[:, None]
    torch.testing.assert_close(whittaker(line, 1.0, 25.0), line, rtol=0, atol=1e-10)
    noise = torch.randn(40, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(whittaker(noise, 12.5, 25.0), noise)
