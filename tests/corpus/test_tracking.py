"""Tracking: the landmarker's results to a file, with recorded results in place of the model."""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from corpus.tables import MEDIAPIPE_NAMES, blendshapes
from corpus.videos import write_video

from biomechau.cli import main
from biomechau.corpus import read_sequence
from biomechau.corpus.tracking import blendshape_scores, face_landmarker, track_video


def _result(frame: int) -> SimpleNamespace:
    """What MediaPipe gives for one picture with one face; its categories may come in any order."""
    scores = [float(value) for value in blendshapes(frame)]
    categories = [
        SimpleNamespace(index=n, score=score, display_name="", category_name=name)
        for n, (name, score) in enumerate(zip(MEDIAPIPE_NAMES, scores, strict=True))
    ]
    return SimpleNamespace(face_landmarks=[["478 points"]], face_blendshapes=[categories[::-1]])


NO_FACE = SimpleNamespace(face_landmarks=[], face_blendshapes=[])


@dataclass
class FakeLandmarker:
    """Plays results back, and remembers what it was asked."""

    results: list[SimpleNamespace]
    options: Any = None
    images: list[Any] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    closed: bool = False

    def __enter__(self) -> FakeLandmarker:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def detect_for_video(self, image: Any, timestamp_ms: int) -> SimpleNamespace:
        self.images.append(image)
        self.times.append(timestamp_ms)
        return self.results[len(self.times) - 1]


@pytest.fixture
def landmarker(monkeypatch: pytest.MonkeyPatch) -> FakeLandmarker:
    """MediaPipe with a landmarker that plays 12 results back, the fifth without a face."""
    fake = FakeLandmarker([NO_FACE if n == 4 else _result(n) for n in range(12)])

    def create(options: Any) -> FakeLandmarker:
        if Path(options.base_options.model_asset_path).read_bytes() != b"model":
            raise RuntimeError("Unable to open zip archive.")
        fake.options = options
        return fake

    mediapipe, tasks, python = (ModuleType(name) for name in ("mediapipe", "tasks", "python"))
    mediapipe.Image = SimpleNamespace  # type: ignore[attr-defined]
    mediapipe.ImageFormat = SimpleNamespace(SRGB="SRGB")  # type: ignore[attr-defined]
    python.BaseOptions = SimpleNamespace  # type: ignore[attr-defined]
    python.vision = SimpleNamespace(  # type: ignore[attr-defined]
        FaceLandmarkerOptions=SimpleNamespace,
        RunningMode=SimpleNamespace(VIDEO="VIDEO"),
        FaceLandmarker=SimpleNamespace(create_from_options=create),
    )
    for name, module in (
        ("mediapipe", mediapipe),
        ("mediapipe.tasks", tasks),
        ("mediapipe.tasks.python", python),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    return fake


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "face_landmarker.task").write_bytes(b"model")
    return tmp_path / "face_landmarker.task"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", [n / 25 for n in range(12)])


def test_command(
    landmarker: FakeLandmarker, model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "capture.csv"
    assert main(["track", str(video), "--model", str(model), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 12 frames at 25 fps, 1 without a face\n"
    with out.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["frame", "timestamp", *MEDIAPIPE_NAMES]
    assert rows[5] == ["4", "0.160000", *[""] * 52]
    sequence = read_sequence(out)
    assert sequence.frame is not None
    assert sequence.frame.tolist() == list(range(12))
    expected = torch.tensor([[float(value) for value in blendshapes(n)[1:]] for n in range(12)])
    torch.testing.assert_close(sequence.coefficients[sequence.valid], expected[sequence.valid])
    assert landmarker.times == [40 * n for n in range(12)]
    assert landmarker.options.output_face_blendshapes is True
    assert (landmarker.options.num_faces, landmarker.options.running_mode) == (1, "VIDEO")
    assert landmarker.images[0].image_format == "SRGB"
    assert landmarker.images[0].data.shape == (48, 64, 3)
    assert landmarker.closed


def test_times_of_the_landmarker_rise(tmp_path: Path) -> None:
    """MediaPipe refuses a time twice; these frames are closer than its milliseconds."""
    path = write_video(tmp_path / "fast.mp4", [0, 0.001, 0.002, 0.003])
    times: list[int] = []

    def tracker(picture: np.ndarray, milliseconds: int) -> list[float]:
        times.append(milliseconds)
        return [0.5] * 52

    track_video(path, tracker, tmp_path / "capture.csv")
    assert times == sorted(set(times))
    assert len(times) == 4


def test_nothing_is_written_without_a_face(
    landmarker: FakeLandmarker, model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["track", str(video), "--model", str(model), "--out", str(tmp_path / "capture.csv")]
    landmarker.results = [NO_FACE] * 12
    assert main(arguments) == 2
    assert f"{video}: no face was found in its 12 frames" in capsys.readouterr().err
    write_video(video, [0])
    landmarker.times.clear()
    assert main(arguments) == 2
    assert "expected at least 2 frames, found 1" in capsys.readouterr().err
    video.write_bytes(b"not a video")
    assert main(arguments) == 2
    assert "clip.mp4: not a video that can be read" in capsys.readouterr().err
    assert not list(tmp_path.glob("*capture*"))


def test_models(landmarker: FakeLandmarker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "face_landmarker.task"
    with pytest.raises(FileNotFoundError, match=r"no such file: .*face_landmarker\.task; the model .* download it"):
        face_landmarker(path).__enter__()
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not a model of MediaPipe's face landmarker"):
        face_landmarker(path).__enter__()
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ImportError, match=r'tracking needs MediaPipe: pip install "biomechau\[track\]"'):
        face_landmarker(path).__enter__()


def test_results() -> None:
    scores = blendshape_scores(_result(3))
    assert scores == pytest.approx([0.01 * n + 0.06 for n in range(52)])
    assert blendshape_scores(NO_FACE) is None
    short = _result(3)
    del short.face_blendshapes[0][0]
    with pytest.raises(ValueError, match="the model gives no score of noseSneerRight"):
        blendshape_scores(short)
    with pytest.raises(ValueError, match="the model gives no score of _neutral"):
        blendshape_scores(SimpleNamespace(face_landmarks=[[]], face_blendshapes=[]))


def test_names_of_the_real_mediapipe(tmp_path: Path) -> None:
    """Where it is installed: its names exist, and what it makes of a file that is no model."""
    mediapipe = pytest.importorskip("mediapipe")
    from mediapipe.tasks.python.components.containers.category import Category
    from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerResult
    from mediapipe.tasks.python.vision.face_landmarker import Blendshapes

    assert [shape.name.replace("_", "").lower() for shape in Blendshapes] == [
        name.replace("_", "").lower() for name in MEDIAPIPE_NAMES
    ]
    (tmp_path / "face_landmarker.task").write_bytes(b"no model")
    with pytest.raises(ValueError, match="not a model of MediaPipe's face landmarker"):
        face_landmarker(tmp_path / "face_landmarker.task").__enter__()
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.zeros((48, 64, 3), np.uint8))
    assert (image.width, image.height) == (64, 48)
    assert callable(FaceLandmarker.detect_for_video)
    assert callable(FaceLandmarker.__exit__)
    categories = [Category(n, 0.01 * n, "", name) for n, name in enumerate(MEDIAPIPE_NAMES)]
    scores = blendshape_scores(FaceLandmarkerResult([[]], [categories], []))
    assert scores == pytest.approx([0.01 * n for n in range(52)])
