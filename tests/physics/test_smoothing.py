"""The Whittaker smoother is a low-pass filter of known response."""

import math

import pytest
import torch

from biomechau.physics.smoothing import whittaker, whittaker_masked


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


class TestMasked:
    signal = torch.randn(2, 3, 11, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    @pytest.mark.parametrize("cutoff", [0.2, 4.0, 12.5])
    def test_without_a_mask_it_is_the_smoother(self, cutoff: float) -> None:
        expected = whittaker(self.signal, cutoff, 25.0)
        everything = torch.ones(2, 3, 11, dtype=torch.bool)
        for valid in (None, everything):
            torch.testing.assert_close(whittaker_masked(self.signal, cutoff, 25.0, valid), expected, rtol=0, atol=1e-8)
        single = whittaker_masked(self.signal.float(), cutoff, 25.0)
        torch.testing.assert_close(single, expected.float(), rtol=0, atol=1e-6)

    def test_a_frame_that_is_not_valid_says_nothing_and_is_bridged(self) -> None:
        line = torch.linspace(-1, 1, 11, dtype=torch.float64)[:, None].repeat(1, 2)
        valid = torch.ones(11, dtype=torch.bool)
        valid[[0, 4, 5]] = False
        broken = torch.where(valid[:, None], line, 1e3)
        torch.testing.assert_close(whittaker_masked(broken, 4.0, 25.0, valid), line, rtol=0, atol=0.05)

    def test_no_valid_frame_gives_no_nan(self) -> None:
        nothing = torch.zeros(2, 3, 11, dtype=torch.bool)
        assert whittaker_masked(self.signal, 0.2, 25.0, nothing).isfinite().all()
