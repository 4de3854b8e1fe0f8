"""Tracking: the landmarker's results to a file, with recorded results in place of the model."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from corpus.tables import MEDIAPIPE_NAMES, blendshapes
from corpus.videos import write_video

from biomechau.cli import main
from biomechau.corpus import landmarker_model, read_sequence
from biomechau.corpus.face_tracks import Face
from biomechau.corpus.tracking import face_landmarker, found_faces, track_video


def _box(left: float, top: float, width: float) -> list[SimpleNamespace]:
    """Landmarks of a square face."""
    return [SimpleNamespace(x=left, y=top), SimpleNamespace(x=left + width, y=top + width)]


def _result(frame: int) -> SimpleNamespace:
    """What MediaPipe gives for one picture with one face; its categories may come in any order."""
    scores = [float(value) for value in blendshapes(frame)]
    categories = [
        SimpleNamespace(index=n, score=score, display_name="", category_name=name)
        for n, (name, score) in enumerate(zip(MEDIAPIPE_NAMES, scores, strict=True))
    ]
    return SimpleNamespace(face_landmarks=[_box(0.3, 0.3, 0.4)], face_blendshapes=[categories[::-1]])


NO_FACE = SimpleNamespace(face_landmarks=[], face_blendshapes=[])


@dataclass
class FakeLandmarker:
    """Plays results back, and remembers what it was asked."""

    results: list[SimpleNamespace]
    options: Any = None
    images: list[Any] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    closed: bool = False

    def close(self) -> None:
        os.write(2, b"I0000 closing\n")
        self.closed = True

    def detect_for_video(self, image: Any, timestamp_ms: int) -> SimpleNamespace:
        os.write(2, b"W0000 NORM_RECT without IMAGE_DIMENSIONS\n")
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
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
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
    assert (landmarker.options.num_faces, landmarker.options.running_mode) == (4, "VIDEO")
    assert landmarker.images[0].image_format == "SRGB"
    assert landmarker.images[0].data.shape == (48, 64, 3)
    assert landmarker.closed


def test_times_of_the_landmarker_rise(tmp_path: Path) -> None:
    """MediaPipe refuses a time twice; these frames are closer than its milliseconds."""
    path = write_video(tmp_path / "fast.mp4", [0, 0.001, 0.002, 0.003])
    times: list[int] = []

    def tracker(picture: np.ndarray, milliseconds: int) -> list[Face]:
        times.append(milliseconds)
        return [Face((0.2, 0.2, 0.6, 0.6), [0.5] * 52)]

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


def test_what_mediapipe_logs_is_not_shown(
    landmarker: FakeLandmarker, model: Path, video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["track", str(video), "--model", str(model), "--out", str(tmp_path / "capture.csv")]) == 0
    os.write(2, b"shown again\n")
    assert capfd.readouterr().err == "shown again\n"
    assert landmarker.closed


def _two_faces(frame: int) -> SimpleNamespace:
    """A small face that is always there, and a large one that moves and is lost in frames 4 to 6; in any order."""
    faces = [(_result(frame).face_blendshapes[0], _box(0.02, 0.1, 0.2))]
    if frame not in (4, 5, 6):
        faces.append((_result(frame + 1).face_blendshapes[0], _box(0.4 + 0.02 * frame, 0.3, 0.35)))
    faces = faces[:: 1 if frame % 2 else -1]
    return SimpleNamespace(face_landmarks=[box for _, box in faces], face_blendshapes=[scores for scores, _ in faces])


def test_several_faces(
    landmarker: FakeLandmarker, model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    landmarker.results = [_two_faces(n) for n in range(12)]

    def track(*options: str) -> tuple[str, str]:
        landmarker.times.clear()
        assert main(["track", str(video), "--model", str(model), "--out", str(tmp_path / "c.csv"), *options]) == 0
        return capsys.readouterr()

    first = torch.tensor([[float(value) for value in blendshapes(n + 1)[1:]] for n in range(12)])
    second = torch.tensor([[float(value) for value in blendshapes(n)[1:]] for n in range(12)])
    said, noted = track()
    assert "12 frames at 25 fps, 3 without a face" in said
    assert noted == "biomechau: note: 2 faces: the largest is used (--face 2 selects the next)\n"
    largest = read_sequence(tmp_path / "c.csv")
    assert (~largest.valid).nonzero()[:, 0].tolist() == [4, 5, 6]
    torch.testing.assert_close(largest.coefficients[largest.valid], first[largest.valid])
    said, noted = track("--face", "2")
    assert (said, noted) == (f"{tmp_path / 'c.csv'}: 12 frames at 25 fps, 0 without a face\n", "")
    torch.testing.assert_close(read_sequence(tmp_path / "c.csv").coefficients, second)
    said, noted = track("--face", "all")
    assert [line.split(":")[0] for line in said.splitlines()] == [
        str(tmp_path / name) for name in ("c_face1.csv", "c_face2.csv")
    ]
    torch.testing.assert_close(read_sequence(tmp_path / "c_face2.csv").coefficients, second)
    track("--face", "only")
    assert landmarker.options.num_faces == 1
    landmarker.times.clear()
    assert main(["track", str(video), "--model", str(model), "--out", str(tmp_path / "c.csv"), "--face", "3"]) == 2
    assert "there is no face 3: 2 found, counted from 1, the largest first" in capsys.readouterr().err


def test_forces_of_a_video(
    landmarker: FakeLandmarker, model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    landmarker.results = [_two_faces(n) for n in range(12)]
    out = tmp_path / "out"
    arguments = ["forces", str(video), "--rig", "builtin:1000", "--out", str(out), "--model", str(model), "--json"]
    assert main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["input"] == {"name": "clip", "source": "MediaPipe's blendshapes of clip.mp4", "path": str(video)}
    assert summary["frames"]["count"] == 12
    assert any("2 faces: the largest is used" in warning for warning in summary["warnings"])
    landmarker.times.clear()
    with_face = read_sequence(video, model=model, face=2)
    assert bool(with_face.valid.all())
    assert main([*arguments, "--rigid"]) == 2
    assert "not meshes, so" in capsys.readouterr().err
    csv_file = tmp_path / "capture.csv"
    landmarker.times.clear()
    track_video(video, lambda *_: [Face((0.2, 0.2, 0.6, 0.6), [0.5] * 52)], csv_file)
    for options, words in (
        (["--face", "1"], "no column face_id, so face 1 (--face) cannot be found"),
        (["--face", "only"], "not a video, so a single face cannot be looked for (--face only)"),
        (["--model", str(model)], "not a video, so MediaPipe's model has no effect (--model)"),
    ):
        assert main(["forces", str(csv_file), *options]) == 2
        assert words in capsys.readouterr().err


def test_pictures_of_a_folder_are_tracked(
    landmarker: FakeLandmarker, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "take").mkdir()
    for n in (5, 6, 8):
        image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "take" / f"frame_{n:04}.png")
    monkeypatch.setenv(landmarker_model.VARIABLE, str(model))
    sequence = read_sequence(tmp_path / "take", fps=50)
    assert sequence.name == "take"
    assert sequence.frame is not None
    assert sequence.frame.tolist() == [5, 6, 8]
    assert sequence.timestamp.tolist() == [0, 0.02, 0.06]
    assert landmarker.times == [0, 20, 60]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no variable."""
    import pooch

    monkeypatch.delenv(landmarker_model.VARIABLE, raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "biomechau" / "face_landmarker.task"


@pytest.mark.usefixtures("landmarker")
def test_models(model: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"tracking needs MediaPipe's model .* biomechau track --fetch-model"):
        landmarker_model.find_model()
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"model")
    assert landmarker_model.find_model() == cache
    monkeypatch.setenv(landmarker_model.VARIABLE, str(model))
    assert landmarker_model.find_model() == model
    assert landmarker_model.find_model(cache) == cache
    monkeypatch.setenv(landmarker_model.VARIABLE, str(tmp_path / "gone.task"))
    with pytest.raises(FileNotFoundError, match=r"gone\.task \(named by BIOMECHAU_FACE_LANDMARKER\); biomechau track"):
        landmarker_model.find_model()
    with pytest.raises(FileNotFoundError, match=r"no such file: .*none\.task; biomechau track --fetch-model"):
        face_landmarker(tmp_path / "none.task").__enter__()
    model.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not a model of MediaPipe's face landmarker: Unable to open zip archive"):
        face_landmarker(model).__enter__()
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ImportError, match=r'tracking needs MediaPipe: pip install "biomechau\[track\]"'):
        face_landmarker(model).__enter__()


