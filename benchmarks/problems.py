"""The inputs of each benchmarked op, and the least work that it can be done with.

Arithmetic is counted over the non-zeros of P and B only (a multiply-add is 2), traffic as every input read and every
output written once in each direction; B as its non-zeros with a byte of index each. Single letters in formulas: S
sequences, T frames, N vertices, K shapes, M muscles, C channels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from faces import Face
from torch import Tensor, nn


class Work(NamedTuple):
    """Least arithmetic and traffic of one call."""

    flops: float
    bytes: float


@dataclass
class Problem:
    """One call of an op.

    Attributes:
        tensors: its inputs by name.
        wrt: the inputs that a gradient is asked for.
        outputs: shapes of the outputs that the gradient starts from.
        constants: what else the op and its peers need.
        forward: least work of the forward pass.
        both: of the forward and backward pass.
        cotangents: the gradients of the outputs.
    """

    tensors: dict[str, Tensor]
    wrt: tuple[str, ...]
    outputs: tuple[tuple[int, ...], ...]
    constants: dict[str, Any]
    forward: Work
    both: Work
    cotangents: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        like = next(iter(self.tensors.values()))
        self.cotangents = tuple(torch.randn(shape, generator=_generator(1)).to(like) for shape in self.outputs)

    def to(self, *args: Any) -> Problem:
        """The same problem on another device or in another precision."""
        moved = Problem(
            {name: tensor.to(*args) for name, tensor in self.tensors.items()},
            self.wrt,
            self.outputs,
            {name: _moved(value, *args) for name, value in self.constants.items()},
            self.forward,
            self.both,
        )
        moved.cotangents = tuple(cotangent.to(*args) for cotangent in self.cotangents)
        return moved


def _moved(value: Any, *args: Any) -> Any:
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to(*args)  # a module moves itself
    return value.to(*args) if hasattr(value, "to") else value


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def force_projection(face: Face, num_sequences: int, num_frames: int, learned: str) -> Problem:
    """Vector forces (S, T, M, 3) to Q (S, T, K); ``learned`` is "P", "P, B" or "nothing"."""
    distribution, blendshapes = face.distribution, face.paper.blendshapes
    num_shapes, num_muscles = blendshapes.shape[0], distribution.shape[1]
    frames = num_sequences * num_frames
    active, muscles = (blendshapes != 0).any(-1).sum(0), distribution.crow.diff()
    products, covered = int((active * muscles).sum()), int(active[muscles > 0].sum())
    apply = 6 * num_shapes * num_muscles * frames
    per_frame = 4 * frames * (3 * num_muscles + num_shapes)
    whole = 12 * blendshapes[0].shape[0] * num_shapes  # of a learned B nobody knows where its zeros are
    operators = (whole if learned == "P, B" else 13 * covered) + 5 * distribution.nnz
    if learned == "nothing":
        reduced = 12 * num_shapes * num_muscles
        forward = Work(apply, per_frame + reduced)
        both = Work(2 * apply, 2 * (per_frame + reduced))
    else:
        of_b = learned == "P, B"
        forward = Work(6 * products + apply, operators + per_frame)
        both = Work(
            12 * products + 6 * num_shapes * distribution.nnz * of_b + 3 * apply,
            2 * (operators + per_frame) + 4 * distribution.nnz + whole * of_b,
        )
    force = torch.randn(num_sequences, num_frames, num_muscles, 3, generator=_generator())
    wrt = {"P": ("val", "force"), "P, B": ("blendshapes", "val", "force"), "nothing": ("force",)}[learned]
    return Problem(
        {"blendshapes": blendshapes, "val": distribution.val, "force": force},
        wrt,
        ((num_sequences, num_frames, num_shapes),),
        {"distribution": distribution, "dynamics": face.paper},
        forward,
        both,
    )


def generalized_mass(face: Face, num_sequences: int) -> Problem:
    """Masses (S, N) to M (S, K, K); B is constant."""
    blendshapes = face.blendshapes
    num_shapes, num_vertices, _ = blendshapes.shape
    active = (blendshapes != 0).any(-1).sum(0)
    pairs = int((active * (active + 1) // 2).sum())
    one_way = Work(
        pairs * (6 + 2 * num_sequences),
        13 * int(active.sum()) + 4 * num_sequences * (num_vertices + num_shapes**2),
    )
    mass = face.rig.vertex_masses * (0.5 + torch.rand(num_sequences, num_vertices, generator=_generator()))
    return Problem(
        {"blendshapes": blendshapes, "mass": mass},
        ("mass",),
        ((num_sequences, num_shapes, num_shapes),),
        {},
        one_way,
        Work(2 * one_way.flops, 2 * one_way.bytes),
    )


def explicit_rollout(face: Face, num_sequences: int, num_frames: int) -> Problem:
    """The paper's law: one learned mass a sequence (S, K, K), no damping, no stiffness, time in frames."""
    size, steps = face.paper.num_shapes, num_sequences * num_frames
    masses, states = num_sequences * size**2, steps * size
    noise = 0.2 * torch.rand(num_sequences, size, generator=_generator())
    scaling = 1 + noise
    mass = scaling[:, :, None] * face.paper.mass * scaling[:, None, :]
    forward = Work(masses * size / 3 + states * (2 * size + 4), 4 * (masses + 3 * states))
    return Problem(
        {"mass": mass, **_motion(face.paper.mass, num_sequences, num_frames)},
        ("mass", "force", "c0", "v0"),
        ((num_sequences, num_frames, size),) * 2,
        {"dt": 1.0},
        forward,
        Work(forward.flops + states * (4 * size + 4), forward.bytes + 4 * (2 * masses + 3 * states)),
    )


