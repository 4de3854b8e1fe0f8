"""Which formulation of an op runs where more than one gives its result: a table, and the rule that reads it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from biomechau.ops import _backend


class Preference(NamedTuple):
    """From how many sequences on products of torch run in the place of a kernel.

    Attributes:
        op: its name.
        device: "cpu" or "cuda".
        sequences: the least number of them.
        evidence: "predicted" from counts of operations and bytes, or "measured".
    """

    op: str
    device: str
    sequences: int
    evidence: str


# At 9,409 vertices and 55 shapes on an H200 the mass kernel is predicted to take 1.1 us per sequence
# (benchmarks/cuda_model.py). A table of all products of two shapes costs about 60 us, multiplying it about 1 us
# per sequence: they meet at some hundreds. No kernel has been timed on a GPU yet; a measurement replaces this line, or
# removes it.
PREFERENCES = (Preference("generalized_mass", "cuda", 512, "predicted"),)


def prefers_products(op: str, tensor: Tensor, num_sequences: int) -> bool:
    """Whether products of torch compute an op on the device of a tensor, rather than its kernel.

    Never where torch is allowed to round float32 in products (TF32): kernels keep its digits.
    """
    device = "cpu" if _backend.gpu(tensor) is None else "cuda"
    preferred = any(
        (preference.op, preference.device) == (op, device) and num_sequences >= preference.sequences
        for preference in PREFERENCES
    )
    return preferred and not (tensor.dtype == torch.float32 and _rounds())


def _rounds() -> bool:
    """Whether torch may use TF32 in products on GPUs."""
    matmul = torch.backends.cuda.matmul
    precision = getattr(matmul, "fp32_precision", None)  # torch before 2.9 has the flag alone
    if precision is None:
        return bool(matmul.allow_tf32)
    if precision == "none":
        precision = getattr(torch.backends, "fp32_precision", "none")
    return precision == "tf32"
