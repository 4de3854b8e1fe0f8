"""Inverse dynamics: exact on its own scheme, right on noisy motion, honest about what it cannot know."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from readme_figures import CAPTURE, PAPER_RECOVERY, RECOVERY, printed
from torch import Tensor

from biomechau import ops
from biomechau.physics import FaceDynamics, InverseOptions, PhysicsConfig, inverse_dynamics, required_force
from biomechau.rig.distribution import Distribution
from biomechau.rig.face_rig import FaceRig
from biomechau.rig.muscles import Muscles

EXACT = InverseOptions(cutoff=None, smoothness=0.0, sparsity=0.0, tolerance=1e-12)


def performance(dynamics: FaceDynamics, num_frames: int, seed: int = 0) -> Tensor:
    """Pulls in [0, 1] that come and go over about a second, some at a time, (T, M) float64."""
    generator = torch.Generator().manual_seed(seed)
    fps = dynamics.config.fps
    time = torch.arange(num_frames, dtype=torch.float64)[:, None] / fps
    force = torch.zeros(num_frames, dynamics.num_muscles, dtype=torch.float64)
    for _ in range(1 + int(num_frames / fps / 6)):
        start, onset, hold, offset, peak = torch.rand(5, dynamics.num_muscles, generator=generator, dtype=torch.float64)
        start, onset, offset = start * (num_frames / fps - 1), 0.3 + 0.5 * onset, 0.3 + 0.7 * offset
        rise = ((time - start) / onset).clamp(0, 1)
        fall = ((start + onset + hold + offset - time) / offset).clamp(0, 1)
        course = (0.3 + 0.7 * peak) * (0.5 - 0.5 * torch.cos(torch.pi * rise * fall))
        force = torch.maximum(force, course)
    return force


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's r of each column."""
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) / (a.square().sum(0) * b.square().sum(0)).sqrt().clamp_min(1e-30)


