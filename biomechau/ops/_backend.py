"""Which implementation runs: the compiled kernels or the plain-torch twins."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from biomechau import _core

# Set BIOMECHAU_BACKEND=reference to run the twins in ops/reference.py everywhere.
_CHOICES = ("kernels", "reference")
_backend = os.environ.get("BIOMECHAU_BACKEND", "kernels")
if _backend not in _CHOICES:
    raise ValueError(f"BIOMECHAU_BACKEND must be one of {', '.join(_CHOICES)}, got {_backend!r}")

# Set BIOMECHAU_CUDA_CHECKS=1 to have bad masses and matrices on a GPU raise at once; every call then waits for the GPU.
_checks = os.environ.get("BIOMECHAU_CUDA_CHECKS", "0")
if _checks not in ("0", "1"):
    raise ValueError(f"BIOMECHAU_CUDA_CHECKS must be 0 or 1, got {_checks!r}")

_refusals: dict[int, str] = {}  # of the GPUs asked so far
_warned: set[str] = set()


def backends() -> dict[str, Any]:
    """What was compiled and what will run.

    Returns:
        "compiled": devices with kernels; "openmp": whether the CPU kernels use threads; "instruction_set": what they
        run with; "runs": for "cpu" and "cuda" (torch's current GPU), "kernels" or "reference", the plain-torch twins;
        "cuda_refusal": why the compiled CUDA kernels cannot run on that GPU, or None; "cuda_checks": whether bad masses
        and matrices on a GPU raise an error, rather than give NaN without waiting.
    """
    cuda = _core.cuda
    refusal = refusal_of(torch.cuda.current_device()) if cuda and torch.cuda.is_available() else ""
    return {
        "compiled": ["cpu", "cuda"] if cuda else ["cpu"],
        "openmp": _core.openmp,
        "instruction_set": _core.isa(),
        "runs": {
            "cpu": _backend,
            "cuda": _backend if cuda and not refusal else "reference",
        },
        "cuda_refusal": refusal or None,
        "cuda_checks": _checks == "1",
    }


def runs_reference(tensor: Tensor) -> bool:
    """Whether tensors like this one go to the plain-torch twins; warns once if a kernel could be expected."""
    if tensor.is_cpu:  # a quick answer first
        return _backend == "reference"
    return device_runs_reference(tensor.device)


def device_runs_reference(device: torch.device) -> bool:
    """The same of all tensors on a device."""
    if _backend == "reference":
        return True
    if device.type in ("cpu", "meta"):  # on meta, the shapes of the results
        return False
    if device.type == "cuda" and _core.cuda:
        refusal = refusal_of(device.index)
        if not refusal:
            return False
        key, text = str(device), f"the kernels of biomechau cannot run on {device} ({refusal})"
    else:
        key, text = device.type, f"biomechau was built without kernels for {device.type}"
    if key not in _warned and not torch.compiler.is_compiling():
        _warned.add(key)
        warnings.warn(f"{text}: its plain-torch twins run there, more slowly", RuntimeWarning, stacklevel=3)
    return True


@torch.compiler.assume_constant_result
def refusal_of(gpu_index: int) -> str:
    """Why the CUDA kernels cannot run on a GPU (its driver is too old, or its architecture); empty where they can.

    Each GPU is asked once.
    """
    if gpu_index not in _refusals:
        _refusals[gpu_index] = _core.cuda_refusal(gpu_index)
    return _refusals[gpu_index]


def gpu(tensor: Tensor) -> tuple[int, int] | None:
    """The GPU a tensor lies on and the address of its current stream; None on the CPU."""
    if tensor.is_cpu:
        return None
    return tensor.device.index, torch.cuda.current_stream(tensor.device).cuda_stream


def place(tensor: Tensor) -> int | tuple[int, int]:
    """Where a call runs, as the kernels take it: the number of CPU threads, or the GPU and its current stream."""
    return gpu(tensor) or torch.get_num_threads()


def workspace(like: Tensor, size: Callable[..., int], *sizes: Any) -> Tensor | None:
    """The scratch memory that a call on a GPU needs, ``size(*sizes)`` elements; the CPU kernels allocate their own."""
    return None if gpu(like) is None else like.new_empty(size(*sizes))


def fault_flag(like: Tensor) -> Tensor | None:
    """Where a kernel on a GPU reports faults of its input; None if the call must not wait for them."""
    if _checks != "1" or gpu(like) is None or (like.is_cuda and torch.cuda.is_current_stream_capturing()):
        return None
    return like.new_empty(1, dtype=torch.int64)
