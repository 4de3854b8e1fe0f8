"""Tensors that are not finite are found by name."""

from __future__ import annotations

import pytest
import torch

from biomechau.finite import check_finite, not_finite


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_tensor_is_found_by_name_and_place(value: float) -> None:
    tensors = {"whole": torch.ones(3, dtype=torch.int64), "empty": torch.ones(0), "good": torch.ones(3)}
    assert not_finite(tensors) is None
    tensors["bad"] = torch.tensor([[0.0, 1.0], [value, -value]])
    assert not_finite(tensors) == "bad"
    with pytest.raises(ValueError, match=rf"^file: tensor bad is not finite: {value} at \[1, 0\]$"):
        check_finite("file", tensors)


def test_large_numbers_whose_sum_is_not_finite() -> None:
    assert (
        not_finite({"large": torch.full((4,), 1e308, dtype=torch.float64), "half": torch.full((9,), 6e4).half()})
        is None
    )
