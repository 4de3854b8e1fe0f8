"""How the CUDA kernels are called: same bits every time, streams, devices, graphs, bad input without waiting."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops.cases import DTYPES, assert_close, force_problem, results_of, rollout_problem
from ops.convolutions import convolution_problem
from ops.cuda import Emulation, Gpu
from ops.cuda_cases import assert_same_bits, cases
from torch import Tensor

from biomechau import _core, ops
from biomechau.ops import _backend


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_of_threads_and_blocks_does_not_change_a_bit(emulation: Emulation, dtype: torch.dtype) -> None:
    """What one thread reads and another writes is apart by a barrier: else the falling order would show it."""
    for name, (function, inputs) in cases(emulation, dtype).items():
        emulation.set_order(0)
        expected = results_of(function, inputs)
        assert all(bool(result.isfinite().all()) for result in expected), name
        for seed in (1, 2):  # falling, shuffled
            emulation.set_order(seed)
            assert_same_bits(results_of(function, inputs), expected, name)


@pytest.mark.cuda
def test_repeated_calls_give_the_same_bits(real_gpu: Gpu) -> None:
    for name, (function, inputs) in cases(real_gpu).items():
        expected = results_of(function, inputs)
        for _ in range(5):
            assert_same_bits(results_of(function, inputs), expected, name)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kernel_once(real_gpu: Gpu, dtype: torch.dtype) -> None:
    """What compute-sanitizer watches; see benchmarks/gpu_steps.py."""
    for name, (function, inputs) in cases(real_gpu, dtype).items():
        assert all(bool(result.isfinite().all()) for result in results_of(function, inputs)), name


def strided(tensor: Tensor | None) -> Tensor | None:
    """The same values with gaps in memory."""
    return None if tensor is None else torch.stack([tensor, torch.full_like(tensor, torch.nan)], -1)[..., 0]


def test_non_contiguous_inputs(gpu: Gpu) -> None:
    for name, (function, inputs) in cases(gpu).items():
        # results_of makes dense leaves: the gaps must come after it.
        def with_gaps(function: Callable[..., Any] = function, **tensors: Tensor | None) -> Any:
            return function(**{key: strided(value) for key, value in tensors.items()})

        assert_same_bits(results_of(with_gaps, inputs), results_of(function, inputs), name)


# -- bad input ---------------------------------------------------------------------------------------------------------


def bad_systems() -> dict[str, tuple[dict[str, Any], str, str]]:
    """Problems of three sequences of which the second has a bad matrix: arguments, scheme, what the error says."""

    def system(**sizes: Any) -> dict[str, Any]:
        return rollout_problem(**{"batch": (3,), "mass_axes": "sequence", "elastic_axes": "sequence", **sizes})

    found: dict[str, tuple[dict[str, Any], str, str]] = {}
    for scheme in ops.SCHEMES:
        for name in ("mass", "damping", "stiffness"):
            spoiled = system()
            spoiled[name][1, 0, 2] += 1
            found[f"{scheme}, {name} asymmetric"] = (spoiled, scheme, rf"{name} of sequence 1 must be symmetric and")
            spoiled = system()
            spoiled[name][1, 1, 1] = torch.nan
            found[f"{scheme}, {name} NaN"] = (spoiled, scheme, rf"{name} of sequence 1 must be symmetric and finite")
        spoiled = system()
        spoiled["mass"][1] *= -1
        found[f"{scheme}, mass indefinite"] = (spoiled, scheme, "mass of sequence 1 must be symmetric positive def")
        spoiled = system()
        spoiled["mass"][1] = 1
        found[f"{scheme}, mass singular"] = (spoiled, scheme, "mass of sequence 1 must be symmetric positive definite")
    spoiled = system()
    spoiled["stiffness"][1] *= -1e4
    found["system indefinite"] = (spoiled, "implicit", r"mass \+ dt damping \+ dt\^2 stiffness of sequence 1 must be")
    return found


@pytest.mark.parametrize("case", bad_systems())
def test_a_bad_matrix_gives_nan_in_its_sequence_only(gpu: Gpu, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, scheme, message = bad_systems()[case]
    there = gpu.to(problem)
    monkeypatch.setattr(_backend, "_checks", "0")
    for seed in (0, 1, 2):
        gpu.set_order(seed)
        for result in ops.euler_rollout(**there, scheme=scheme):
            assert result[1].isnan().all()
            assert result[[0, 2]].isfinite().all()
    monkeypatch.setattr(_backend, "_checks", "1")
    with pytest.raises(ValueError, match=message):
        ops.euler_rollout(**there, scheme=scheme)


@pytest.mark.parametrize("scheme", ["explicit", "semi_implicit"])
def test_a_bad_mass_of_one_frame_gives_nan_from_there(gpu: Gpu, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = rollout_problem(batch=(2, 2), mass_axes="frame")
    problem["mass"][1, 0, 2] *= -1
    there = gpu.to(problem)
    for result in ops.euler_rollout(**there, scheme=scheme):
        assert result[1, 0, 2:].isnan().all()
        assert result[1, 0, :2].isfinite().all()
        assert result[0].isfinite().all()
        assert result[1, 1].isfinite().all()
    monkeypatch.setattr(_backend, "_checks", "1")
    with pytest.raises(ValueError, match=r"mass of sequence \(1, 0\), frame 2 must be symmetric positive definite"):
        ops.euler_rollout(**there, scheme=scheme)


def test_the_first_fault_is_told(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backend, "_checks", "1")
    problem = rollout_problem(batch=(5,), mass_axes="sequence", elastic_axes="sequence")
    problem["mass"][3] *= -1
    problem["mass"][4, 0, 1] += 1
    problem["damping"][1, 0, 1] += 1
    with pytest.raises(ValueError, match="mass of sequence 4 must be symmetric and finite"):
        ops.euler_rollout(**gpu.to(problem))


@pytest.mark.parametrize("batch", [(), (3,), (20,)])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_bad_vertex_mass_gives_nan_in_its_sequence_only(
    gpu: Gpu, value: float, batch: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    blendshapes = force_problem(num_vertices=300).blendshapes
    blendshapes[:, 190:] = 0  # where the masses are bad nothing moves
    blendshapes = gpu.to(blendshapes)
    mass = torch.ones(*batch, 300, dtype=torch.float64)
    mass.view(-1)[300 * (mass.numel() // 300 - 1) + 201 :] = value  # several: the first is told
    there = gpu.to(mass)
    out = ops.generalized_mass(blendshapes, there)
    assert (out[-1] if batch else out).isnan().all()
    assert not batch or out[:-1].isfinite().all()
    monkeypatch.setattr(_backend, "_checks", "1")
    where = f" of sequence {batch[0] - 1}" if batch else ""
    message = rf"mass{where} must be finite and not negative, got {value} at vertex 201"
    with pytest.raises(ValueError, match=message):
        ops.generalized_mass(blendshapes, there)


def test_good_input_passes_the_checks(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backend, "_checks", "1")
    assert ops.backends()["cuda_checks"]
    for name, (function, inputs) in cases(gpu).items():
        if name.startswith(("generalized_mass", "euler_rollout")):
            function(**inputs)


@pytest.mark.parametrize("vertices", [[3, 7, 20], [-1, 7], [3, 3, 7], [7, 3]])
def test_vertices_that_do_not_ascend_are_refused(gpu: Gpu, vertices: list[int]) -> None:
    """Two threads would write the gradient at a vertex that comes twice."""
    there = gpu.to({**convolution_problem(num_vertices=20), "vertices": torch.tensor(vertices)})
    for _ in range(2):
        with pytest.raises(ValueError, match=r"vertices must ascend within \[0, 20\), each once"):
            ops.chebyshev_conv(**there)


def test_a_vertex_out_of_range_gives_nan_in_its_row_only(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the vertices while a graph is captured; no kernel may follow one out of the mesh."""
    monkeypatch.setattr(sys.modules["biomechau.ops.chebyshev_conv"], "_check_ascending", lambda *args: None)
    problem = convolution_problem(batch=(2,), num_vertices=20)
    there = gpu.to({**problem, "vertices": torch.tensor([3, 7, 20])})
    out = ops.chebyshev_conv(**there)
    assert out[:, 2].isnan().all()
    assert out[:, :2].isfinite().all()


