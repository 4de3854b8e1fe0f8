"""What the public ops refuse, and in which words."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from ops.cases import force_problem, modal_problem, rollout_problem, spd
from ops.citizens import MODULES, OPS, cases

from biomechau import ops
from biomechau.ops import SparseMatrix, _backend, reference


def rollout(**changes: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return ops.euler_rollout(**{**rollout_problem(), **changes})


# -- force ops ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_other_dtypes_are_refused(dtype: torch.dtype) -> None:
    p = force_problem()
    with pytest.raises(TypeError, match=r"force must be float32 or float64, got torch\."):
        ops.distribute_forces(p.distribution, p.force.to(dtype))
    with pytest.raises(TypeError, match="blendshapes must be float32 or float64"):
        ops.reduced_projection(p.blendshapes.to(dtype), p.distribution)
    with pytest.raises(TypeError, match="mass must be float32 or float64"):
        ops.generalized_mass(p.blendshapes, torch.ones(40).to(dtype))
    with pytest.raises(TypeError, match="mass must be float32 or float64"):
        rollout(mass=torch.eye(3).to(dtype))


def test_mixed_precision_is_refused() -> None:
    p = force_problem()
    with pytest.raises(TypeError, match=r"distribution.val must be torch.float32 .* got torch.float64"):
        ops.distribute_forces(p.distribution, p.force.float())
    with pytest.raises(TypeError, match="c0 must be torch.float64 .* got torch.float32"):
        rollout(c0=torch.zeros(2, 3))


def test_the_one_that_differs_from_the_others_is_at_fault() -> None:
    with pytest.raises(TypeError, match=r"mass must be torch.float64 as force is, got torch.float32"):
        rollout(mass=torch.eye(3))
    with pytest.raises(ValueError, match=r"mass must be on cpu as force is, got meta"):
        rollout(mass=torch.eye(3, device="meta").double())
    with pytest.raises(ValueError, match=r"force must have shape \(..., T, 3\), got \(2, 4, 5\)"):
        rollout(force=torch.zeros(2, 4, 5).double())


def test_a_mass_per_frame_is_not_asked_for_where_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mass must have shape \(3, 3\) or \(2, 3, 3\), got \(5, 3, 3\)"):
        rollout(mass=torch.eye(3).double().expand(5, 3, 3), scheme="implicit")


@pytest.mark.parametrize("module", MODULES)
def test_schemes_and_steps_of_a_rollout(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "euler_rollout", MODULES[module].euler_rollout)
    with pytest.raises(ValueError, match="scheme must be one of explicit, semi_implicit, implicit, got 'implict'"):
        rollout(scheme="implict")
    for dt in (-1.0, 0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="dt must be a positive number"):
            rollout(dt=dt)
    with pytest.raises(TypeError, match="dt must be a Python number, got Tensor"):
        rollout(dt=torch.tensor(1.0))
    assert torch.equal(rollout(dt=np.float32(0.5))[0], rollout(dt=0.5)[0])


def test_mixed_devices_are_refused() -> None:
    p = force_problem()
    with pytest.raises(ValueError, match=r"distribution.val must be on meta .* got cpu"):
        ops.distribute_forces(p.distribution, p.force.to("meta"))
    with pytest.raises(ValueError, match="mass must be on cpu .* got meta"):
        ops.generalized_mass(p.blendshapes, torch.ones(40, dtype=torch.float64, device="meta"))
    with pytest.raises(ValueError, match="v0 must be on cpu .* got meta"):
        rollout(v0=torch.zeros(2, 3, dtype=torch.float64, device="meta"))


def test_arguments_that_are_not_tensors_are_refused() -> None:
    p = force_problem()
    with pytest.raises(TypeError, match="distribution must be a SparseMatrix or Distribution, got Tensor"):
        ops.distribute_forces(p.distribution.dense(), p.force)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"force must be a torch.Tensor, got ndarray"):
        ops.distribute_forces(p.distribution, p.force.numpy())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", OPS)
def test_arrays_in_the_place_of_tensors_are_refused(name: str, module: str) -> None:
    case = cases(module)[name]
    for argument, value in case.arguments.items():
        if isinstance(value, torch.Tensor):
            with pytest.raises(TypeError, match=rf"{argument} must be .*torch.Tensor, got ndarray"):
                getattr(MODULES[module], name)(**{**case.arguments, argument: value.numpy()})


def test_arrays_are_refused_where_things_are_made() -> None:
    p, array = force_problem(), spd(3).numpy()
    for name, make in {
        "matrix": lambda: SparseMatrix.from_dense(array),  # pyright: ignore[reportArgumentType]
        "val": lambda: p.distribution.with_values(p.distribution.val.numpy()),  # pyright: ignore[reportArgumentType]
        "blendshapes": lambda: ops.PackedBlendshapes(p.blendshapes.numpy()),  # pyright: ignore[reportArgumentType]
        "mass": lambda: ops.ModalSystem(array),  # pyright: ignore[reportArgumentType]
        "damping": lambda: ops.ModalSystem(spd(3), damping=array),  # pyright: ignore[reportArgumentType]
    }.items():
        with pytest.raises(TypeError, match=rf"{name} must be a torch.Tensor, got ndarray"):
            make()


def test_force_shapes_are_checked() -> None:
    p = force_problem()
    with pytest.raises(ValueError, match=r"force must have shape \(..., 4, 3\), got \(2, 3, 5, 3\)"):
        ops.distribute_forces(p.distribution, torch.zeros(2, 3, 5, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"force must have shape \(..., 4, 3\), got \(3,\)"):
        ops.force_projection(p.blendshapes, p.distribution, torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"blendshapes must have shape \(K, 40, 3\), got \(5, 39, 3\)"):
        ops.force_projection(p.blendshapes[:, 1:], p.distribution, p.force)
    with pytest.raises(ValueError, match=r"blendshapes must have shape \(K, 40, 3\), got \(40, 3\)"):
        ops.reduced_projection(p.blendshapes[0], p.distribution)
    with pytest.raises(ValueError, match=r"directions must have shape \(\d+, 3\), got \(2, 3\)"):
        ops.reduced_projection(p.blendshapes, p.distribution, torch.zeros(2, 3, dtype=torch.float64))
    f = force_problem(fibre=True)
    with pytest.raises(ValueError, match=r"force must have shape \(..., 4\) with directions, got \(4, 3\)"):
        ops.distribute_forces(f.distribution, torch.zeros(4, 3, dtype=torch.float64), f.directions)


# -- sparse matrix -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crow", "col", "message"),
    [
        ([0, 1], [0], r"crow must have shape \(3,\), got \(2,\)"),
        ([0, 2, 1], [0, 1], "crow must rise from 0 to 2"),
        ([0, 1, 3], [0, 1], "crow must rise from 0 to 2"),
        ([0, 1, 2], [0, 5], r"col must lie in \[0, 3\), got 0 to 5"),
        ([0, 1, 2], [-1, 0], r"col must lie in \[0, 3\), got -1 to 0"),
        ([0, 2, 2], [1, 1], "col must ascend strictly"),
        ([0, 2, 2], [2, 1], "col must ascend strictly"),
    ],
)
def test_a_broken_index_is_refused(crow: list[int], col: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SparseMatrix(torch.tensor(crow), torch.tensor(col), torch.ones(len(col)), (2, 3))


@pytest.mark.parametrize("shape", [(2,), (2, 3, 1), (-1, 3)])
def test_the_shape_of_a_matrix_has_two_sizes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape must be \(N, M\), got \("):
        SparseMatrix(torch.tensor([0, 1, 2]), torch.tensor([0, 1]), torch.ones(2), shape)  # pyright: ignore[reportArgumentType]


def test_sparse_dtypes_are_checked() -> None:
    crow, col = torch.tensor([0, 1]), torch.tensor([0])
    with pytest.raises(TypeError, match=r"crow must be int64, got torch.int32"):
        SparseMatrix(crow.int(), col, torch.ones(1), (1, 1))
    with pytest.raises(TypeError, match=r"val must be float32 or float64, got torch.float16"):
        SparseMatrix(crow, col, torch.ones(1).half(), (1, 1))
    with pytest.raises(ValueError, match="col and val must be vectors of one length"):
        SparseMatrix(crow, col, torch.ones(2), (1, 1))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")  # torch's own note on its format
def test_sparse_round_trip() -> None:
    dense = force_problem().distribution.dense()
    matrix = SparseMatrix.from_dense(dense)
    assert torch.equal(matrix.dense(), dense)
    assert torch.equal(matrix.to_sparse_csr().to_dense(), dense)
    assert matrix.to(torch.float32).val.dtype == torch.float32


def test_sparse_devices_are_checked() -> None:
    matrix = force_problem().distribution
    with pytest.raises(ValueError, match="val must be on meta as col is, got cpu"):
        matrix.to("meta").with_values(matrix.val)
    with pytest.raises(ValueError, match="crow must be on cpu as col is, got meta"):
        SparseMatrix(matrix.crow.to("meta"), matrix.col, matrix.val, matrix.shape)
    with pytest.raises(TypeError, match="val must be float32 or float64, got torch.float16"):
        matrix.to(torch.float16)
    with pytest.raises(TypeError, match="crow must be a torch.Tensor, got list"):
        SparseMatrix([0, 1], matrix.col, matrix.val, (1, 1))  # pyright: ignore[reportArgumentType]


# -- generalized mass --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [ops, reference])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_bad_vertex_mass_is_named(module: Any, value: float) -> None:
    blendshapes = force_problem().blendshapes
    mass = torch.ones(3, 40, dtype=torch.float64)
    mass[2, 7] = value
    with pytest.raises(ValueError, match=rf"mass of sequence 2 .* got {value} at vertex 7"):
        module.generalized_mass(blendshapes, mass)
    with pytest.raises(ValueError, match=rf"mass must .* got {value} at vertex 7"):
        module.generalized_mass(blendshapes, mass[2])


def test_mass_shapes_are_checked() -> None:
    blendshapes = force_problem().blendshapes
    with pytest.raises(ValueError, match=r"mass must have shape \(..., 40\), got \(2, 39\)"):
        ops.generalized_mass(blendshapes, torch.ones(2, 39, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"blendshapes must have shape \(K, N, 3\), got \(5, 120\)"):
        ops.generalized_mass(blendshapes.flatten(1), torch.ones(40, dtype=torch.float64))


# -- rollout -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dt", [0.0, -0.04, float("nan"), float("inf")])
def test_dt_must_be_positive(dt: float) -> None:
    with pytest.raises(ValueError, match="dt must be a positive number"):
        rollout(dt=dt)


def test_numbers_must_be_plain_numbers() -> None:
    p = force_problem()
    with pytest.raises(TypeError, match="dt must be a Python number, got Tensor"):
        rollout(dt=torch.tensor(0.1, requires_grad=True))
    with pytest.raises(TypeError, match="dt must be a Python number, got NoneType"):
        rollout(dt=None)
    with pytest.raises(TypeError, match="scale must be a Python number, got Tensor"):
        ops.generalized_mass(p.blendshapes, torch.ones(40).double(), torch.tensor(1.0))  # pyright: ignore[reportArgumentType]
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="scale must be a positive number"):
            ops.generalized_mass(p.blendshapes, torch.ones(40).double(), scale)
    single = rollout_problem(dtype=torch.float32)
    for dt in (1e-46, 1e40):
        with pytest.raises(ValueError, match="dt must be a positive number"):
            ops.euler_rollout(**{**single, "dt": dt})


def test_what_is_needed_may_not_be_none() -> None:
    p = force_problem()
    with pytest.raises(TypeError, match=r"force must be a torch.Tensor, got NoneType"):
        ops.distribute_forces(p.distribution, None)  # pyright: ignore[reportArgumentType]
    for name in ("mass", "force", "c0", "v0"):
        with pytest.raises(TypeError, match=rf"{name} must be a torch.Tensor, got NoneType"):
            rollout(**{name: None})


def test_rollout_arguments_are_checked() -> None:
    zeros = torch.zeros
    with pytest.raises(ValueError, match="scheme must be one of .* implicit, got 'rk4'"):
        rollout(scheme="rk4")
    with pytest.raises(ValueError, match=r"force must have shape \(..., T, K\) with K > 0, got \(2, 4, 0\)"):
        rollout(force=zeros(2, 4, 0).double())
    with pytest.raises(ValueError, match=r"force must have shape \(..., T, K\) with K > 0, got \(3,\)"):
        rollout(force=zeros(3).double())
    with pytest.raises(ValueError, match=r"c0 must have shape \(2, 3\), got \(3,\)"):
        rollout(c0=zeros(3).double())
    with pytest.raises(ValueError, match=r"v0 must have shape \(2, 3\), got \(2, 4\)"):
        rollout(v0=zeros(2, 4).double())
    with pytest.raises(
        ValueError, match=r"mass must have shape \(3, 3\) or \(2, 3, 3\) or \(2, 4, 3, 3\), got \(5, 3, 3\)"
    ):
        rollout(mass=spd(5, 3))
    with pytest.raises(ValueError, match=r"damping must have shape \(3, 3\) or \(2, 3, 3\), got \(2, 4, 3, 3\)"):
        rollout(damping=spd(2, 4, 3))
    with pytest.raises(ValueError, match="mass with a frame axis needs scheme"):
        rollout(mass=spd(2, 4, 3), scheme="implicit")


SINGULAR = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.float64)


@pytest.mark.parametrize("module", [ops, reference])
@pytest.mark.parametrize("scheme", ops.SCHEMES)
@pytest.mark.parametrize("bad", [SINGULAR, -torch.eye(3).double(), torch.diag(torch.tensor([1.0, 0, 1])).double()])
def test_a_mass_that_is_not_positive_definite_is_named(module: Any, scheme: str, bad: torch.Tensor) -> None:
    problem = rollout_problem(batch=(4,), mass_axes="sequence")
    problem["mass"][2] = bad
    with pytest.raises(ValueError, match="mass of sequence 2 must be symmetric positive definite"):
        module.euler_rollout(**problem, scheme=scheme)
    problem["mass"] = bad
    with pytest.raises(ValueError, match="mass must be symmetric positive definite"):
        module.euler_rollout(**problem, scheme=scheme)


@pytest.mark.parametrize("module", [ops, reference])
def test_a_singular_mass_is_seen_in_single_precision(module: Any) -> None:
    shapes = torch.randn(20, 300, generator=torch.Generator().manual_seed(0))
    shapes[7] = 0.3 * shapes[3] - 0.2 * shapes[11]
    problem = rollout_problem(num_shapes=20, elastic_axes=None, dtype=torch.float32)
    with pytest.raises(ValueError, match="mass must be symmetric positive definite, but it is singular"):
        module.euler_rollout(**{**problem, "mass": shapes @ shapes.mT})


@pytest.mark.parametrize("module", [ops, reference])
def test_other_bad_matrices_are_named(module: Any) -> None:
    problem = rollout_problem(batch=(2, 2), mass_axes="frame", elastic_axes="sequence")
    mass, stiffness = problem["mass"].clone(), problem["stiffness"].clone()
    mass[1, 0, 3] = SINGULAR
    with pytest.raises(ValueError, match=r"mass of sequence \(1, 0\), frame 3 must be symmetric positive definite"):
        module.euler_rollout(**{**problem, "mass": mass})
    stiffness[0, 1, 0, 2] += 1
    with pytest.raises(ValueError, match=r"stiffness of sequence \(0, 1\) must be symmetric and finite"):
        module.euler_rollout(**{**problem, "stiffness": stiffness})
    with pytest.raises(ValueError, match="damping must be symmetric and finite"):
        module.euler_rollout(**{**problem, "damping": torch.full((3, 3), float("nan"), dtype=torch.float64)})
    implicit = rollout_problem()
    with pytest.raises(ValueError, match=r"mass \+ dt damping .* must be symmetric positive definite"):
        module.euler_rollout(**{**implicit, "stiffness": -1e4 * implicit["stiffness"]}, scheme="implicit")


# -- modal rollout -----------------------------------------------------------------------------------------------------


def test_modal_rollout_arguments_are_checked() -> None:
    system, inputs = modal_problem(batch=(2,), num_frames=4, num_shapes=3, num_muscles=2)

    def run(**changes: Any) -> None:
        ops.modal_rollout(**{"system": system, **inputs, **changes})

    zeros = torch.zeros
    with pytest.raises(TypeError, match="system must be a ModalSystem, got Tensor"):
        run(system=system.mass)
    with pytest.raises(TypeError, match=r"force must be torch.float64 .* got torch.float32"):
        run(force=inputs["force"].float())
    with pytest.raises(TypeError, match=r"c0 must be a torch.Tensor, got NoneType"):
        run(c0=None)
    with pytest.raises(ValueError, match="muscle_force must be on cpu .* got meta"):
        run(muscle_force=inputs["muscle_force"].to("meta"))
    with pytest.raises(ValueError, match=r"c0 must have shape \(2, 3\), got \(2, 4\)"):
        run(c0=zeros(2, 4).double())
    with pytest.raises(ValueError, match=r"c0 must have shape \(2, 3\), got \(5, 3\)"):
        run(c0=zeros(5, 3).double())
    with pytest.raises(ValueError, match=r"c0 must have shape \(2, 3\), got \(3,\)"):
        run(c0=zeros(3).double(), v0=zeros(3).double())
    with pytest.raises(ValueError, match=r"c0 must have shape \(2, 3\), got \(5, 3\)"):
        run(c0=zeros(5, 3).double(), force=None)
    with pytest.raises(ValueError, match=r"v0 must have shape \(2, 3\), got \(3,\)"):
        run(v0=zeros(3).double())
    with pytest.raises(ValueError, match=r"force must have shape \(..., T, 3\), got \(2, 4, 2\)"):
        run(force=zeros(2, 4, 2).double())
    with pytest.raises(ValueError, match=r"force must have shape \(..., T, 3\), got \(3,\)"):
        run(force=zeros(3).double())
    with pytest.raises(ValueError, match=r"muscle_force must have shape \(..., T, 2\), got \(2, 4, 2, 3\)"):
        run(force=None, muscle_force=zeros(2, 4, 2, 3).double())
    with pytest.raises(ValueError, match=r"muscle_force must have shape \(2, 4, 2\), got \(2, 4, 2, 3\)"):
        run(muscle_force=zeros(2, 4, 2, 3).double())
    with pytest.raises(ValueError, match=r"muscle_force must have shape \(2, 4, 2\), got \(2, 5, 2\)"):
        run(muscle_force=zeros(2, 5, 2).double())
    with pytest.raises(ValueError, match="force and muscle_force are both None"):
        run(force=None, muscle_force=None)
    with pytest.raises(ValueError, match="muscle_force needs a system with a projection"):
        run(system=ops.ModalSystem(system.mass))


def test_matrices_without_common_modes_are_refused() -> None:
    mass, stiffness = spd(4), spd(4, seed=1)
    ops.ModalSystem(mass, 0.1, 0.2 * mass + 3 * stiffness, stiffness)
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(ValueError, match="damping must be diagonal in the normal modes"):
            ops.ModalSystem(mass.to(dtype), 0.1, spd(4, seed=2).to(dtype), stiffness.to(dtype))


def test_bad_systems_are_refused() -> None:
    mass, stiffness = spd(3), spd(3, seed=1)
    system = ops.ModalSystem
    with pytest.raises(ValueError, match=r"mass must have shape \(K, K\) with K > 0, got \(0, 0\)"):
        system(mass[:0, :0])
    with pytest.raises(ValueError, match=r"stiffness must have shape \(3, 3\), got \(2, 3, 3\)"):
        system(mass, stiffness=stiffness.expand(2, 3, 3))
    with pytest.raises(ValueError, match=r"projection must have shape \(3, M\) or \(3, M, 3\), got \(4, 2\)"):
        system(mass, projection=torch.zeros(4, 2).double())
    with pytest.raises(TypeError, match=r"damping must be torch.float64 .* got torch.float32"):
        system(mass, damping=mass.float())
    with pytest.raises(TypeError, match="dt must be a Python number, got Tensor"):
        system(mass, torch.tensor(0.1))
    with pytest.raises(ValueError, match="scheme must be one of .* implicit, got 'rk4'"):
        system(mass, scheme="rk4")
    with pytest.raises(ValueError, match="mass must be symmetric positive definite"):
        system(-mass)
    with pytest.raises(ValueError, match="stiffness must be symmetric and finite"):
        system(mass, stiffness=stiffness + torch.eye(3).double().roll(1, 0))
    with pytest.raises(ValueError, match=r"mass \+ dt damping .* must be symmetric positive definite"):
        system(mass, 0.1, stiffness=-1e4 * stiffness, scheme="implicit")
    with pytest.raises(ValueError, match="stiffness requires grad, but a ModalSystem is constant"):
        system(mass, stiffness=stiffness.requires_grad_())
    with pytest.raises(ValueError, match=r"the modes are not finite in torch.float32"):
        system(spd(3, scale=1e-30).float(), damping=spd(3, scale=1e30).float())


# -- backends ----------------------------------------------------------------------------------------------------------


def test_reference_backend_runs_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    p = force_problem()
    monkeypatch.setattr(_backend, "_backend", "reference")
    assert ops.backends()["runs"]["cpu"] == "reference"
    monkeypatch.setattr("biomechau._core.distribute_forces_fwd", None)  # would fail if called
    assert torch.equal(
        ops.distribute_forces(p.distribution, p.force), reference.distribute_forces(p.distribution, p.force)
    )


def test_reference_backend_runs_modal_rollouts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    system, inputs = modal_problem()
    monkeypatch.setattr(_backend, "_backend", "reference")
    monkeypatch.setattr("biomechau._core.modal_rollout_fwd", None)  # would fail if called
    expected = reference.modal_rollout(system, **inputs)
    for actual, other in zip(ops.modal_rollout(system, **inputs), expected, strict=True):
        assert torch.equal(actual, other)


def test_an_unknown_backend_is_refused() -> None:
    run = subprocess.run(
        [sys.executable, "-I", "-c", "import biomechau.ops"],
        env={**os.environ, "BIOMECHAU_BACKEND": "cuda"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert "BIOMECHAU_BACKEND must be one of kernels, reference, got 'cuda'" in run.stderr


def test_a_device_without_kernels_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backend, "_warned", set())
    with pytest.warns(RuntimeWarning, match="built without kernels for mps: its plain-torch twins run there"):
        assert _backend.device_runs_reference(torch.device("mps"))
    assert _backend.device_runs_reference(torch.device("mps"))  # a second warning would be an error
