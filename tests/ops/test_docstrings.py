"""The examples in the docstrings of the ops run as printed."""

from __future__ import annotations

import doctest
import sys

import pytest
import torch

from biomechau import ops

EXAMPLES = [
    "chebyshev_conv",
    "distribute_forces",
    "reduced_projection",
    "force_projection",
    "generalized_mass",
    "_packed_blendshapes",
    "euler_rollout",
    "modal_rollout",
    "_modal_system",
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str) -> None:
    module = sys.modules[f"biomechau.ops.{name}"]
    result = doctest.testmod(module, extraglobs={"ops": ops, "torch": torch})
    assert result.attempted >= 1
    assert result.failed == 0
