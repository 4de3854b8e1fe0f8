"""Meshes to coefficients, against SciPy's solver and against known coefficients."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from biomechau.rig import FaceRig
from biomechau.rig.bounded_least_squares import solve_bounded


def _coefficients(rig: FaceRig, *batch: int) -> Tensor:
    """Random coefficients in [0, 1], about a third of them 0."""
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(*batch, rig.num_shapes, generator=generator, dtype=torch.float64)
    return (1.5 * uniform - 0.5).clamp(min=0)


def _pose(rig: FaceRig, coefficients: Tensor) -> Tensor:
    return rig.neutral.double() + torch.einsum("...k,kna->...na", coefficients, rig.blendshapes.double())


def _spd_problem(num_variables: int, num_rows: int, condition: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_variables)
    basis, _ = torch.linalg.qr(torch.randn(num_variables, num_variables, generator=generator, dtype=torch.float64))
    values = torch.logspace(0, math.log10(condition), num_variables, dtype=torch.float64)
    rhs = torch.randn(num_rows, num_variables, generator=generator, dtype=torch.float64)
    return basis @ torch.diag(values) @ basis.T, rhs * values.sqrt()


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e6])
@pytest.mark.parametrize("bounds", [(-0.1, 0.2), (0.0, math.inf), (-math.inf, 0.05), (0.3, 0.4)])
def test_bounded_solver_agrees_with_scipy(condition: float, bounds: tuple[float, float]) -> None:
    gram, rhs = _spd_problem(12, 20, condition)
    lower, upper = (torch.full((12,), bound, dtype=torch.float64) for bound in bounds)
    solution = solve_bounded(gram, rhs, lower, upper)
    root = np.linalg.cholesky(gram.numpy())
    for b, x in zip(rhs.numpy(), solution.numpy(), strict=True):
        expected = lsq_linear(root.T, np.linalg.solve(root, b), bounds, method="bvls", tol=1e-14, max_iter=1000).x
        np.testing.assert_allclose(x, expected, atol=1e-9)


def test_bounded_solver_meets_the_optimality_conditions() -> None:
    gram, rhs = _spd_problem(40, 700, 1e4)
    lower, upper = torch.zeros(40, dtype=torch.float64), torch.ones(40, dtype=torch.float64)
    x = solve_bounded(gram, rhs, lower, upper)
    gradient = x @ gram - rhs
    at_lower, at_upper = x == 0, x == 1
    assert 0.1 < (at_lower | at_upper).double().mean() < 0.99
    tolerance = 1e-9 * rhs.abs().amax()
    assert (gradient[at_lower] > -tolerance).all()
    assert (gradient[at_upper] < tolerance).all()
    assert (gradient[~at_lower & ~at_upper].abs() < tolerance).all()


def test_bounded_solver_ends_where_exchanging_all_violations_cycles() -> None:
    """Nearly opposite columns make the block exchange swing; one exchange at a time must take over."""
    generator = torch.Generator().manual_seed(3)
    basis = torch.randn(30, 8, generator=generator, dtype=torch.float64)
    basis = torch.cat([basis, -basis + 1e-3 * torch.randn(30, 8, generator=generator, dtype=torch.float64)], 1)
    rhs = torch.randn(200, 16, generator=generator, dtype=torch.float64)
    lower, upper = torch.zeros(16, dtype=torch.float64), torch.full((16,), 0.5, dtype=torch.float64)
    gram = basis.T @ basis
    x = solve_bounded(gram, rhs, lower, upper)
    stationary = (x - (x - (x @ gram - rhs)).clamp(lower, upper)).abs()
    assert stationary.max() < 1e-7


@pytest.mark.parametrize(
    ("gram", "message"), [(torch.ones(3, 3), "shapes depend on each other"), (torch.zeros(3, 3), "has no weight")]
)
def test_singular_matrix_is_refused(gram: Tensor, message: str) -> None:
    bounds = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        solve_bounded(gram.double(), torch.ones(1, 3, dtype=torch.float64), *bounds)


@pytest.mark.parametrize("rigid", [False, True])
def test_fit_without_shapes_is_refused(tiny_rig: FaceRig, rigid: bool) -> None:
    bare = replace(tiny_rig, blendshapes=tiny_rig.blendshapes[:0], names=())
    with pytest.raises(ValueError, match="at least one shape, got none"):
        bare.fit(bare.neutral, rigid=rigid)
    with pytest.raises(ValueError, match="at least one shape, got none"):
        tiny_rig.fit(tiny_rig.neutral, shapes=[], rigid=rigid)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-9)])
@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (0,), (300,)])
def test_known_coefficients_come_back(
    tiny_rig: FaceRig, dtype: torch.dtype, tolerance: float, batch: tuple[int, ...]
) -> None:
    expected = _coefficients(tiny_rig, *batch)
    fitted = tiny_rig.fit(_pose(tiny_rig, expected).to(dtype), ridge=0)
    assert fitted.dtype == dtype
    assert fitted.shape == expected.shape
    torch.testing.assert_close(fitted.double(), expected, atol=tolerance, rtol=0)


def test_fit_is_the_bounded_ridge_regression_in_the_mass_norm(tiny_rig: FaceRig) -> None:
    generator = torch.Generator().manual_seed(2)
    masses = torch.rand(99, generator=generator, dtype=torch.float64)
    vertices = _pose(tiny_rig, 2 * _coefficients(tiny_rig, 4))
    vertices += 0.1 * torch.randn(vertices.shape, generator=generator, dtype=torch.float64)
    fitted = tiny_rig.fit(vertices, ridge=0.05, bounds=(0.1, 0.7), masses=masses)
    weight = masses.sqrt().repeat_interleave(3)
    matrix = tiny_rig.blendshapes.double().flatten(1).T * weight[:, None]
    penalty = math.sqrt(0.05 * (matrix**2).sum(0).mean())
    for frame, coefficients in zip(vertices, fitted, strict=True):
        target = (frame - tiny_rig.neutral).flatten() * weight
        stacked = torch.cat([matrix, penalty * torch.eye(8, dtype=torch.float64)]), torch.cat([target, target[:8] * 0])
        expected = lsq_linear(
            stacked[0].numpy(), stacked[1].numpy(), (0.1, 0.7), method="bvls", tol=1e-14, max_iter=1000
        ).x
        np.testing.assert_allclose(coefficients, expected, atol=1e-9)


def test_bounds_may_differ_by_shape(tiny_rig: FaceRig) -> None:
    upper = torch.tensor([math.inf] * 7 + [0.25], dtype=torch.float64)
    fitted = tiny_rig.fit(_pose(tiny_rig, torch.full((3, 8), 2.0, dtype=torch.float64)), bounds=(0, upper))
    assert (fitted[:, 7] == 0.25).all()
    assert (fitted[:, :7] > 1).all()


def test_chosen_shapes_alone_are_fitted(tiny_rig: FaceRig) -> None:
    vertices = _pose(tiny_rig, _coefficients(tiny_rig, 4))
    fitted = tiny_rig.fit(vertices, shapes=["JawOpen", "browDown_L"])
    assert torch.equal(fitted[:, [7, 2]], tiny_rig.select(["jawOpen", "browDown_L"]).fit(vertices))
    assert fitted[:, [0, 1, 3, 4, 5, 6]].count_nonzero() == 0


def test_masses_can_hide_vertices(tiny_rig: FaceRig) -> None:
    expected = _coefficients(tiny_rig, 3)
    vertices = _pose(tiny_rig, expected)
    vertices[:, 50] += 5
    masses = tiny_rig.vertex_masses.clone()
    masses[50] = 0
    torch.testing.assert_close(tiny_rig.fit(vertices, ridge=0, masses=masses), expected, atol=1e-6, rtol=0)
    assert (tiny_rig.fit(vertices, ridge=0) - expected).abs().max() > 1e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.float64, 1e-6)])
def test_rigid_motion_is_taken_out(tiny_rig: FaceRig, dtype: torch.dtype, tolerance: float) -> None:
    expected = _coefficients(tiny_rig, 6)
    generator = torch.Generator().manual_seed(4)
    skew = 0.5 * torch.randn(6, 3, 3, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.matrix_exp(skew - skew.mT)
    vertices = _pose(tiny_rig, expected) @ rotation + 30 * torch.randn(6, 1, 3, generator=generator).double()
    fitted = tiny_rig.fit(vertices.to(dtype), ridge=0, rigid=True)
    torch.testing.assert_close(fitted.double(), expected, atol=tolerance, rtol=0)
    assert (tiny_rig.fit(vertices, ridge=0) - expected).abs().max() > 0.1


def test_mesh_in_other_units_is_refused_by_the_alignment(tiny_rig: FaceRig) -> None:
    vertices = _pose(tiny_rig, _coefficients(tiny_rig, 300))
    vertices[270] *= 10
    with pytest.raises(ValueError, match="frame 270 does not converge: .* centimetres"):
        tiny_rig.fit(vertices, rigid=True)


def test_progress_counts_frames(tiny_rig: FaceRig) -> None:
    calls: list[tuple[int, int]] = []
    tiny_rig.fit(tiny_rig.neutral.expand(300, 99, 3), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(256, 300), (300, 300)]


@pytest.mark.parametrize("vertices", [torch.zeros(4, 99, 3).half(), torch.zeros(4, 99, 3, dtype=torch.int64)])
def test_other_dtypes_are_refused(tiny_rig: FaceRig, vertices: Tensor) -> None:
    with pytest.raises(TypeError, match="vertices must be float32 or float64"):
        tiny_rig.fit(vertices)


@pytest.mark.parametrize("shape", [(4, 98, 3), (99, 2), (3,), (4, 99, 3, 1)])
def test_other_vertex_counts_are_refused(tiny_rig: FaceRig, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"vertices must have shape \(\.\.\., 99, 3\)"):
        tiny_rig.fit(torch.zeros(shape))


@pytest.mark.parametrize(("frame", "place"), [((2,), "2"), ((1, 3), "1, 3"), ((), "0")])
def test_frame_that_is_not_finite_is_named(tiny_rig: FaceRig, frame: tuple[int, ...], place: str) -> None:
    vertices = tiny_rig.neutral.repeat(*([4] * len(frame)), 1, 1)
    vertices[(*frame, 17, 1)] = math.inf
    with pytest.raises(ValueError, match=f"not finite in frame {place} at vertex 17"):
        tiny_rig.fit(vertices)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ridge": -1.0}, ValueError, "ridge must be >= 0"),
        ({"ridge": math.nan}, ValueError, "ridge must be >= 0"),
        ({"bounds": (1, 0)}, ValueError, "every lower bound must be less"),
        ({"bounds": (0, math.nan)}, ValueError, "every lower bound must be less"),
        ({"bounds": (0, [1.0, 1.0])}, ValueError, "the upper bound must be a number or 8 numbers"),
        ({"masses": torch.ones(98)}, ValueError, r"masses must have shape \(99,\)"),
        ({"masses": -torch.ones(99)}, ValueError, "masses must be finite, >= 0"),
        ({"masses": torch.zeros(99)}, ValueError, "not all 0"),
        ({"masses": torch.ones(99).int()}, TypeError, "masses must be float32 or float64"),
        ({"shapes": ["smirk"]}, ValueError, "no shapes 'smirk'"),
    ],
)
def test_broken_options_are_refused(
    tiny_rig: FaceRig, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tiny_rig.fit(tiny_rig.neutral, **options)  # pyright: ignore[reportArgumentType]


def test_dependent_shapes_need_a_ridge(tiny_rig: FaceRig) -> None:
    blendshapes = tiny_rig.blendshapes.clone()
    blendshapes[1] = blendshapes[0]
    rig = replace(tiny_rig, blendshapes=blendshapes)
    with pytest.raises(ValueError, match="raise the ridge"):
        rig.fit(rig.neutral, ridge=0)
    twins = rig.fit(rig.neutral + blendshapes[0], ridge=1e-4)[:2]
    torch.testing.assert_close(twins, torch.full((2,), 0.5), atol=1e-3, rtol=0)


def test_real_rig_recovers_its_coefficients(ict_rig: FaceRig) -> None:
    expected = _coefficients(ict_rig, 20)
    fitted = ict_rig.fit(_pose(ict_rig, expected).float(), ridge=1e-8)
    torch.testing.assert_close(fitted.double(), expected, atol=2e-3, rtol=0)