class _Answer(BaseHTTPRequestHandler):
    """Serves the bytes of a model, and counts how often."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.path == "/model" else 404)
        self.end_headers()
        self.wfile.write(b"model")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    _Answer.asked.clear()
    with HTTPServer(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("landmarker")
def test_the_model_is_fetched_once_and_checked(
    server: str,
    cache: Path,
    video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(landmarker_model, "URL", f"{server}/model")
    assert main(["track", "--fetch-model"]) == 2
    assert "face_landmarker.task" in capsys.readouterr().err
    assert not list(cache.parent.glob("*"))
    monkeypatch.setattr(landmarker_model, "SHA256", hashlib.sha256(b"model").hexdigest())
    for _ in range(2):
        assert main(["track", "--fetch-model"]) == 0
        assert capsys.readouterr() == (f"model: {cache}\n", "")
    assert cache.read_bytes() == b"model"
    assert _Answer.asked == ["/model", "/model"]
    assert main(["track", str(video), "--out", str(tmp_path / "capture.csv")]) == 0
    assert "12 frames" in capsys.readouterr().out
    cache.unlink()
    monkeypatch.setattr(landmarker_model, "URL", f"{server}/gone")
    assert main(["track", "--fetch-model"]) == 2
    assert "404" in capsys.readouterr().err
    assert main(["track", "--fetch-model", "--model", str(cache)]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert main(["track"]) == 2
    assert "expected a VIDEO to track, or --fetch-model" in capsys.readouterr().err


def test_results() -> None:
    (face,) = found_faces(_result(3))
    assert face.scores == pytest.approx([0.01 * n + 0.06 for n in range(52)])
    assert face.box == pytest.approx((0.3, 0.3, 0.7, 0.7))
    assert found_faces(NO_FACE) == []
    short = _result(3)
    del short.face_blendshapes[0][0]
    with pytest.raises(ValueError, match="the model gives no score for noseSneerRight"):
        found_faces(short)
    with pytest.raises(ValueError, match="the model gives no score for _neutral"):
        found_faces(SimpleNamespace(face_landmarks=[[]], face_blendshapes=[]))


def test_names_of_the_real_mediapipe(tmp_path: Path) -> None:
    """Where it is installed: its names exist, and what it makes of a file that is no model."""
    mediapipe = pytest.importorskip("mediapipe")
    from mediapipe.tasks.python.components.containers.category import Category
    from mediapipe.tasks.python.components.containers.landmark import NormalizedLandmark
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
    assert callable(FaceLandmarker.close)
    categories = [Category(n, 0.01 * n, "", name) for n, name in enumerate(MEDIAPIPE_NAMES)]
    landmarks = [NormalizedLandmark(0.25, 0.5, 0.0), NormalizedLandmark(0.5, 0.75, 0.0)]
    (face,) = found_faces(FaceLandmarkerResult([landmarks], [categories], []))
    assert face.scores == pytest.approx([0.01 * n for n in range(52)])
    assert face.box == (0.25, 0.5, 0.5, 0.75)