# -- devices and streams -----------------------------------------------------------------------------------------------


def test_kernels_run_on_the_tensors_device_in_its_stream(emulation: Emulation) -> None:
    emulation.device = 1
    for name, (function, inputs) in cases(emulation).items():
        before = emulation.library.emulation_launches()
        results_of(function, inputs)
        assert emulation.library.emulation_launches() > before + 1, f"{name}: the CPU kernels ran"
        assert emulation.library.emulation_stream() == Emulation.stream, name
        assert emulation.library.emulation_device() == 0, f"{name}: the current device was not restored"


@pytest.mark.parametrize("reason", ["device", "launch"])
def test_an_error_of_cuda_names_the_op(emulation: Emulation, reason: str) -> None:
    calls = cases(emulation)
    if reason == "device":
        emulation.device = 7
    else:
        emulation.library.emulation_refuse_launches(1)
    said = {"device": "invalid device ordinal", "launch": "invalid argument"}[reason]
    for name, (function, inputs) in calls.items():
        op = name.split(",")[0].replace("force_projection", "reduced_projection")
        with pytest.raises(RuntimeError, match=f"{op}: CUDA says: {said}"):
            function(**inputs)


def test_a_workspace_of_another_size_is_refused(emulation: Emulation) -> None:
    values, masses = torch.zeros(5, 4, 3), torch.ones(4)
    out, scratch = torch.zeros(5, 5), torch.zeros(_core.generalized_mass_fwd_workspace(1, 4, 5) - 1)
    with pytest.raises(ValueError, match=r"workspace must have \d+ elements, got"):
        _core.generalized_mass_fwd(1, 4, 5, 1.0, values, None, masses, out, scratch, None, (0, 0))


