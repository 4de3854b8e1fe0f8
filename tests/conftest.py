"""Fixtures that all tests share: a tiny rig, and the ICT rig and a real capture where their data is present."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from biomechau.analysis import CaptureForces, analyse
from biomechau.corpus import FaceSequence
from biomechau.rig import FaceRig, _builtin

_REPOSITORY = Path(__file__).parents[1]
_AMPLITUDES = {"mouthSmile_L": 0.9, "mouthSmile_R": 0.3, "jawOpen": 0.5}
_TINY_SHAPES = {  # centre of a bump on the unit square (right of the face to left, chin to brow), direction of its pull
    "browInnerUp_L": ((0.6, 0.9), (0.0, 1.0, 0.1)),
    "browInnerUp_R": ((0.4, 0.9), (0.0, 1.0, 0.1)),
    "browDown_L": ((0.7, 0.85), (-0.3, -0.9, 0.0)),
    "browDown_R": ((0.3, 0.85), (0.3, -0.9, 0.0)),
    "mouthSmile_L": ((0.65, 0.35), (0.8, 0.6, 0.2)),
    "mouthSmile_R": ((0.35, 0.35), (-0.8, 0.6, 0.2)),
    "mouthPucker": ((0.5, 0.3), (0.0, 0.1, 1.0)),
    "jawOpen": ((0.5, 0.1), (0.0, -1.0, -0.2)),
}


def pytest_configure() -> None:
    """One thread in each of pytest-xdist's processes, which share the cores; also in the processes that tests start.

    A shell starts its background jobs with Ctrl-C ignored, also in theirs: tests of Ctrl-C need it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-inputs", type=int, default=300, metavar="N", help="mutated inputs of each reader")


@pytest.fixture(scope="session", autouse=True)
def built_in_faces_made_once() -> Iterator[None]:
    """Half a second each: those of one size are made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_builtin, "builtin_face", functools.lru_cache(None, typed=True)(_builtin.builtin_face))
        yield


@pytest.fixture(scope="session")
def tiny_rig() -> FaceRig:
    """A dome of 9 x 11 vertices with 8 smooth, local shapes (K = 8, N = 99) and 2 identity modes."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.meshgrid(torch.linspace(0, 1, 9), torch.linspace(0, 1, 11), indexing="xy")
    x, y = x.flatten(), y.flatten()
    neutral = torch.stack([16 * (x - 0.5), 20 * (y - 0.5), 8 - 20 * (x - 0.5) ** 2 - 10 * (y - 0.5) ** 2], 1)
    corner = (torch.arange(10)[:, None] * 9 + torch.arange(8)).flatten()
    faces = torch.cat([corner[:, None] + torch.tensor([0, 1, 10]), corner[:, None] + torch.tensor([0, 10, 9])])
    blendshapes = torch.stack(
        [
            (1 - 9 * ((x - cx) ** 2 + (y - cy) ** 2)).clamp(min=0)[:, None] ** 2
            * (torch.tensor(pull) + 0.1 * torch.randn(99, 3, generator=generator))
            for (cx, cy), pull in _TINY_SHAPES.values()
        ]
    )
    identity = torch.stack([0.1 * neutral, 0.2 * torch.randn(99, 3, generator=generator)])
    return FaceRig(neutral, faces, blendshapes, tuple(_TINY_SHAPES), identity, ("wide", "rough"), {"source": "test"})


def _test_data(name: str) -> Path:
    folder = Path(os.environ.get("BIOMECHAU_TEST_DATA", _REPOSITORY.parent / "shared" / "data"))
    if not (folder / name).is_file():
        pytest.skip(f"no {name} in {folder} (set BIOMECHAU_TEST_DATA)")
    return folder / name


@pytest.fixture(scope="session")
def ict_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FaceXModel folder with every expression shape and the first three identity modes, unpacked once."""
    archive = _test_data("ict-facekit/ict-facekit.tar.xz")
    cache = getattr(request.config, "cache", None)  # absent when the plugin is switched off
    parent = cache.mkdir("facexmodel") if cache else tmp_path_factory.mktemp("facexmodel")
    folder = parent / f"{archive.stat().st_size}-{archive.stat().st_mtime_ns}"
    if not folder.is_dir():
        partial = Path(tempfile.mkdtemp(dir=parent))
        with tarfile.open(archive) as tar:
            wanted = [m for m in tar if m.name.startswith("FaceXModel/")]
            members = [
                m for m in wanted if "identity" not in m.name or m.name.endswith(("000.obj", "001.obj", "002.obj"))
            ]
            tar.extractall(partial, members, filter="data")
        # Beside and rename, so that another process never sees half a folder.
        with contextlib.suppress(OSError):  # it was first
            (partial / "FaceXModel").rename(folder)
        shutil.rmtree(partial)
        assert folder.is_dir()
    return folder


@pytest.fixture(scope="session")
def ict_rig(ict_folder: Path) -> FaceRig:
    """The ICT face area (N = 9,409) with its expression shapes."""
    return FaceRig.from_ict(ict_folder, identity=False)


@pytest.fixture(scope="session")
def capture_csv() -> Path:
    """A real recording of the Live Link Face app: 180 frames at 60 fps, 61 channels, one gap of 7 frames."""
    return _test_data("live-link-face/capture_60fps.csv")


@pytest.fixture(scope="session")
def clip(tiny_rig: FaceRig) -> FaceSequence:
    """A one-sided smile with the mouth open, from rest to rest: 40 frames at 25 fps, all 8 shapes as channels."""
    time = torch.arange(40, dtype=torch.float64) / 25
    bump = 0.5 - 0.5 * torch.cos(2 * torch.pi * time / time[-1])
    amplitude = torch.tensor([_AMPLITUDES.get(name, 0.0) for name in tiny_rig.names], dtype=torch.float64)
    return FaceSequence(
        name="clip",
        coefficients=(bump[:, None] * amplitude).float(),
        channels=tiny_rig.names,
        timestamp=time,
        valid=torch.ones(40, dtype=torch.bool),
        fps=25.0,
        source="test",
    )


@pytest.fixture(scope="session")
def report(tiny_rig: FaceRig, clip: FaceSequence) -> CaptureForces:
    """The forces of the clip."""
    return analyse(clip, tiny_rig)
