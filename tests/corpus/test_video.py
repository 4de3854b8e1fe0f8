"""Videos: pictures, times, rotation, and files that are none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from corpus.videos import write_video

from biomechau.corpus.reading import is_recorded_video
from biomechau.corpus.video import read_frames, read_video


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


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("ending", ["avi", "mp4", "mkv"])
@pytest.mark.parametrize("backward_frames", [0, 2, 3])
def test_frames_stored_in_another_order(tmp_path: Path, codec: str, ending: str, backward_frames: int) -> None:
    """AVI keeps no other times than those of its own order, which are not those of the frames."""
    path = tmp_path / f"clip.{ending}"
    write_video(path, [n / 25 for n in range(20)], codec=codec, backward_frames=backward_frames)
    frames = list(read_video(path))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(20) / 25, atol=1e-3)
    levels = [frame.picture[24:, 24:].mean() for frame in frames]
    np.testing.assert_allclose(levels, 10 * np.arange(20), atol=6)


def test_uneven_times_with_frames_stored_in_another_order(tmp_path: Path) -> None:
    times = [0, 0.04, 0.1, 0.12, 0.3, 0.34, 0.38, 0.5]
    frames = list(read_video(write_video(tmp_path / "clip.mp4", times, codec="libx264", backward_frames=3)))
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=2e-3)


def write_pictures(folder: Path, names: list[str]) -> Path:
    from PIL import Image

    folder.mkdir()
    for level, name in enumerate(names):
        Image.fromarray(np.full((6, 8, 3), 20 * level, np.uint8)).save(folder / name)
    return folder


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "take", ["shot3_8.png", "shot3_9.png", "shot3_10.png", "shot3_13.png"])
    (folder / "notes.txt").write_text("no picture")
    calls: list[tuple[int, int]] = []
    frames = list(read_frames(folder, 30, lambda done, total: calls.append((done, total))))
    assert [frame.number for frame in frames] == [8, 9, 10, 13]
    np.testing.assert_allclose([frame.time for frame in frames], np.array([0, 1, 2, 5]) / 30)
    assert [int(frame.picture.mean()) for frame in frames] == [0, 20, 40, 60]
    assert calls == [(n, 4) for n in range(1, 5)]
    assert is_recorded_video(folder)
    assert not is_recorded_video(tmp_path)
    for beside in ("capture.csv", "face.obj"):
        (folder / beside).touch()
        assert not is_recorded_video(folder)
        (folder / beside).unlink()


def test_pictures_may_count_in_steps(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "take", ["0000.jpg", "0010.jpg", "0030.jpg"])
    np.testing.assert_allclose([frame.time for frame in read_frames(folder, 25)], [0, 0.04, 0.12])


def test_pictures_that_are_no_video(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "take", ["1.png", "2.png"])
    with pytest.raises(ValueError, match=r"take: fps must be given \(--recorded-fps\): pictures do not contain it"):
        next(read_frames(folder))
    with pytest.raises(ValueError, match="fps must be positive"):
        next(read_frames(folder, -1))
    (folder / "2.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"2\.png: not a picture that can be read"):
        list(read_frames(folder, 30))
    write_pictures(tmp_path / "other", ["1.png", "cover.png"])
    with pytest.raises(ValueError, match=r"cover\.png: the name has no frame number"):
        list(read_frames(tmp_path / "other", 30))


def test_a_rate_replaces_the_times_of_a_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [0, 0.1, 0.5])
    np.testing.assert_allclose([frame.time for frame in read_frames(path, 50)], [0, 0.02, 0.04])
    assert is_recorded_video(tmp_path / "CLIP.MOV")


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
