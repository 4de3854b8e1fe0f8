"""No CUDA kernel reads or writes outside of its tensors, nor relies on where they begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cuda_emulation.memory import Edge
from ops.cases import DTYPES, results_of
from ops.cuda import Emulation
from ops.cuda_cases import assert_same_bits, cases
from torch import Tensor

from biomechau import _core

EDGES: tuple[Edge, ...] = ("end", "begin")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("edge", EDGES)
def test_nothing_is_accessed_outside_of_a_tensor(emulation: Emulation, edge: Edge, dtype: torch.dtype) -> None:
    for name, (function, inputs) in cases(emulation, dtype).items():
        emulation.edge = None
        expected = results_of(function, inputs)
        emulation.edge = edge
        assert_same_bits(results_of(function, inputs), expected, name)


def one_element_late(tensor: Tensor | None) -> Tensor | None:
    """The same values, dense, at an address that is not a multiple of 16 bytes."""
    if tensor is None:
        return None
    late = tensor.new_empty(tensor.numel() + 1)[1:].view(tensor.shape)
    late.copy_(tensor)
    assert late.is_contiguous()
    assert not tensor.numel() or late.data_ptr() % 16
    return late


@pytest.mark.parametrize("dtype", DTYPES)
def test_slices_need_no_alignment(emulation: Emulation, dtype: torch.dtype) -> None:
    emulation.edge = None  # else they would be moved
    for name, (function, inputs) in cases(emulation, dtype).items():

        def late(function: Callable[..., Any] = function, **tensors: Tensor | None) -> Any:
            outputs = function(**{key: one_element_late(value) for key, value in tensors.items()})
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            for output in outputs:  # and the gradients that come back to the op
                output.register_hook(one_element_late)
            return outputs

        assert_same_bits(results_of(late, inputs), results_of(function, inputs), name)


# -- that these tests can fail -----------------------------------------------------------------------------------------


def distribute(muscle: int) -> Tensor:
    """The force of one muscle on one vertex. The kernel takes the index of the muscle as it is."""
    start, first = torch.tensor([0, 1]), torch.zeros(1, dtype=torch.int64)
    col, val = torch.tensor([muscle]), torch.tensor([2.0])
    out, force = torch.empty(1, 3), torch.tensor([[1.0, 2.0, 3.0]])
    index = _core.DistributionIndex(1, start, col, start, first, first, 1)
    _core.distribute_forces_fwd(index, val, None, 1, force, out, (0, 0))
    return out


@pytest.mark.parametrize(("edge", "muscle"), [("end", 1), ("begin", -1)])
def test_an_access_outside_of_a_tensor_is_an_error(emulation: Emulation, edge: Edge, muscle: int) -> None:
    emulation.edge = edge
    assert distribute(0).tolist() == [[2, 4, 6]]
    with pytest.raises(RuntimeError, match="distribute_forces: CUDA says: an illegal memory access was encountered"):
        distribute(muscle)
    assert distribute(0).tolist() == [[2, 4, 6]]  # as before


def test_a_misaligned_access_is_an_error(emulation: Emulation) -> None:
    """Eight values of the workspace of this op are read as one. It is always fresh memory, which is aligned."""
    emulation.edge = None
    blendshapes, mass, gradient, wanted = torch.ones(2, 4, 3), torch.ones(1, 4), torch.ones(1, 2, 2), torch.empty(1, 4)
    scratch = torch.empty(_core.generalized_mass_bwd_workspace(1, 2) + 1)
    with pytest.raises(RuntimeError, match="generalized_mass_bwd: CUDA says: misaligned address"):
        _core.generalized_mass_bwd(
            1,
            4,
            2,
            1.0,
            blendshapes,
            None,
            mass,
            gradient,
            None,
            wanted,
            scratch[1:],
            (0, 0),
        )
