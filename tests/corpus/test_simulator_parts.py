"""The parts of the simulator: tissue, performance, tracker, coders and the coarse face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from biomechau.corpus.simulator import ACTION_UNITS, SimulationConfig, simulate
from biomechau.corpus.simulator._coarse_face import CoarseFace
from biomechau.corpus.simulator._displays import Actor
from biomechau.corpus.simulator._labels import BASE_RATES, coded_labels, thresholds
from biomechau.corpus.simulator._performance import STEPS_PER_FRAME, activate, critically_damped, perform, saturate
from biomechau.corpus.simulator._tissue import Tissue, weighted_rms
from biomechau.corpus.simulator._tracker import BOUNDS, Tracker, fit_shapes, tracked_names
from biomechau.corpus.simulator.muscle_table import COMMANDS, find_muscles
from biomechau.rig import FaceRig


@pytest.fixture(scope="module")
def rig() -> FaceRig:
    return FaceRig.builtin(1000)


@pytest.fixture(scope="module")
def face(rig: FaceRig) -> CoarseFace:
    return CoarseFace.from_rig(rig, 300)


@pytest.fixture(scope="module")
def tissue(rig: FaceRig, face: CoarseFace) -> Tissue:
    return Tissue.draw(face, find_muscles(rig.names, rig.names), 2 * np.pi * 3, 2.0, np.random.default_rng(0))


def test_rest_stays_at_rest(tissue):
    assert not tissue.move(np.zeros((2, 40, tissue.pull.shape[1])), 25.0).any()


def test_face_settles_under_constant_force_and_returns_when_it_ends(tissue):
    force = np.zeros((1, 200 * STEPS_PER_FRAME, tissue.pull.shape[1]))
    force[:, : 100 * STEPS_PER_FRAME, 3] = 0.5
    motion = tissue.move(force, 25.0)[0]
    size = weighted_rms(tissue.masses, motion)
    assert size[99] > 0.005
    assert np.abs(motion[99] - motion[90]).max() < 1e-3 * np.abs(motion[99]).max()
    assert size[199] < 1e-3 * size[99]


def test_unit_force_moves_the_face_as_far_as_the_muscles_shape(rig, tissue):
    num_vertices = len(tissue.masses)
    static = np.linalg.solve(tissue.stiffness.toarray(), tissue.pull.toarray().reshape(num_vertices, -1))
    static = static.reshape(num_vertices, 3, -1).transpose(2, 0, 1)
    for muscle, displacement in zip(find_muscles(rig.names, rig.names), static, strict=True):
        shape = np.sum([weight * tissue.shapes[k] for k, weight in muscle.shapes.items()], axis=0)
        expected = weighted_rms(tissue.masses, shape)
        assert weighted_rms(tissue.masses, displacement) == pytest.approx(expected, rel=1e-9), muscle.name
        # Blurred by the edges, but still that shape.
        cosine = (tissue.masses[:, None] * shape * displacement).sum() / tissue.masses.sum() / expected**2
        assert 0.6 < cosine < 0.999, muscle.name


def test_strong_forces_meet_stiffening(rig, tissue):
    jaw = [muscle.name for muscle in find_muscles(rig.names, rig.names)].index("digastric")
    force = np.zeros((2, 60 * STEPS_PER_FRAME, tissue.pull.shape[1]))
    force[0, :, jaw], force[1, :, jaw] = 0.01, 1.0
    weak, strong = weighted_rms(tissue.masses, tissue.move(force, 25.0)[:, -1])
    assert 30 < strong / weak < 98


def test_motion_converges_with_the_frame_rate(tissue):
    """The same forces at twice the frame rate give the same motion, nearly."""
    force = np.zeros((1, 50 * STEPS_PER_FRAME, tissue.pull.shape[1]))
    force[:, : 20 * STEPS_PER_FRAME, 0] = 0.8
    slow = tissue.move(force, 25.0)[0]
    fast = tissue.move(force.repeat(4, axis=1), 100.0)[0, 3::4]
    assert np.abs(slow - fast).max() < 0.05 * np.abs(fast).max()


def test_activation_rises_in_40_ms_and_falls_in_80_ms():
    step = 0.001
    excitation = np.concatenate([np.ones(1000), np.zeros(1000)])
    activation = activate(excitation, step)
    assert activation[39] == pytest.approx(1 - np.exp(-1), abs=1e-9)
    assert activation[1079] == pytest.approx(np.exp(-1), abs=1e-6)
    assert activate(excitation.reshape(-1, 20)[:, 0], 0.02)[1] == pytest.approx(activation[39], abs=1e-9)


def test_saturation():
    assert saturate(np.array([0.0, 1.0, 2.0])) == pytest.approx([0.0, 1 / 1.15, 2 / 1.3])


def test_critically_damped_response_has_the_exact_step_response():
    omega, time = 15.0, np.arange(1, 2001) / 2000
    response = critically_damped(np.ones(2000), omega, 1 / 2000)
    assert response == pytest.approx(1 - (1 + omega * time) * np.exp(-omega * time), abs=5e-3)


def test_performance_speaks_without_expression_and_blinks():
    actor = Actor.draw(np.random.default_rng(0))
    performances = [perform(actor, 108, 25.0, np.random.default_rng(seed), displays="table") for seed in range(40)]
    blink, jaw = COMMANDS.index(45), COMMANDS.index(26)
    for p in performances:
        assert p.expression.shape == p.nuisance.shape == (108 * STEPS_PER_FRAME, len(COMMANDS), 2)
        assert not p.expression[:, blink].any()
        assert p.expression.max() > 0
        assert 0 <= p.excitation.min() <= p.excitation.max() <= 1.2
    assert 10 < sum(bool(p.nuisance[:, jaw].any()) for p in performances) < 30
    assert sum(bool(p.nuisance[:, blink].any()) for p in performances) > 20


def test_tracker_recovers_coefficients_without_noise(rig, face, tissue):
    followed = rig.shape_indices(tracked_names(rig))
    tracker = Tracker.draw(tissue, followed, 2.0, np.random.default_rng(1))
    truth = np.random.default_rng(2).uniform(0, 1, (20, len(followed)))
    truth[:, np.arange(len(followed)) % 5 != 0] = 0
    meshes = np.einsum("tk,kna->tna", truth, tracker.basis)
    found = fit_shapes(tracker.basis, tracker.masses, meshes)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.98
    assert found.min() >= BOUNDS[0]
    assert found.max() <= BOUNDS[1]
    assert fit_shapes(tracker.basis, tracker.masses, 3 * meshes).max() == BOUNDS[1]


def test_a_tracker_calibrated_to_poses_tells_them_apart(rig, face, tissue):
    """A pull along one shape moves its channel; a fit of the rig's shapes is misled, since the tissue blurs them."""
    followed = rig.shape_indices(tracked_names(rig))
    poses = 0.7 * tissue.posed(tissue.tracked_shapes[followed])
    rigid, posed = (Tracker.draw(tissue, followed, 2.0, np.random.default_rng(1), posed=p) for p in (False, True))
    misled, found = (fit_shapes(each.basis, each.masses, poses) for each in (rigid, posed))
    others = ~np.eye(len(followed), dtype=bool)
    assert np.abs(found[others]).max() < 0.25 < 0.4 < np.abs(misled[others]).max()
    dimple = [tracked_names(rig).index(name) for name in ("mouthDimple_L", "mouthDimple_R")]
    assert found[dimple, dimple].min() > 0.5 > misled[dimple, dimple].max()
    assert weighted_rms(tissue.masses, posed.basis) == pytest.approx(weighted_rms(tissue.masses, rigid.basis))