def motion_of(dynamics: FaceDynamics, force: Tensor, noise: float = 0.0) -> Tensor:
    zero = torch.zeros(dynamics.num_shapes, dtype=torch.float64)
    c, _ = dynamics.rollout(force, zero, zero)
    return c + noise * torch.randn(c.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.fixture(scope="session")
def tiny(tiny_rig: FaceRig, tiny_distribution: Distribution) -> FaceDynamics:
    return FaceDynamics(tiny_rig, tiny_distribution, dtype=torch.float64)


@pytest.mark.parametrize("scheme", ["explicit", "semi_implicit", "implicit"])
@pytest.mark.parametrize("law", ["newton", "elastic"])
def test_exact_forces_reproduce_the_motion(
    tiny_rig: FaceRig, tiny_distribution: Distribution, law: str, scheme: str
) -> None:
    """Any motion whatever, through Eq. 6 (explicit) and its relatives, to 1e-10."""
    config = PhysicsConfig(law=law, scheme=scheme)  # pyright: ignore[reportArgumentType]
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, config, dtype=torch.float64)
    c = torch.randn(3, 30, dynamics.num_shapes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    force = required_force(dynamics, c)
    used = force[:, 1:] if scheme == "implicit" else force[:, :-1]
    operators = (None, None) if law == "newton" else (dynamics.damping, dynamics.stiffness)
    again, _ = ops.euler_rollout(dynamics.mass, used, *dynamics.initial_state(c), config.dt, *operators, scheme)
    torch.testing.assert_close(again, c[:, 1:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("law", ["newton", "elastic"])
def test_muscle_forces_return_from_their_own_motion(
    tiny_rig: FaceRig, tiny_distribution: Distribution, law: str
) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig(law=law), dtype=torch.float64)  # pyright: ignore[reportArgumentType]
    force = performance(dynamics, 80)
    result = inverse_dynamics(dynamics, motion_of(dynamics, force), options=EXACT)
    # The first two frames lack the frames before them.
    torch.testing.assert_close(result.forces[2:], force[2:], rtol=0, atol=1e-8)
    assert result.residual[2:].abs().max() < 1e-6 * result.forces.max() * dynamics.projection.abs().max()
    assert float(result.explained) == pytest.approx(1, abs=1e-6)
    assert result.rank == dynamics.num_muscles
    assert result.null_space.shape == (0, dynamics.num_muscles)
    assert result.slack_shapes == ()


def test_dt_is_that_of_the_model_unless_given(tiny: FaceDynamics) -> None:
    c = motion_of(tiny, performance(tiny, 40))
    torch.testing.assert_close(required_force(tiny, c), required_force(tiny, c, dt=0.04))
    fast = required_force(tiny, c, dt=0.02)
    line = torch.linspace(0, 1, 10, dtype=torch.float64)[:, None].expand(10, tiny.num_shapes)
    steady = required_force(tiny, line, dt=0.02) - line @ tiny.stiffness
    torch.testing.assert_close(steady, ((line[1] - line[0]) / 0.02 @ tiny.damping).expand(10, -1))
    assert (fast - required_force(tiny, c)).abs().max() > 1e-3


@pytest.mark.parametrize("metric", ["coefficients", "mesh"])
def test_noise_leaves_forces_nonnegative_and_recognisable(tiny: FaceDynamics, metric: str) -> None:
    force = performance(tiny, 400)
    options = InverseOptions(metric=metric)  # pyright: ignore[reportArgumentType]
    result = inverse_dynamics(tiny, motion_of(tiny, force, noise=0.02), options=options)
    assert bool((result.forces >= 0).all())
    assert result.converged
    assert result.gap <= options.tolerance
    assert correlation(result.forces, force).median() >= 0.95


def test_smoothing_is_what_noise_needs(tiny: FaceDynamics) -> None:
    force = performance(tiny, 400)
    noisy = motion_of(tiny, force, noise=0.02)
    rough = inverse_dynamics(tiny, noisy, options=dataclasses.replace(EXACT, tolerance=1e-6)).forces
    smooth = inverse_dynamics(tiny, noisy).forces
    assert (smooth - force).norm() < 0.3 * (rough - force).norm()


def test_sparsity_takes_small_forces_away(tiny: FaceDynamics) -> None:
    force = performance(tiny, 200)
    c = motion_of(tiny, force, noise=0.01)
    plain, sparse = (inverse_dynamics(tiny, c, options=InverseOptions(sparsity=s)).forces for s in (0.0, 0.1))
    assert (sparse == 0).sum() > 1.2 * (plain == 0).sum()
    strong = force > 0.5
    assert float((plain - sparse)[strong].mean()) == pytest.approx(0.1, abs=0.05)


def test_motion_that_no_muscle_makes_is_left_out_and_reported(tiny_rig: FaceRig) -> None:
    table = Muscles(m for m in Muscles.facs().match(tiny_rig.names).muscles if m.name != "incisivii_labii")
    dynamics = FaceDynamics(tiny_rig, Distribution.from_rig(tiny_rig, table), dtype=torch.float64)
    pucker = tiny_rig.names.index("mouthPucker")
    c = torch.zeros(60, dynamics.num_shapes, dtype=torch.float64)
    c[:, pucker] = torch.sin(torch.linspace(0, 6, 60, dtype=torch.float64)).abs()
    for metric in ("coefficients", "mesh"):
        result = inverse_dynamics(dynamics, c, options=InverseOptions(metric=metric))  # pyright: ignore[reportArgumentType]
        assert result.slack_shapes == ("mouthPucker",)
        assert float(result.slack_share) > 0.999
        assert result.forces.max() < 0.01
        left = required_force(dynamics, result.coefficients)
        assert (result.residual - left).norm() < 0.01 * left.norm()
    # In the metric of the mesh without slack, the muscles that share the mouth take the blame.
    blamed = inverse_dynamics(dynamics, c, options=InverseOptions(metric="mesh", slack=False))
    assert blamed.forces.max() > 0.1
    assert float(blamed.slack_share) == 0


def test_the_neutral_is_removed_on_request(tiny: FaceDynamics) -> None:
    c = motion_of(tiny, performance(tiny, 200))
    offset = torch.linspace(0.1, 0.3, tiny.num_shapes, dtype=torch.float64)
    plain = inverse_dynamics(tiny, c, options=InverseOptions(neutral=5))
    shifted = inverse_dynamics(tiny, c + offset, options=InverseOptions(neutral=5))
    torch.testing.assert_close(shifted.neutral, plain.neutral + offset)
    torch.testing.assert_close(shifted.forces, plain.forces, rtol=0, atol=1e-9)
    assert inverse_dynamics(tiny, c + offset).neutral.abs().max() == 0
    given = inverse_dynamics(tiny, c + offset, neutral=plain.neutral + offset)
    torch.testing.assert_close(given.neutral, plain.neutral + offset)
    torch.testing.assert_close(given.forces, plain.forces)


def test_frames_that_were_not_recorded_do_not_count(tiny: FaceDynamics) -> None:
    force = performance(tiny, 120)
    c = motion_of(tiny, force)
    valid = torch.ones(120, dtype=torch.bool)
    valid[50:56] = False
    options = InverseOptions(cutoff=None, neutral=5)
    exact = inverse_dynamics(tiny, c, options=options, valid=valid)
    filled = c.clone()
    filled[52:54] = 40.0  # the differences of the frames after the gap do not reach back so far
    wild = inverse_dynamics(tiny, filled, options=options)
    masked = inverse_dynamics(tiny, filled, options=options, valid=valid)
    assert (wild.forces - exact.forces).abs().max() > 1
    torch.testing.assert_close(masked.forces, exact.forces, rtol=0, atol=1e-5)
    torch.testing.assert_close(masked.neutral, exact.neutral)
    torch.testing.assert_close(masked.explained, exact.explained, rtol=0, atol=1e-6)
    assert masked.forces[50:56].max() < 1.2  # the gap is bridged
    two = inverse_dynamics(tiny, c.expand(2, -1, -1), options=options, valid=valid.expand(2, -1))
    assert two.forces.shape == (2, 120, tiny.num_muscles)


def test_a_bad_mask_is_refused(tiny: FaceDynamics) -> None:
    c = torch.zeros(9, tiny.num_shapes, dtype=torch.float64)
    with pytest.raises(TypeError, match="valid must be bool, got torch.float32"):
        inverse_dynamics(tiny, c, valid=torch.ones(9))
    with pytest.raises(ValueError, match=r"valid must have shape \(9,\), got \(8,\)"):
        inverse_dynamics(tiny, c, valid=torch.ones(8, dtype=torch.bool))
    with pytest.raises(ValueError, match="valid must hold at least one frame"):
        inverse_dynamics(tiny, c, valid=torch.zeros(9, dtype=torch.bool))


def test_sequences_are_independent_and_keep_their_axes(tiny: FaceDynamics) -> None:
    c = torch.stack([motion_of(tiny, performance(tiny, 50, seed)) for seed in range(4)]).unflatten(0, (2, 2))
    result = inverse_dynamics(tiny, c)
    assert result.forces.shape == (2, 2, 50, tiny.num_muscles)
    assert result.residual.shape == result.coefficients.shape == c.shape
    assert result.explained.shape == result.slack_share.shape == (2, 2)
    assert result.neutral.shape == (2, 2, tiny.num_shapes)
    alone = inverse_dynamics(tiny, c[1, 0])
    torch.testing.assert_close(result.forces[1, 0], alone.forces, rtol=0, atol=1e-4)


def test_vector_forces_are_not_unique_and_the_result_says_so(
    tiny_rig: FaceRig, tiny_distribution: Distribution
) -> None:
    config = PhysicsConfig(force="vector")
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, config, dtype=torch.float64)
    scalar = FaceDynamics(tiny_rig, tiny_distribution, dtype=torch.float64)
    result = inverse_dynamics(dynamics, motion_of(scalar, performance(scalar, 50)))
    assert result.forces.shape == (50, 8, 3)
    assert result.rank == 8
    assert result.null_space.shape == (16, 8, 3)
    pushed = dynamics.generalized_force(result.null_space)
    assert pushed.norm() <= 1e-9 * dynamics.projection.norm() * result.null_space.norm()


def test_a_gradient_that_ends_here_is_told_of(tiny: FaceDynamics) -> None:
    c = torch.zeros(5, tiny.num_shapes, dtype=torch.float64, requires_grad=True)
    with pytest.warns(UserWarning, match=r"have no gradient, but c requires grad: give it c\.detach\(\)"):
        forces, _ = tiny.inverse(c)
    assert not forces.requires_grad
    with torch.no_grad():
        tiny.inverse(c)
    tiny.inverse(c.detach())


def test_a_still_face_needs_no_force(tiny: FaceDynamics) -> None:
    result = inverse_dynamics(tiny, torch.zeros(5, tiny.num_shapes, dtype=torch.float64))
    assert torch.equal(result.forces, torch.zeros(5, tiny.num_muscles, dtype=torch.float64))
    assert float(result.explained) == 1
    assert float(result.slack_share) == 0


def test_float32_models_give_float32_results(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    double = FaceDynamics(tiny_rig, tiny_distribution, dtype=torch.float64)
    single = FaceDynamics(tiny_rig, tiny_distribution)
    c = motion_of(double, performance(double, 60))
    forces, residual = single.inverse(c.float())
    assert forces.dtype == residual.dtype == torch.float32
    torch.testing.assert_close(forces.double(), double.inverse(c)[0], rtol=0, atol=1e-4)


def test_progress_is_reported_and_an_early_stop_warned_of(tiny: FaceDynamics) -> None:
    c = motion_of(tiny, performance(tiny, 100), noise=0.02)
    done: list[int] = []
    inverse_dynamics(tiny, c, progress=lambda share, total: done.append(share * 100 // total))
    assert done
    assert done[-1] == 100
    with pytest.warns(UserWarning, match="stopped after 3 iterations"):
        result = inverse_dynamics(tiny, c, options=InverseOptions(max_iterations=3))
    assert not result.converged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "vertices"}, "metric must be one of coefficients, mesh"),
        ({"cutoff": 0.0}, "cutoff must be a finite number above 0 or None"),
        ({"smoothness": -1.0}, r"smoothness must be a finite number in \[0, 1e6\]"),
        ({"sparsity": float("nan")}, r"sparsity must be a finite number in \[0, 1e6\]"),
        ({"neutral": 101.0}, r"neutral must be a finite number in \[0, 100\]"),
        ({"tolerance": 0.0}, r"tolerance must be a finite number in \(0, 1\)"),
        ({"max_iterations": 0}, "max_iterations must be an integer of at least 1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InverseOptions(**options)  # pyright: ignore[reportArgumentType]


def test_bad_motion_is_refused(tiny: FaceDynamics) -> None:
    c = torch.zeros(6, tiny.num_shapes, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"c must have shape \(..., 8\), got \(6, 7\)"):
        inverse_dynamics(tiny, c[:, 1:])
    with pytest.raises(ValueError, match=r"T >= 3, got \(2, 8\)"):
        inverse_dynamics(tiny, c[:2])
    with pytest.raises(TypeError, match=r"c must be torch.float64 like the model, got torch.float32"):
        inverse_dynamics(tiny, c.float())
    with pytest.raises(TypeError, match=r"options must be InverseOptions, got dict"):
        inverse_dynamics(tiny, c, options={"neutral": None})  # pyright: ignore[reportArgumentType]
    for dt in (0.0, -0.04, float("nan")):
        with pytest.raises(ValueError, match="dt must be positive"):
            inverse_dynamics(tiny, c, dt=dt)
    with pytest.raises(TypeError, match=r"c must be a torch.Tensor, got ndarray"):
        inverse_dynamics(tiny, c.numpy())  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"valid must be a torch.Tensor, got ndarray"):
        inverse_dynamics(tiny, c, valid=np.ones(6, bool))  # pyright: ignore[reportArgumentType]
    c[4, 2] = torch.nan
    with pytest.raises(ValueError, match="c is not finite at frame 4, shape browDown_L"):
        inverse_dynamics(tiny, c)


def test_forces_of_the_ict_face_return_from_noisy_motion(ict_rig: FaceRig, ict_distribution: Distribution) -> None:
    """Coefficient noise 0.02; the paper's setting on the same data finds nothing of the kind. As the READMEs say."""
    dynamics = FaceDynamics(ict_rig, ict_distribution, dtype=torch.float64)
    force = performance(dynamics, 1500)
    noisy = motion_of(dynamics, force, noise=0.02)
    found = inverse_dynamics(dynamics, noisy)
    r = correlation(found.forces, force)
    assert printed(RECOVERY) == {(f"{r.median():.3f}", str(len(r)), f"{r.min():.3f}")}
    assert found.rank == dynamics.num_muscles
    paper = FaceDynamics(ict_rig, ict_distribution, PhysicsConfig.paper(), dtype=torch.float64)
    literal = inverse_dynamics(paper, noisy)
    r = correlation(literal.forces.norm(dim=-1), force)
    free, unknown = len(literal.null_space), 3 * paper.num_muscles
    assert printed(PAPER_RECOVERY) == {(f"{r.median():.2f}", str(free), str(unknown))}
    assert free == unknown - literal.rank


def test_forces_of_a_real_capture_follow_its_channels(
    ict_rig: FaceRig, ict_distribution: Distribution, capture_csv: Path
) -> None:
    from biomechau.corpus import read_blendshape_table

    sequence = read_blendshape_table(capture_csv).resample(25.0)
    coefficients = sequence.coefficients @ ict_rig.map_channels(sequence.channels).matrix
    dynamics = FaceDynamics(ict_rig, ict_distribution)
    c = coefficients[:, dynamics.shape_indices]
    forces = inverse_dynamics(dynamics, c).forces
    leading = {"frontalis_medialis", "frontalis_lateralis", "zygomaticus_major", "corrugator_supercilii", "digastric"}
    leading_r = []
    for muscle, force in zip(dynamics.muscles, forces.T, strict=True):
        channel = c[:, [dynamics.shape_names.index(shape) for shape in muscle.shapes]].mean(1)
        if channel.max() - channel.min() > 0.15:
            r = float(correlation(force[:, None], channel[:, None]))
            assert r >= 0.6, (muscle.identifier, r)
            leading_r += [r] * (muscle.name in leading)
    assert len(leading_r) == 9
    assert printed(CAPTURE) == {(f"{min(leading_r):.2f}", f"{max(leading_r):.2f}")}
