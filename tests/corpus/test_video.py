"""Videos: pictures, times, rotation, and files that are none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from corpus.videos import write_video

from biomechau.corpus.video import read_video


@pytest.mark.parametrize("ending", ["mp4", "avi"])
def test_pictures_in_order(tmp_path: Path, ending: str) -> None:
    path = write_video(tmp_path / f"clip.{ending}", [n / 25 for n in range(20)])
    calls: list[tuple[int, int]] = []
    frames = list(read_video(path, lambda done, total: calls.append((done, total))))
    assert [frame.number for frame in frames] == list(range(20))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(20) / 25, atol=1e-6)
    assert all(frame.picture.shape == (48, 64, 3) and frame.picture.dtype == np.uint8 for frame in frames)
    levels = [frame.picture[24:, 24:].mean() for frame in frames]
    np.testing.assert_allclose(levels, 10 * np.arange(20), atol=4)
    red = frames[3].picture[4:12, 4:12].mean((0, 1))
    assert red[0] > 200
    assert red[1] < 60
    assert calls[-1] == (20, 20)


def test_uneven_times(tmp_path: Path) -> None:
    times = [0.5, 0.533, 0.6, 0.633, 0.9]
    frames = list(read_video(write_video(tmp_path / "clip.mp4", times)))
    np.testing.assert_allclose([frame.time for frame in frames], np.array(times) - 0.5, atol=1e-3)


def test_turned_pictures_are_set_upright(tmp_path: Path) -> None:
    (frame, *_) = read_video(write_video(tmp_path / "clip.mp4", [0, 0.04, 0.08], upright=False))
    assert frame.picture.shape == (64, 48, 3)
    assert frame.picture.flags.c_contiguous
    corners = {"left": frame.picture[4:12, 4:12], "right": frame.picture[4:12, -12:-4]}
    assert corners["right"][..., 0].mean() > 200
    assert corners["left"].mean() < 30


def test_what_is_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        next(read_video(tmp_path / "nowhere.mp4"))
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(ValueError, match=r"clip\.mp4: not a video that can be read, at frame 0: "):
        next(read_video(path))
    write_video(path, [n / 25 for n in range(20)])
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"clip\.mp4: not a video that can be read"):
        list(read_video(path))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'pip install "biomechau\[track\]"'):
        next(read_video(path))
