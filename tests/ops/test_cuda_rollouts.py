"""The CUDA rollouts equal the plain-torch twins on the CPU, forward and backward, emulated and on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops.cases import (
    DTYPES,
    FORCES,
    ROLLOUTS,
    acting,
    assert_close,
    modal_problem,
    results_of,
    rollout_problem,
)
from ops.cuda import Emulation, Gpu, compare_on
from ops.cuda_cases import assert_same_bits
from torch import Tensor

from biomechau import ops
from biomechau.ops import reference

Function = Callable[..., Any]


def rollout(function: Function, scheme: str, dt: float = 0.1) -> Function:
    return lambda **tensors: function(**tensors, dt=dt, scheme=scheme)


def rollout_inputs(**sizes: Any) -> dict[str, Tensor | None]:
    problem = rollout_problem(**sizes)
    del problem["dt"]
    return problem


def compare_rollouts(gpu: Gpu, scheme: str, inputs: dict[str, Tensor | None]) -> None:
    compare_on(gpu, rollout(ops.euler_rollout, scheme), rollout(reference.euler_rollout, scheme), inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("scheme", "mass_axes", "elastic_axes"), ROLLOUTS)
@pytest.mark.parametrize(("batch", "num_frames"), [((), 4), ((2, 2), 3), ((2,), 0), ((0,), 3)])
def test_euler_rollout(
    gpu: Gpu,
    scheme: str,
    mass_axes: str,
    elastic_axes: str | None,
    batch: tuple[int, ...],
    num_frames: int,
    dtype: torch.dtype,
) -> None:
    inputs = rollout_inputs(
        batch=batch, num_frames=num_frames, mass_axes=mass_axes, elastic_axes=elastic_axes, dtype=dtype
    )
    compare_rollouts(gpu, scheme, inputs)


@pytest.mark.parametrize(("num_shapes", "dtype"), [(53, torch.float32), (70, torch.float64)])
@pytest.mark.parametrize(
    ("scheme", "mass_axes", "elastic_axes"),
    [("explicit", "frame", None), ("semi_implicit", "shared", "shared"), ("implicit", "sequence", "sequence")],
)
def test_euler_rollout_at_the_size_of_a_rig(
    gpu: Gpu, scheme: str, mass_axes: str, elastic_axes: str | None, num_shapes: int, dtype: torch.dtype
) -> None:
    inputs = rollout_inputs(
        batch=(2,), num_frames=4, num_shapes=num_shapes, mass_axes=mass_axes, elastic_axes=elastic_axes, dtype=dtype
    )
    compare_rollouts(gpu, scheme, inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_shapes", [1, 31, 32, 33, 64, 65])
@pytest.mark.parametrize(
    ("scheme", "mass_axes", "elastic_axes"),
    [("explicit", "sequence", None), ("semi_implicit", "frame", "shared"), ("implicit", "sequence", "sequence")],
)
def test_matrices_of_any_size_in_any_order(
    emulation: Emulation, scheme: str, mass_axes: str, elastic_axes: str | None, num_shapes: int, dtype: torch.dtype
) -> None:
    """At most 32, at most 64 and more coordinates have kernels of their own; none depends on the order of threads."""
    inputs = rollout_inputs(
        batch=(2,), num_frames=2, num_shapes=num_shapes, mass_axes=mass_axes, elastic_axes=elastic_axes, dtype=dtype
    )
    compare_rollouts(emulation, scheme, inputs)
    expected = results_of(rollout(ops.euler_rollout, scheme), inputs)
    for seed in (1, 2):  # falling, shuffled
        emulation.set_order(seed)
        assert_same_bits(results_of(rollout(ops.euler_rollout, scheme), inputs), expected, scheme)


@pytest.mark.parametrize(("num_shapes", "scheme"), [(130, "semi_implicit"), (530, "implicit")])
def test_euler_rollout_of_large_systems(gpu: Gpu, scheme: str, num_shapes: int) -> None:
    """More rows than a block has groups of threads; more than it has threads."""
    compare_rollouts(gpu, scheme, rollout_inputs(batch=(1,), num_frames=2, num_shapes=num_shapes))


@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("missing", ["damping", "stiffness"])
def test_only_one_of_stiffness_and_damping(gpu: Gpu, scheme: str, missing: str) -> None:
    compare_rollouts(gpu, scheme, {**rollout_inputs(num_shapes=4), missing: None})


@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("mass_axes", ["shared", "sequence"])
def test_long_rollouts(gpu: Gpu, scheme: str, mass_axes: str) -> None:
    """Sums over frames that are cut into pieces."""
    inputs = rollout_inputs(batch=(3,), num_frames=150, num_shapes=5, mass_axes=mass_axes, elastic_axes="sequence")
    for seed in (0, 1):
        gpu.set_order(seed)
        compare_rollouts(gpu, scheme, inputs)


@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("mass_axes", ["shared", "sequence"])
@pytest.mark.parametrize("num_frames", [8, 19])
def test_sums_over_frames_without_damping_and_stiffness(gpu: Gpu, num_frames: int, mass_axes: str, scheme: str) -> None:
    """Whole runs of frames that are loaded together, and a last one that is not."""
    inputs = rollout_inputs(batch=(2, 2), num_frames=num_frames, num_shapes=37, mass_axes=mass_axes, elastic_axes=None)
    compare_rollouts(gpu, scheme, inputs)


@pytest.mark.parametrize("size", [1024, 4 * 1024, 8 * 1024, 12 * 1024])
def test_matrices_that_do_not_fit_in_shared_memory(emulation: Emulation, size: int) -> None:
    emulation.set_most_shared(size)
    for scheme in ops.SCHEMES:
        compare_rollouts(emulation, scheme, rollout_inputs(num_shapes=13, elastic_axes="sequence"))


@pytest.mark.parametrize("wanted", ["mass", "force", "c0", "v0", "damping", "stiffness"])
def test_one_gradient_of_the_rollout(gpu: Gpu, wanted: str) -> None:
    inputs = rollout_inputs()
    actual = results_of(rollout(ops.euler_rollout, "implicit"), gpu.to(inputs), [wanted])
    expected = results_of(rollout(reference.euler_rollout, "implicit"), inputs, [wanted])
    for one, other in zip(actual, expected, strict=True):
        assert_close(one.cpu(), other)


def test_gradcheck(gpu: Gpu) -> None:
    system = gpu.to(rollout_inputs(num_frames=3, num_shapes=2))
    leaf = system["stiffness"].clone().requires_grad_()
    step = rollout(ops.euler_rollout, "implicit")
    assert torch.autograd.gradcheck(lambda stiffness: step(**{**system, "stiffness": stiffness}), (leaf,))


# -- in modes ----------------------------------------------------------------------------------------------------------


def compare_modal(gpu: Gpu, system: ops.ModalSystem, inputs: dict[str, Tensor | None]) -> None:
    there = gpu.to(system)
    compare_on(
        gpu,
        lambda **tensors: ops.modal_rollout(there, **tensors),
        lambda **tensors: reference.modal_rollout(system, **tensors),
        inputs,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("elastic", [False, True])
@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("forces", FORCES)
@pytest.mark.parametrize(("batch", "num_frames"), [((), 4), ((2, 2), 3), ((2,), 0), ((0,), 3)])
def test_modal_rollout(
    gpu: Gpu,
    batch: tuple[int, ...],
    num_frames: int,
    forces: tuple[str, ...],
    scheme: str,
    elastic: bool,
    dtype: torch.dtype,
) -> None:
    system, inputs = modal_problem(batch=batch, num_frames=num_frames, scheme=scheme, elastic=elastic, dtype=dtype)
    compare_modal(gpu, system, acting(inputs, forces))


@pytest.mark.parametrize("elastic", [False, True])
@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("num_frames", [32, 75])
def test_modal_rollout_at_the_size_of_a_rig(gpu: Gpu, num_frames: int, vector: bool, elastic: bool) -> None:
    """Whole tiles of frames, and a last one that is not; float64, as 75 explicit steps let rounding grow."""
    system, inputs = modal_problem(
        batch=(2,), num_frames=num_frames, num_shapes=53, num_muscles=26, vector=vector, elastic=elastic, dt=0.02
    )
    compare_modal(gpu, system, acting(inputs, FORCES[0]))


def test_modal_rollout_of_many_modes(gpu: Gpu) -> None:
    system, inputs = modal_problem(batch=(1,), num_frames=3, num_shapes=270, dt=0.02)
    compare_modal(gpu, system, acting(inputs, FORCES[0]))


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("elastic", [False, True])
def test_gradients_of_one_output(gpu: Gpu, elastic: bool, output: int) -> None:
    """The gradient of the other is left out, not zero."""
    system, inputs = modal_problem(elastic=elastic)
    there = gpu.to(system)
    compare_on(
        gpu,
        lambda **tensors: ops.modal_rollout(there, **tensors)[output],
        lambda **tensors: reference.modal_rollout(system, **tensors)[output],
        acting(inputs, FORCES[0]),
    )
    compare_on(
        gpu,
        lambda **tensors: ops.euler_rollout(**tensors, dt=0.1, scheme="implicit")[output],
        lambda **tensors: reference.euler_rollout(**tensors, dt=0.1, scheme="implicit")[output],
        rollout_inputs(elastic_axes="shared" if elastic else None),
    )


@pytest.mark.parametrize("size", [1024, 4096])
def test_tiles_that_do_not_fit_in_shared_memory(emulation: Emulation, size: int) -> None:
    emulation.set_most_shared(size)
    system, inputs = modal_problem(num_frames=9, num_shapes=17)
    compare_modal(emulation, system, acting(inputs, FORCES[0]))


@pytest.mark.parametrize("wanted", ["force", "c0", "v0", "muscle_force"])
def test_one_gradient_of_the_modal_rollout(gpu: Gpu, wanted: str) -> None:
    system, inputs = modal_problem()
    there = gpu.to(system)
    actual = results_of(lambda **tensors: ops.modal_rollout(there, **tensors), gpu.to(inputs), [wanted])
    expected = results_of(lambda **tensors: reference.modal_rollout(system, **tensors), inputs, [wanted])
    for one, other in zip(actual, expected, strict=True):
        assert_close(one.cpu(), other)


# -- at face size ------------------------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize(("batch", "num_frames"), [((8,), 32), ((1,), 256), ((300,), 32)])
def test_rollout_at_face_size_on_a_gpu(
    real_gpu: Gpu, scheme: str, batch: tuple[int, ...], num_frames: int, dtype: torch.dtype
) -> None:
    inputs = rollout_inputs(batch=batch, num_frames=num_frames, num_shapes=53, mass_axes="sequence", dtype=dtype)
    compare_rollouts(real_gpu, scheme, inputs)


@pytest.mark.cuda
@pytest.mark.parametrize("elastic", [False, True])
@pytest.mark.parametrize(("batch", "num_frames"), [((8,), 32), ((1,), 256), ((300,), 32)])
def test_modal_rollout_at_face_size_on_a_gpu(
    real_gpu: Gpu, batch: tuple[int, ...], num_frames: int, elastic: bool
) -> None:
    system, inputs = modal_problem(
        batch=batch, num_frames=num_frames, num_shapes=53, num_muscles=31, elastic=elastic, dt=0.02
    )
    compare_modal(real_gpu, system, acting(inputs, FORCES[0]))
