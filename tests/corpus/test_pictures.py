"""Where the pictures of a sequence are, and what reading them refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from corpus.corpora import make_sequence, write
from corpus.videos import write_video
from PIL import Image

from biomechau.corpus import Corpus
from biomechau.corpus.picture_file import read_picture
from biomechau.corpus.pictures import SequencePictures, find_pictures
from biomechau.rig import FaceRig


def draw(path: Path, grey: int, size: tuple[int, int] = (20, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, 0, 0)).save(path)
    return path


def find(rig: FaceRig, tmp_path: Path, first: int, source: str = "test", task: str = "T1") -> SequencePictures:
    """The pictures below tmp_path / "root" of a sequence of 6 frames, the numbers of which begin with first."""
    id = "F001_T1" if task else "SN001"
    sequence = make_sequence(rig, id, 6, task=task, timestamp=(first + torch.arange(6, dtype=torch.float64)) / 25)
    corpus = Corpus.open(write(tmp_path / "corpus", rig, sequence, provenance={"source": source}))
    return find_pictures(corpus, tmp_path / "root", corpus[id])


def greys(pictures: SequencePictures) -> dict[int, int]:
    return {frame: int(picture[0, 0, 0]) for frame, picture in pictures.read()}


@pytest.mark.parametrize(
    ("folder", "name"),
    [("F001_T1", "{:06}.png"), ("f001_t1", "{}.png"), ("F001/T1", "{:05}.png"), ("f001/t1", "{}.bmp")],
)
def test_by_number_in_any_layout(tiny_rig: FaceRig, tmp_path: Path, folder: str, name: str) -> None:
    for number in range(2440, 2450):
        draw(tmp_path / "root" / folder / name.format(number), number - 2400)
    assert greys(find(tiny_rig, tmp_path, first=2441)) == {frame: 41 + frame for frame in range(6)}


def test_a_subject_with_one_task_has_one_folder(tiny_rig: FaceRig, tmp_path: Path) -> None:
    for number in range(1, 7):
        draw(tmp_path / "root" / "SN001" / f"{number}.png", number)
    assert greys(find(tiny_rig, tmp_path, first=1, task="")) == {frame: 1 + frame for frame in range(6)}


def test_pictures_that_count_from_one(tiny_rig: FaceRig, tmp_path: Path) -> None:
    for number in range(1, 7):
        draw(tmp_path / "root" / "F001_T1" / f"{number:06}.png", number)
    assert greys(find(tiny_rig, tmp_path, first=0)) == {frame: 1 + frame for frame in range(6)}


def test_pictures_that_count_from_zero_and_lack_the_first(tiny_rig: FaceRig, tmp_path: Path) -> None:
    for number in range(1, 6):
        draw(tmp_path / "root" / "F001_T1" / f"{number:06}.png", number)
    pictures = find(tiny_rig, tmp_path, first=0)
    assert greys(pictures) == {frame: frame for frame in range(1, 6)}
    words = pictures.without(np.ones(6, bool))
    assert words.startswith("1 labelled frames have no picture in")
    assert words.endswith("F001_T1 (0)")
    assert pictures.without(np.arange(6) > 0) == ""


def test_nothing_there(tiny_rig: FaceRig, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    words = find(tiny_rig, tmp_path, first=3).without(np.ones(6, bool))
    assert words == "6 labelled frames have neither a folder of images nor a video (3-8)"
    corpus = Corpus.open(tmp_path / "corpus")
    with pytest.raises(NotADirectoryError, match="no such folder: .*nowhere"):
        find_pictures(corpus, tmp_path / "nowhere", corpus["F001_T1"])


def test_two_pictures_of_a_frame(tiny_rig: FaceRig, tmp_path: Path) -> None:
    draw(tmp_path / "root" / "F001_T1" / "1.png", 1)
    draw(tmp_path / "root" / "F001_T1" / "0001.png", 1)
    with pytest.raises(ValueError, match="two images of frame 1"):
        find(tiny_rig, tmp_path, first=1)


@pytest.mark.parametrize(("source", "first", "greys_of"), [("DISFA", 1, range(6)), ("test", 1, range(1, 7))])
def test_videos(tiny_rig: FaceRig, tmp_path: Path, source: str, first: int, greys_of: range) -> None:
    """DISFA's frame 1 is a video's first; elsewhere a frame's number is that of the video, from 0."""
    name = "Videos_LeftCamera/LeftVideoSN001_comp.avi" if source == "DISFA" else "sn001.avi"
    (tmp_path / "root" / name).parent.mkdir(parents=True)
    write_video(tmp_path / "root" / name, np.arange(10) / 25)
    pictures = find(tiny_rig, tmp_path, first, source, task="")
    seen = {frame: picture[30:, 30:].mean() for frame, picture in pictures.read()}
    assert list(seen) == list(range(6))
    assert list(seen.values()) == pytest.approx([10 * n for n in greys_of], abs=6)


def test_a_video_that_ends_early(tiny_rig: FaceRig, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    write_video(tmp_path / "root" / "F001_T1.avi", np.arange(4) / 25)
    pictures = find(tiny_rig, tmp_path, first=0)
    with pytest.raises(ValueError, match=r"F001_T1.avi: it ends after 4 pictures, which leaves out 2 frames \(4-5\)"):
        list(pictures.read())
    faults: list[str] = []
    assert [frame for frame, _ in pictures.read(faults)] == [0, 1, 2, 3]
    assert len(faults) == 1


def test_a_video_that_cannot_be_read(tiny_rig: FaceRig, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "F001_T1.avi").write_bytes(b"RIFF no video")
    pictures = find(tiny_rig, tmp_path, first=0)
    with pytest.raises(ValueError, match="F001_T1.avi: not a video that can be read"):
        list(pictures.read())
    faults: list[str] = []
    assert list(pictures.read(faults)) == []
    assert "F001_T1.avi" in faults[0]


@pytest.mark.parametrize("broken", ["cut", "garbage", "empty"])
def test_a_broken_picture_is_named(tiny_rig: FaceRig, tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "root" / "F001_T1"
    for number in range(6):
        draw(folder / f"{number}.png", number, (200, 200))
    whole = (folder / "3.png").read_bytes()
    bad = {"cut": whole[: len(whole) // 2], "garbage": whole[:40] + bytes(len(whole) - 40), "empty": b""}[broken]
    (folder / "3.png").write_bytes(bad)
    pictures = find(tiny_rig, tmp_path, first=0)
    with pytest.raises(ValueError, match="3.png: not a picture that can be read"):
        list(pictures.read())
    faults: list[str] = []
    assert [frame for frame, _ in pictures.read(faults)] == [0, 1, 2, 4, 5]
    assert len(faults) == 1
    assert "3.png" in faults[0]


def test_pictures_are_upright_and_have_three_colours(tmp_path: Path) -> None:
    image = Image.new("L", (20, 10), 7)
    exif = image.getexif()
    exif[0x0112] = 6  # taken with the camera on its side
    image.save(tmp_path / "a.png", exif=exif)
    picture = read_picture(tmp_path / "a.png")
    assert picture.shape == (20, 10, 3)
    assert (picture == 7).all()
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "b.png")
