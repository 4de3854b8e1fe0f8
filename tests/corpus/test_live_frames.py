"""Sources of live frames: packets of strangers, sockets, cameras, recordings."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from corpus.live_link_packets import packet

from biomechau.corpus import FaceSequence
from biomechau.corpus.face_tracks import Face
from biomechau.corpus.live_frames import (
    LiveLinkReceiver,
    camera_pictures,
    live_link_frames,
    open_live_link,
    replayed_frames,
    tracked_frames,
)
from biomechau.corpus.video import VideoFrame

VALUES = np.linspace(0.01, 0.99, 52, dtype=np.float32)


def test_frames_of_one_sender() -> None:
    said: list[str] = []
    receiver = LiveLinkReceiver(said.append)
    frame = receiver.frame(packet(VALUES, 120, 0.5), 7.0)
    assert frame is not None
    assert (frame.time, frame.arrival, frame.number) == (120.5 / 60, 7.0, 120)
    np.testing.assert_array_equal(frame.values, VALUES)
    blind = receiver.frame(packet(None, 121), 7.02)
    assert blind is not None
    assert blind.values is None
    assert receiver.frame(packet(VALUES, subject="other"), 7.03) is None
    assert receiver.frame(packet(VALUES, subject="other"), 7.05) is None
    assert receiver.frame(packet(VALUES, 122, rate=(30, 1)), 7.06) is not None
    assert receiver.refused == 2
    assert receiver.frame(packet(VALUES, subject="other"), 9.2) is not None  # the first has been silent
    assert receiver.frame(packet(VALUES, 123), 9.3) is None
    assert said == [
        "receiving iPhone, 60 frames per second",
        "packets of another sender are left out: other",
        "the sender counts 30 frames per second now",
        "receiving other, 60 frames per second",
    ]


def test_what_is_refused_is_said_now_and_then() -> None:
    said: list[str] = []
    receiver = LiveLinkReceiver(said.append)
    for n in range(1000):
        for data in (packet(VALUES, version=1), packet(VALUES)[:-1], b"", b"x" * 2000):
            assert receiver.frame(data, 0.1 * n) is None
    assert receiver.refused == 4000
    versions = [words for words in said if "of version 1, expected 6" in words]
    assert len(versions) == 4  # in 100 seconds
    assert "choose Live Link (ARKit)" in versions[0]
    assert "since it was last said" in versions[1]
    assert len(said) <= 8


def test_packets_from_a_socket() -> None:
    said: list[str] = []
    receiver, stop = open_live_link("127.0.0.1", 0), Event()
    address = receiver.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for data in (b"", b"hello", packet(VALUES, 5), b"x" * 5000, packet(VALUES, 6)):
            sender.sendto(data, address)
        frames = live_link_frames(receiver, stop, said.append, lambda: 3.0)
        assert [next(frames).number for _ in range(2)] == [5, 6]
    stop.set()
    assert list(frames) == []
    assert receiver.fileno() == -1


def test_a_port_in_use_is_named() -> None:
    with open_live_link("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot receive packets at 127.0.0.1, port {port}: Address already in use"):
            open_live_link("127.0.0.1", port)
    with pytest.raises(OSError, match="cannot receive packets at no.such.host.invalid, port 1"):
        open_live_link("no.such.host.invalid", 1)


def test_a_recording_again_and_again(clip: FaceSequence) -> None:
    lost = torch.arange(40) != 3
    recording = FaceSequence("c", clip.coefficients, clip.channels, clip.timestamp + 5, lost, 25.0)
    once = list(replayed_frames(recording))
    assert [frame.time for frame in once] == pytest.approx((clip.timestamp).tolist())
    assert [n for n, frame in enumerate(once) if frame.values is None] == [3]
    again = replayed_frames(recording, repeat=True)
    twice = [next(again) for _ in range(80)]
    assert twice[40].time == pytest.approx(39 / 25 + 1)
    assert twice[40].number == 0


def test_the_largest_face_of_each_picture() -> None:
    pictures = [VideoFrame(n, n / 30, np.zeros((2, 2, 3), np.uint8)) for n in range(3)]
    times: list[int] = []

    def tracker(picture: np.ndarray, milliseconds: int) -> Sequence[Face]:
        times.append(milliseconds)
        if len(times) == 2:
            return []
        scores = [0.5, *np.linspace(0, 0.9, 51).tolist()]
        return [Face((0, 0, 0.1, 0.1), [0.0] * 52), Face((0, 0, 0.5, 0.5), scores)]

    frames = list(tracked_frames(pictures, tracker, lambda: 8.0))  # pyright: ignore[reportArgumentType]
    assert times == [0, 33, 67]
    assert [frame.values is None for frame in frames] == [False, True, False]
    assert frames[0].values is not None
    np.testing.assert_allclose(frames[0].values, np.linspace(0, 0.9, 51), atol=1e-6)
    assert {frame.arrival for frame in frames} == {8.0}
    assert [frame.arrival for frame in tracked_frames(pictures, tracker)] == [0, 1 / 30, 2 / 30]  # pyright: ignore[reportArgumentType]


class FakeCamera:
    """Two pictures, if there is a camera of this number."""

    def __init__(self, number: int) -> None:
        self.left = 2 if number == 0 else 0
        self.number = number

    def isOpened(self) -> bool:
        return self.number == 0

    def read(self) -> tuple[bool, np.ndarray]:
        self.left -= 1
        return self.left >= 0, np.full((1, 1, 3), (1, 2, 3), np.uint8)

    def release(self) -> None:
        self.left = -100


def test_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(VideoCapture=FakeCamera, setLogLevel=lambda level: level))
    pictures = camera_pictures(0, Event(), lambda: 4.0)
    found = [next(pictures), next(pictures)]
    assert [picture.number for picture in found] == [0, 1]
    assert found[0].picture.tolist() == [[[3, 2, 1]]]  # red, green, blue
    with pytest.raises(OSError, match="camera 0: it gives no more pictures"):
        next(pictures)
    with pytest.raises(OSError, match="camera 3: there is none, or another program uses it"):
        next(camera_pictures(3, Event()))
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r'pip install "biomechau\[track\]"'):
        next(camera_pictures(0, Event()))
