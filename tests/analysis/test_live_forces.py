"""Forces of frames that arrive late, twice or never: those of the whole recording, or none."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from biomechau.analysis import analyse
from biomechau.analysis.live_forces import LiveForces, LiveResult
from biomechau.corpus import FaceSequence, read_blendshape_table
from biomechau.corpus.live_frames import LiveFrame, replayed_frames
from biomechau.physics import PhysicsConfig
from biomechau.rig import FaceRig

FPS = 60.0
CONFIG = PhysicsConfig(fps=FPS)
SMILE = ("zygomaticus_major_left", "zygomaticus_major_right")
pytestmark = pytest.mark.filterwarnings("ignore:.*no moving shapes")


@pytest.fixture(scope="module")
def recording(clip: FaceSequence) -> FaceSequence:
    """Two seconds at 60 fps: the smile of the clip, and some of it again."""
    grid = clip.resample(FPS)
    values = np.concatenate([grid.coefficients.numpy()] * 2)[:120]
    return FaceSequence(
        name="recording",
        coefficients=torch.from_numpy(values),
        channels=grid.channels,
        timestamp=torch.arange(120, dtype=torch.float64) / FPS,
        valid=torch.ones(120, dtype=torch.bool),
        fps=FPS,
    )


@pytest.fixture
def frames(recording: FaceSequence) -> list[LiveFrame]:
    return list(replayed_frames(recording))


@pytest.fixture
def live(tiny_rig: FaceRig, recording: FaceSequence) -> LiveForces:
    return LiveForces(tiny_rig, recording.channels, CONFIG)


def run(live: LiveForces, frames: Iterable[LiveFrame]) -> list[LiveResult]:
    """All results; they are one grid, without gaps and without anything twice."""
    found = [result for frame in frames for result in live.add(frame)] + live.finish()
    assert [result.frame for result in found] == list(range(len(found)))
    assert [result.timestamp for result in found] == pytest.approx([n / FPS for n in range(len(found))])
    for result in found:
        assert (result.forces is None) == (result.coefficients is None)
        assert result.forces is None or bool((np.isfinite(result.forces) & (result.forces >= 0)).all())
    return found


def seen(results: Sequence[LiveResult]) -> np.ndarray:
    return np.array([result.forces is not None for result in results])


def smile(live: LiveForces, results: Sequence[LiveResult]) -> np.ndarray:
    """(T,) force of the smile on the left, NaN where there is none."""
    column = live.model.identifiers.index(SMILE[0])
    return np.array([np.nan if result.forces is None else result.forces[column] for result in results])


@pytest.fixture(scope="module")
def whole(tiny_rig: FaceRig, recording: FaceSequence) -> np.ndarray:
    """(T,) force of the smile by the inverse of the whole recording."""
    found = analyse(recording, tiny_rig, CONFIG)
    return found.strength[:, found.identifiers.index(SMILE[0])]


def test_frames_on_time(
    tiny_rig: FaceRig, recording: FaceSequence, frames: list[LiveFrame], live: LiveForces, whole: np.ndarray
) -> None:
    results = run(live, frames)
    assert len(results) == 120
    assert seen(results).all()
    assert [result.recorded_frame for result in results] == list(range(120))
    assert live.delay == pytest.approx(7 / 60)
    np.testing.assert_allclose(smile(live, results), whole, atol=0.02)
    shown = np.stack([result.coefficients for result in results if result.coefficients is not None])
    np.testing.assert_allclose(shown, recording.coefficients.numpy(), atol=1e-6)


def test_the_delay_is_kept(frames: list[LiveFrame], live: LiveForces) -> None:
    for frame in frames[:60]:
        for result in live.add(frame):
            assert frame.time - result.timestamp == pytest.approx(live.delay)


def test_a_real_capture(capture_csv: Path) -> None:
    """The frames with forces are those of the whole recording, its gap is empty, and the forces are nearly the same."""
    rig, recording = FaceRig.builtin(1000), read_blendshape_table(capture_csv)
    offline = analyse(recording, rig, CONFIG)
    live = LiveForces(rig, recording.channels, CONFIG)
    results = run(live, replayed_frames(recording))
    known = offline.sequence.valid.numpy()
    np.testing.assert_array_equal(seen(results), known)
    assert 0 < (~known).sum() < 10
    forces = np.stack([result.forces for result in results if result.forces is not None])
    truth = offline.strength[known]
    active = truth.max(0) > 0.02
    correlations = [np.corrcoef(forces[:, m], truth[:, m])[0, 1] for m in np.flatnonzero(active)]
    assert len(correlations) > 25
    assert np.median(correlations) >= 0.98


def test_a_tenth_of_the_frames_lost_and_a_tenth_late(
    tiny_rig: FaceRig, recording: FaceSequence, frames: list[LiveFrame], live: LiveForces, whole: np.ndarray
) -> None:
    chance = random.Random(1)
    sent = [frame for frame in frames[:-1] if chance.random() >= 0.1] + frames[-1:]
    lost = len(frames) - len(sent)
    late = [n + (2.5 if chance.random() < 0.1 else 0) for n in range(len(sent) - 1)]
    order = [*np.argsort(late, kind="stable").tolist(), len(sent) - 1]
    arrived = [sent[n]._replace(arrival=frame.arrival) for n, frame in zip(order, sent, strict=True)]
    results = run(live, arrived)
    assert lost > 5
    assert live.counts.late > 5
    assert live.counts.frames + live.counts.late == len(sent)
    assert seen(results).all()  # no gap is longer than a tenth of a second
    assert len(results) == 120
    assert np.corrcoef(smile(live, results), whole)[0, 1] > 0.995


def test_frames_twice_are_used_once(frames: list[LiveFrame], live: LiveForces, tiny_rig: FaceRig) -> None:
    twice = [frame for frame in frames for _ in range(2)]
    results = run(live, twice)
    assert live.counts.late == 120
    once = run(LiveForces(tiny_rig, tiny_rig.names, CONFIG), frames)
    np.testing.assert_array_equal(smile(live, results), smile(live, once))


def test_a_lost_face_has_no_forces_at_once(frames: list[LiveFrame], live: LiveForces) -> None:
    results = [result for frame in frames[:100] for result in live.add(frame)]
    assert len(results) == 93
    assert live.wait(frames[99].arrival + 0.2) == []
    given_up = live.wait(frames[99].arrival + 0.3)
    assert seen(given_up).tolist() == [True] * 7 + [False]
    assert live.counts.lost == 1
    assert live.wait(frames[99].arrival + 0.31) == []
    later = live.wait(frames[99].arrival + 2.0)
    assert not seen(later).any()
    assert later[0].frame == given_up[-1].frame + 1
    assert later[-1].timestamp == pytest.approx(frames[99].time + 2.0 - 0.75, abs=0.02)


def test_it_goes_on_when_the_face_comes_back(
    tiny_rig: FaceRig, recording: FaceSequence, frames: list[LiveFrame], live: LiveForces, whole: np.ndarray
) -> None:
    results = run(live, [*frames[:40], *frames[80:]])
    expected = np.ones(120, bool)
    expected[40:80] = False
    np.testing.assert_array_equal(seen(results), expected)
    kept = expected.copy()
    kept[[*range(33, 41), *range(75, 90)]] = (
        False  # where it ends and starts anew, it does not know how the face moves on or moved
    )
    np.testing.assert_allclose(smile(live, results)[kept], whole[kept], atol=0.03)


def test_frames_without_a_face(frames: list[LiveFrame], live: LiveForces) -> None:
    blind = [frame._replace(values=None) if 20 <= n < 23 or 60 <= n < 90 else frame for n, frame in enumerate(frames)]
    results = run(live, blind)
    assert live.counts.faceless == 33
    expected = np.ones(120, bool)
    expected[60:90] = False
    np.testing.assert_array_equal(seen(results), expected)


def test_only_frames_without_a_face(frames: list[LiveFrame], live: LiveForces) -> None:
    results = run(live, [frame._replace(values=None) for frame in frames])
    assert not seen(results).any()


@pytest.mark.parametrize("jump", [-3600.0, -1.5, 0.4, 3600.0, 1e9])
def test_the_clock_of_the_sender_is_set(frames: list[LiveFrame], live: LiveForces, jump: float) -> None:
    """Results stay on the clock of this computer, and hardly any are lost."""
    results = run(live, [*frames[:60], *(frame._replace(time=frame.time + jump) for frame in frames[60:])])
    assert live.counts.lost == 1
    assert abs(len(results) - 120) <= 25
    assert (~seen(results)).sum() <= 25
    assert seen(results).sum() == 120


def test_a_wrong_time_does_little_harm(frames: list[LiveFrame], live: LiveForces) -> None:
    results = run(live, [frame._replace(time=1e6) if n == 100 else frame for n, frame in enumerate(frames)])
    assert abs(len(results) - 120) <= 3
    assert seen(results).sum() >= 115


def test_a_sender_that_counts_wrongly(frames: list[LiveFrame], live: LiveForces) -> None:
    """Its seconds last two: the results keep to the clock of this computer."""
    results = run(live, [frame._replace(arrival=2 * frame.time) for frame in frames])
    assert results[-1].timestamp == pytest.approx(4.0, abs=1.1)


def test_half_the_frame_rate_from_the_middle_on(
    tiny_rig: FaceRig, recording: FaceSequence, frames: list[LiveFrame], live: LiveForces, whole: np.ndarray
) -> None:
    results = run(live, [*frames[:60], *frames[60::2], frames[-1]])
    assert len(results) == 120
    assert seen(results).all()
    assert live.counts.lost == 0
    np.testing.assert_allclose(smile(live, results), whole, atol=0.02)
    numbers = [result.recorded_frame for result in results]
    assert numbers[:60] == list(range(60))
    assert set(numbers[60:]) <= {None, *range(60, 120)}


def test_times_between_those_of_the_grid(tiny_rig: FaceRig, recording: FaceSequence, live: LiveForces) -> None:
    """A camera of 29.97 pictures per second, with jitter, as ``resample`` puts it on the grid."""
    chance = np.random.default_rng(0)
    times = np.sort(np.arange(55) / 29.97 + chance.uniform(-0.005, 0.005, 55))
    times -= times[0]
    grid = recording.timestamp.numpy()
    values = np.stack([np.interp(times, grid, each) for each in recording.coefficients.numpy().T], 1).astype(np.float32)
    results = run(live, [LiveFrame(t, t, v, n) for n, (t, v) in enumerate(zip(times.tolist(), values, strict=True))])
    camera = replace(
        recording,
        coefficients=torch.from_numpy(values),
        timestamp=torch.from_numpy(times),
        valid=torch.ones(55, dtype=torch.bool),
        fps=29.97,
        pose=torch.empty(55, 0),
    ).resample(FPS)
    assert abs(len(results) - len(camera)) <= 1
    shown = np.stack([result.coefficients for result in results if result.coefficients is not None])
    np.testing.assert_allclose(shown, camera.coefficients.numpy()[: len(shown)], atol=1e-5)
    numbers = [result.recorded_frame for result in results if result.recorded_frame is not None]
    assert numbers == sorted(numbers)
    assert set(numbers) >= set(range(1, 54))


def test_the_neutral_face_is_the_last_second(
    tiny_rig: FaceRig, recording: FaceSequence, frames: list[LiveFrame], live: LiveForces, whole: np.ndarray
) -> None:
    assert not live.calibrate()
    raised = [frame._replace(values=frame.values + np.float32(0.1)) for frame in frames if frame.values is not None]
    still = [LiveFrame(n / FPS, n / FPS, np.full(8, 0.1, np.float32), n) for n in range(60)]
    assert not any(live.add(frame) for frame in still[:5])
    assert not live.calibrate()  # too few
    for frame in still[5:]:
        live.add(frame)
    assert live.calibrate()
    results = [
        result
        for frame in raised
        for result in live.add(frame._replace(time=frame.time + 1, arrival=frame.arrival + 1))
    ] + live.finish()
    np.testing.assert_allclose(smile(live, results)[-100:], whole[-100:], atol=0.02)


def test_channels_that_drive_nothing(tiny_rig: FaceRig) -> None:
    with pytest.raises(ValueError, match="none of the 2 channels drives a shape of the rig; channels a, b"):
        LiveForces(tiny_rig, ("a", "b"), CONFIG)


def test_muscles_without_shapes_are_noted(live: LiveForces) -> None:
    assert any("no moving shapes" in note for note in live.notes)