def test_a_build_without_cuda_refuses_devices() -> None:
    if _core.cuda:
        pytest.skip("this build has CUDA kernels")
    with pytest.raises(ValueError, match="this build has no CUDA kernels"):
        _core.apply_projection_fwd(0, 0, 0, (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0))


@pytest.mark.cuda
def test_calls_follow_the_current_stream(real_gpu: Gpu) -> None:
    """A kernel in another stream would read its inputs before the slow work ahead of them is done."""
    slow = torch.ones(4000, 4000, device="cuda")
    for name, (function, inputs) in cases(real_gpu).items():
        expected = results_of(function, inputs)
        with torch.cuda.stream(torch.cuda.Stream()):
            torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())
            ahead = slow @ slow @ slow @ slow
            late = {
                key: None if value is None else value + 0 * ahead[0, 0].to(value.dtype) for key, value in inputs.items()
            }
            actual = results_of(function, late)
        torch.cuda.synchronize()
        assert_same_bits(actual, expected, name)


@pytest.mark.cuda
def test_calls_are_captured_in_graphs(real_gpu: Gpu) -> None:
    for name, (function, inputs) in cases(real_gpu).items():
        expected = results_of(function, inputs)
        leaves = {key: None if value is None else value.clone().requires_grad_() for key, value in inputs.items()}
        wanted = [leaf for leaf in leaves.values() if leaf is not None]

        outputs = function(**leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        gen = torch.Generator().manual_seed(0)  # as results_of draws them
        weights = [torch.randn(out.shape, generator=gen, dtype=torch.float64).to(out) for out in outputs]
        del outputs

        def run(
            function: Callable[..., Any] = function,
            leaves: dict[str, Tensor | None] = leaves,
            wanted: list[Tensor] = wanted,
            weights: list[Tensor] = weights,
        ) -> list[Tensor]:
            outputs = function(**leaves)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return [*outputs, *torch.autograd.grad(outputs, wanted, weights)]

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = run()
        for _ in range(2):
            for result in captured:
                result.detach().fill_(torch.nan)
            graph.replay()
            torch.cuda.synchronize()
            assert_same_bits(captured, expected, name)


@pytest.mark.cuda
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised inside the compiler
@pytest.mark.filterwarnings("ignore:.*TensorFloat32.*:UserWarning")
def test_compiled_functions_equal_eager_ones(real_gpu: Gpu) -> None:
    torch.compiler.reset()
    p = real_gpu.to(force_problem(batch=(2, 6), dtype=torch.float64))
    r = real_gpu.to(rollout_problem(batch=(2,), num_frames=6, num_shapes=5))

    def physics(val: Tensor, force: Tensor, stiffness: Tensor) -> Tensor:
        distribution = p.distribution.with_values(torch.nn.functional.softplus(val))
        q = ops.force_projection(p.blendshapes, distribution, force)
        mass = ops.generalized_mass(p.blendshapes, torch.ones(40, dtype=force.dtype, device="cuda"), 0.5)
        c, v = ops.euler_rollout(mass, q, r["c0"], r["v0"], 0.1, mass, stiffness, scheme="implicit")
        return c.square().sum() + v.sum() + ops.distribute_forces(distribution, force).square().sum()

    results = []
    for function in (physics, torch.compile(physics, fullgraph=True)):
        leaves = [t.clone().requires_grad_() for t in (p.distribution.val, p.force, r["stiffness"])]
        out = function(*leaves)
        results.append([out, *torch.autograd.grad(out, leaves)])
    for actual, expected in zip(results[1], results[0], strict=True):
        assert_close(actual, expected)


@pytest.mark.cuda
def test_nothing_waits_for_the_gpu(real_gpu: Gpu) -> None:
    prepared = cases(real_gpu)
    for function, inputs in prepared.values():
        results_of(function, inputs)
    for name, (function, inputs) in prepared.items():
        leaves = {key: None if value is None else value.clone().requires_grad_() for key, value in inputs.items()}
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            outputs = function(**leaves)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            wanted = [leaf for leaf in leaves.values() if leaf is not None]
            torch.autograd.grad([out.sum() for out in outputs], wanted)
        except RuntimeError as error:
            pytest.fail(f"{name}: {error}")
        finally:
            torch.cuda.set_sync_debug_mode(before)