def implicit_rollout(face: Face, num_sequences: int, num_frames: int) -> Problem:
    """The elastic law: constant M, D and K shared by all sequences; the least work is that of the normal modes."""
    dynamics = face.dynamics
    size = dynamics.num_shapes
    states = num_sequences * num_frames * size
    one_way = states * (6 * size + 10)
    matrices = {"mass": dynamics.mass, "damping": dynamics.damping, "stiffness": dynamics.stiffness}
    return Problem(
        {**matrices, **_motion(dynamics.stiffness, num_sequences, num_frames)},
        ("force", "c0", "v0"),
        ((num_sequences, num_frames, size),) * 2,
        {"dt": dynamics.config.dt, "dynamics": dynamics},
        Work(size**3 / 3 + one_way, 12 * (size**2 + states)),
        Work(size**3 / 3 + 2 * one_way, 24 * (size**2 + states)),
    )


def decoder(face: Face, num_sequences: int, num_frames: int) -> Problem:
    """``FaceDynamics.rollout`` in the default setting: fibre forces (S, T, M) to c, and v which no gradient needs."""
    dynamics = face.dynamics
    size, num_muscles, steps = dynamics.num_shapes, dynamics.num_muscles, num_sequences * num_frames
    matrices = {"mass": dynamics.mass, "damping": dynamics.damping, "stiffness": dynamics.stiffness}
    motion = _motion(dynamics.stiffness, num_sequences, num_frames)
    motion["force"] = torch.rand(num_sequences, num_frames, num_muscles, generator=_generator())
    forward = Work(steps * size * (2 * num_muscles + 4 * size + 10), 4 * steps * (num_muscles + 2 * size))
    backward = Work(steps * size * (2 * num_muscles + 2 * size + 10), 4 * steps * (num_muscles + size))
    return Problem(
        {**matrices, "projection": dynamics.projection, **motion},
        ("force", "c0", "v0"),
        ((num_sequences, num_frames, size),),
        {"dt": dynamics.config.dt, "dynamics": dynamics},
        forward,
        Work(forward.flops + backward.flops, forward.bytes + backward.bytes),
    )


def _motion(response: Tensor, num_sequences: int, num_frames: int) -> dict[str, Tensor]:
    """Forces that answer to coefficients of the order of one, and a small initial state."""
    generator, size = _generator(), len(response)
    wanted = torch.rand(num_sequences, num_frames, size, generator=generator)
    return {
        "force": wanted @ response,
        "c0": 0.1 * torch.rand(num_sequences, size, generator=generator),
        "v0": 0.1 * torch.randn(num_sequences, size, generator=generator),
    }


def chebyshev_conv(face: Face, num_frames: int, in_channels: int, out_channels: int, num_terms: int = 6) -> Problem:
    """x (T, N, C) to y (T, N, C')."""
    laplacian, generator = face.laplacian, _generator()
    num_vertices = laplacian.shape[0]
    rows = num_frames * num_vertices
    products = 2 * num_terms * in_channels * out_channels * rows
    recurrence = in_channels * num_frames * (2 * laplacian.nnz * (num_terms - 1) + 2 * num_vertices * (num_terms - 2))
    one_way = products + recurrence
    traffic = 4 * rows * (in_channels + out_channels)
    return Problem(
        {
            "x": torch.randn(num_frames, num_vertices, in_channels, generator=generator),
            "weight": torch.randn(num_terms, in_channels, out_channels, generator=generator) / num_terms,
            "bias": torch.randn(out_channels, generator=generator),
        },
        ("x", "weight", "bias"),
        ((num_frames, num_vertices, out_channels),),
        {"laplacian": laplacian},
        Work(one_way, traffic),
        Work(3 * one_way, 2 * traffic + 4 * rows * in_channels),  # x is read again, its basis made again
    )


PROBLEMS: dict[str, Callable[..., Problem]] = {
    function.__name__: function
    for function in (force_projection, generalized_mass, explicit_rollout, implicit_rollout, decoder, chebyshev_conv)
}
