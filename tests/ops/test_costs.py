"""Which formulation runs where: the rule, and that what it chooses gives the results of the op."""

from __future__ import annotations

import sys

import pytest
import torch
from ops.cases import DTYPES, assert_close, compare, force_problem, local_blendshapes

from biomechau import _core, ops
from biomechau.ops import _backend, _costs, reference
from biomechau.ops._costs import PREFERENCES, Preference, prefers_products

GENERALIZED_MASS = sys.modules["biomechau.ops.generalized_mass"]


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors count as lying on a GPU; a build without CUDA kernels refuses to run any there."""
    monkeypatch.setattr(_backend, "gpu", lambda tensor: (0, 0))


def test_on_the_cpu_the_kernels_run() -> None:
    for preference in PREFERENCES:
        assert preference.device != "cpu"
        assert not prefers_products(preference.op, torch.zeros(1), 10**6)


@pytest.mark.usefixtures("on_a_gpu")
def test_the_rule_reads_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {preference.op for preference in PREFERENCES} <= set(ops.__all__)
    assert all(preference.evidence in ("predicted", "measured") for preference in PREFERENCES)
    monkeypatch.setattr(_costs, "PREFERENCES", (Preference("generalized_mass", "cuda", 5, "predicted"),))
    tensor = torch.zeros(1)
    assert [prefers_products("generalized_mass", tensor, count) for count in (4, 5, 6)] == [False, True, True]
    assert not prefers_products("euler_rollout", tensor, 6)


@pytest.mark.usefixtures("on_a_gpu")
def test_products_that_round_are_not_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_costs, "PREFERENCES", (Preference("generalized_mass", "cuda", 0, "predicted"),))
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    assert prefers_products("generalized_mass", single, 1)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        assert not prefers_products("generalized_mass", single, 1)
        assert prefers_products("generalized_mass", double, 1)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(_core.cuda, reason="a build with CUDA kernels would look for the tensors on a GPU")
@pytest.mark.usefixtures("on_a_gpu")
def test_the_rule_decides_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_costs, "PREFERENCES", (Preference("generalized_mass", "cuda", 3, "predicted"),))
    blendshapes, mass = local_blendshapes(80, 5), torch.rand(3, 80, dtype=torch.float64)
    assert_close(ops.generalized_mass(blendshapes, mass, 0.5), reference.generalized_mass(blendshapes, mass, 0.5))
    with pytest.raises(ValueError, match="this build has no CUDA kernels"):
        ops.generalized_mass(blendshapes, mass[:2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (1,), (40,), (2, 3), (0,)])
@pytest.mark.parametrize(("num_vertices", "num_shapes"), [(90, 7), (1, 3), (40, 0), (300, 1)])
def test_products_are_the_mass(
    num_vertices: int, num_shapes: int, batch: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several pieces, the last one shorter; the backward pass is the kernel's."""
    monkeypatch.setattr(_costs, "PREFERENCES", (Preference("generalized_mass", "cpu", 0, "predicted"),))
    monkeypatch.setattr(GENERALIZED_MASS, "_MOST_PRODUCTS", 7 * 7 * 40)
    blendshapes = force_problem(num_vertices=num_vertices, num_shapes=num_shapes, dtype=dtype).blendshapes
    mass = torch.rand(*batch, num_vertices, dtype=dtype, generator=torch.Generator().manual_seed(1))
    out = ops.generalized_mass(blendshapes, mass, 0.5)
    assert torch.equal(out, out.mT)
    compare(
        lambda **x: ops.generalized_mass(**x, scale=0.5),
        lambda **x: reference.generalized_mass(**x, scale=0.5),
        {"blendshapes": blendshapes, "mass": mass},
    )


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_bad_mass_is_nan_in_its_sequence_or_named(value: float) -> None:
    blendshapes, mass = local_blendshapes(80, 5), torch.ones(3, 80, dtype=torch.float64)
    mass[1, 7] = value
    out = GENERALIZED_MASS._by_products(blendshapes, mass, 1.0, wait=False)
    assert out[1].isnan().all()
    assert_close(out[[0, 2]], reference.generalized_mass(blendshapes, mass[[0, 2]]))
    with pytest.raises(ValueError, match=rf"mass of sequence 1 .* got {value} at vertex 7"):
        GENERALIZED_MASS._by_products(blendshapes, mass, 1.0, wait=True)