def test_tracker_makes_the_errors_of_its_person(rig, face, tissue):
    tracker = Tracker.draw(tissue, rig.shape_indices(tracked_names(rig)), 2.0, np.random.default_rng(1))
    still, valid = tracker.track(face, np.zeros((400, *face.positions.shape)), 25.0, np.random.default_rng(3))
    assert valid.all()
    assert np.corrcoef(still.mean(0), tracker.neutral_error)[0, 1] > 0.8
    assert np.abs(tracker.crosstalk).max() <= 0.3
    assert not tracker.crosstalk.diagonal().any()
    assert 0.02 < still.std(0).mean() < 0.2


def test_thresholds_meet_the_base_rates_within_their_bounds():
    uniform = np.random.default_rng(0).uniform(0, 0.5, (20_000, 12))
    limits = thresholds(uniform)
    assert limits == pytest.approx(np.clip(0.5 * (1 - BASE_RATES), 0.1, 0.45), abs=0.01)
    assert limits[ACTION_UNITS.index(12)] == pytest.approx(0.5 * (1 - 0.562), abs=0.01)
    assert thresholds(uniform, 0.5) == pytest.approx(np.clip(0.5 * (1 - BASE_RATES / 2), 0.1, 0.45), abs=0.01)
    assert thresholds(np.zeros((10, 12))) == pytest.approx(0.1)
    assert thresholds(np.ones((10, 12))) == pytest.approx(0.45)


def test_coders_miss_events_and_blur_their_ends():
    intensity = np.zeros((60, 12))
    intensity[20:40] = 1.0
    runs = [coded_labels(intensity, np.full(12, 0.2), 25.0, np.random.default_rng(seed)) for seed in range(100)]
    labels = np.stack(runs)
    assert labels.dtype == np.int8
    assert 0.02 < 1 - labels[:, 30].mean() < 0.10
    first = labels.argmax(1)[labels[:, 30] == 1]
    assert first.mean() == pytest.approx(20, abs=0.5)
    assert first.std() == pytest.approx(3, abs=0.4)


def test_coarse_face_covers_the_rig(rig, face):
    assert face.positions.shape == (300, 3)
    assert face.areas.sum() == pytest.approx(1, abs=1e-5)
    assert (face.areas > 0).all()
    assert 2 * 300 < len(face.edges) < 3.2 * 300
    assert np.sqrt(np.square(face.smooth_modes).mean(0)) == pytest.approx(np.ones(24))
    assert len(CoarseFace.from_rig(rig, 5000).positions) == rig.num_vertices
    laplacian = face.edge_laplacian(face.edge_lengths(face.positions))
    assert np.abs(laplacian.sum(axis=1)).max() < 1e-9
    assert abs(laplacian - laplacian.T).max() < 1e-12


def test_a_shape_between_the_coarse_vertices_is_named(rig, face):
    away = ~(rig.neutral[:, None] == torch.from_numpy(face.positions).float()).all(-1).any(1)
    thin = rig.blendshapes.clone()
    thin[rig.shape_indices(["eyeWide_L"])] = 0.1 * away[:, None].float()
    with pytest.raises(ValueError, match="moves with eyeWide_L; raise coarse_vertices"):
        next(simulate(replace(rig, blendshapes=thin), SimulationConfig(coarse_vertices=300)))
