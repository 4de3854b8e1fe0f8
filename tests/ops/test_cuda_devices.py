"""GPUs that the kernels cannot run on, and calls of several threads on one GPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest
import torch
from ops.cases import assert_close, rollout_problem
from ops.cuda import Emulation, Gpu
from torch import Tensor

from biomechau import ops
from biomechau.ops import _backend, reference

INSUFFICIENT_DRIVER, INVALID_DEVICE, NO_KERNEL_IMAGE = 35, 101, 209


@pytest.fixture
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backend, "_refusals", {})
    monkeypatch.setattr(_backend, "_warned", set())


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (INSUFFICIENT_DRIVER, "CUDA driver version is insufficient for CUDA runtime version"),
        (NO_KERNEL_IMAGE, "no kernel image is available for execution on the device"),
    ],
)
def test_the_twins_run_where_the_kernels_cannot(
    emulation: Emulation, error: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulation.set_fault(1, error)
    message = rf"cannot run on cuda:1 \({reason}\): its plain-torch twins run there, more slowly"
    with pytest.warns(RuntimeWarning, match=message):
        assert _backend.device_runs_reference(torch.device("cuda", 1))
    assert _backend.device_runs_reference(torch.device("cuda", 1))  # and no second warning
    assert not _backend.device_runs_reference(torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device, runs, refusal in ((0, "kernels", None), (1, "reference", reason)):
        monkeypatch.setattr(torch.cuda, "current_device", lambda device=device: device)
        found = ops.backends()
        assert found["runs"] == {"cpu": "kernels", "cuda": runs}
        assert found["cuda_refusal"] == refusal


@pytest.mark.usefixtures("nothing_known")
def test_a_gpu_is_asked_once(emulation: Emulation) -> None:
    assert not _backend.device_runs_reference(torch.device("cuda", 0))
    emulation.set_fault(0, NO_KERNEL_IMAGE)
    assert not _backend.device_runs_reference(torch.device("cuda", 0))


@pytest.mark.usefixtures("nothing_known")
def test_other_errors_are_left_to_the_call(emulation: Emulation) -> None:
    emulation.set_fault(1, INVALID_DEVICE)
    assert not _backend.device_runs_reference(torch.device("cuda", 1))
    assert not _backend.device_runs_reference(torch.device("cuda", 7))


@pytest.mark.usefixtures("nothing_known", "emulation")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised inside the compiler
def test_a_gpu_is_asked_while_a_graph_is_compiled() -> None:
    def add(x: Tensor) -> Tensor:
        return x + (1 if _backend.device_runs_reference(torch.device("cuda", 0)) else 2)

    assert torch.compile(add, fullgraph=True, backend="eager")(torch.zeros(1)) == 2


def test_a_cpu_build_says_why_there_are_no_cuda_kernels() -> None:
    if _backend._core.cuda:
        pytest.skip("this build has CUDA kernels")
    assert _backend._core.cuda_refusal(0) == "this build has no CUDA kernels"


# -- several threads ---------------------------------------------------------------------------------------------------


def large_rollout(gpu: Gpu, num_shapes: int) -> tuple[Tensor, Tensor]:
    """Its matrices take more than 48 KB of shared memory, of which a kernel must be told."""
    problem = rollout_problem(batch=(1,), num_frames=2, num_shapes=num_shapes, elastic_axes=None)
    assert 48 * 1024 < 8 * num_shapes**2 < 62 * 1024
    return ops.euler_rollout(**gpu.to(problem))[0], reference.euler_rollout(**problem)[0]


def test_a_call_of_another_thread_does_not_take_shared_memory_away(emulation: Emulation) -> None:
    """The limit of a kernel belongs to the process: the other call comes between setting it and the launch."""
    other: list[tuple[Tensor, Tensor]] = []

    def meanwhile() -> None:
        thread = Thread(target=lambda: other.append(large_rollout(emulation, 80)))
        thread.start()
        thread.join()

    emulation.before_launch(meanwhile)
    results = [large_rollout(emulation, 86), *other]
    assert len(results) == 2
    for actual, expected in results:
        assert_close(actual, expected)


@pytest.mark.cuda
def test_calls_of_two_threads(real_gpu: Gpu) -> None:
    with ThreadPoolExecutor(2) as pool:
        for actual, expected in pool.map(lambda size: large_rollout(real_gpu, size), [80, 86] * 20):
            assert_close(actual.cpu(), expected)
