"""Checks of the tensors of a replay file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from biomechau.corpus.corpus_sequence import check_labels
from biomechau.corpus.face_sequence import check_timestamp
from biomechau.finite import not_finite

_FLOAT = (torch.float32, torch.float64)


class _Kind(NamedTuple):
    """Dtypes and axes of a tensor: T frames, K shapes, M muscles, R action units, N vertices, 2 sides, 3 coordinates,
    any F."""

    dtypes: tuple[torch.dtype, ...]
    axes: tuple[str, ...]
    required: bool = True


_KINDS: Mapping[str, _Kind] = {
    "timestamp": _Kind((torch.float64,), ("T",)),
    "valid": _Kind((torch.bool,), ("T",)),
    "coefficients": _Kind(_FLOAT, ("TK",)),
    "forces": _Kind(_FLOAT, ("TM", "TM3"), False),
    "motion": _Kind(_FLOAT, ("T",), False),
    "residual": _Kind(_FLOAT, ("T",), False),
    "quality": _Kind(_FLOAT, ("T",), False),
    "deviation": _Kind(_FLOAT, ("TM",), False),
    "probabilities": _Kind(_FLOAT, ("TR",), False),
    "side_probabilities": _Kind(_FLOAT, ("TR2",), False),
    "labels": _Kind((torch.int8,), ("TR",), False),
    "scene.neutral": _Kind(_FLOAT, ("N3",)),
    "scene.faces": _Kind((torch.int64,), ("F3",)),
    "scene.backing": _Kind((torch.int64,), ("F3",)),
    "scene.blendshapes": _Kind(_FLOAT, ("KN3",)),
    "scene.fields": _Kind(_FLOAT, ("MN3", "MN")),
}


def check_replay_tensors(tensors: Mapping[str, Tensor], num_muscles: int, num_units: int) -> None:
    """Check that tensors make up a replay of M muscles and R action units.

    Raises:
        ValueError: a tensor that is missing, unknown, of the wrong dtype or shape, not finite or out of range; the
            message names it.
    """
    for name in sorted(tensors.keys() - _KINDS.keys()):
        raise ValueError(f"unknown tensor {name:.40}")
    for name, kind in _KINDS.items():
        if name not in tensors and kind.required:
            raise ValueError(f"missing tensor {name}")
    if ("motion" in tensors, "residual" in tensors) != ("forces" in tensors,) * 2:
        raise ValueError("expected the tensors forces, motion and residual, or none of them")
    sizes = {"M": num_muscles, "R": num_units, "2": 2, "3": 3}
    for axes, name in (("T", "timestamp"), ("KN", "scene.blendshapes")):
        sizes |= dict(zip(axes, tensors[name].shape, strict=False))
    for name, tensor in tensors.items():
        _check_layout(name, tensor, _KINDS[name], sizes)
    if not sizes["T"]:
        raise ValueError("tensor timestamp has no frames")
    if "forces" in tensors and tensors["forces"].ndim + tensors["scene.fields"].ndim != 5:
        raise ValueError("tensors forces and scene.fields differ in kind: one has fibres, the other vectors")
    if name := not_finite(tensors):
        index = (~tensors[name].isfinite()).nonzero()[0].tolist()
        raise ValueError(f"tensor {name} is not finite at {index}")
    check_timestamp(tensors["timestamp"])
    for name in ("scene.faces", "scene.backing"):
        if bool(((tensors[name] < 0) | (tensors[name] >= sizes["N"])).any()):
            raise ValueError(f"tensor {name} has vertex indices beyond the {sizes['N']} of scene.neutral")
    for name in ("probabilities", "side_probabilities", "quality"):
        if name in tensors and not bool(((tensors[name] - 0.5).abs() <= 0.5).all()):
            raise ValueError(f"tensor {name} must lie in [0, 1]")
    if "deviation" in tensors and bool((tensors["deviation"] < 0).any()):
        raise ValueError("tensor deviation must not be negative")
    if "labels" in tensors:
        check_labels(tensors["labels"])


def _check_layout(name: str, tensor: Tensor, kind: _Kind, sizes: Mapping[str, int]) -> None:
    if tensor.dtype not in kind.dtypes:
        raise ValueError(f"tensor {name} is {tensor.dtype}, expected {kind.dtypes[0]}")
    shapes = [tuple(sizes.get(axis) for axis in axes) for axes in kind.axes]
    fits = (
        len(shape) == tensor.ndim and all(b in (None, a) for a, b in zip(tensor.shape, shape, strict=True))
        for shape in shapes
    )
    if not any(fits):
        expected = " or ".join(str(tuple("any" if size is None else size for size in shape)) for shape in shapes)
        raise ValueError(f"tensor {name} has shape {tuple(tensor.shape)}, expected {expected}".replace("'", ""))
