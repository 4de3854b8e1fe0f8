"""The neutral face by hand, with frames that do not count."""

from __future__ import annotations

import pytest
import torch

from biomechau.physics.neutral import neutral_coefficients


def test_a_percentile_of_each_coefficient() -> None:
    c = torch.stack([torch.arange(11.0), 2 * torch.arange(11.0).flip(0)], 1)
    torch.testing.assert_close(neutral_coefficients(c, 10), torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(neutral_coefficients(c, 0), torch.tensor([0.0, 0.0]))
    assert neutral_coefficients(c.double()[None], 50).shape == (1, 2)
    assert neutral_coefficients(c.double(), 50).dtype == torch.float64


def test_frames_that_are_not_valid_do_not_count() -> None:
    c, valid = torch.tensor([[5.0], [-9.0], [7.0]]), torch.tensor([True, False, True])
    torch.testing.assert_close(neutral_coefficients(c, 0, valid), torch.tensor([5.0]))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"\[0, 100\]"):
        neutral_coefficients(torch.zeros(3, 2), 101)
    with pytest.raises(ValueError, match="at least one valid frame"):
        neutral_coefficients(torch.zeros(3, 2), 5, torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="at least one valid frame"):
        neutral_coefficients(torch.zeros(0, 2), 5)
