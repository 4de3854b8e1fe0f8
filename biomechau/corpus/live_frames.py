"""Frames of a face while it is recorded: from Live Link Face, a camera, or a recording that is played again."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from threading import Event
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biomechau.corpus.face_sequence import FaceSequence
from biomechau.corpus.live_link import LARGEST_PACKET, LiveLinkPacket, OtherVersion
from biomechau.corpus.tracking import Tracker
from biomechau.corpus.video import VideoFrame
from biomechau.file_errors import shorten

# A sender that is silent for this long [s] may be followed by another one.
_GONE = 2.0
# Between two remarks of one kind [s].
_RARELY = 30.0
# A thread that waits for packets looks so often whether it is to stop [s].
_LOOK = 0.1
MISSING_CAMERA = 'a camera needs MediaPipe and its OpenCV: pip install "biomechau[track]"'
# Between two rounds of a recording that is played again [s].
_PAUSE = 1.0


class LiveFrame(NamedTuple):
    """One frame of a face.

    Attributes:
        time: by the clock of its sender [s].
        arrival: by the clock of this computer [s].
        values: (C,) float32 coefficients of the source's channels; None without a face.
        number: of the frame, as its sender counts.
    """

    time: float
    arrival: float
    values: NDArray[np.float32] | None
    number: int | None = None


class Remarks:
    """Says what is unusual, each kind of it once in half a minute.

    Args:
        say: called with the words.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last: dict[str, float] = {}
        self._kept: dict[str, int] = {}

    def __call__(self, kind: str, words: str, now: float) -> None:
        """Say the words at the time ``now`` [s], unless something of this kind has been said lately."""
        if now - self._last.get(kind, -np.inf) < _RARELY:
            self._kept[kind] = self._kept.get(kind, 0) + 1
            return
        self._last[kind] = now
        again = self._kept.pop(kind, 0)
        self._say(f"{words} (and {again} times since it was last said)" if again else words)


class LiveLinkReceiver:
    """Turns datagrams into frames of one sender: the first, until it has been silent for two seconds.

    Args:
        say: called with what the user should know, in words.

    Attributes:
        refused: number of datagrams that are not such packets, or of another sender.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.refused = 0
        self._remark = Remarks(say)
        self._say = say
        self._sender: tuple[str, str] | None = None
        self._heard = -np.inf
        self._fps: float | None = None

    def frame(self, data: bytes, arrival: float) -> LiveFrame | None:
        """The frame in a datagram that arrived at a time [s]; None if it is refused, which never raises an error."""
        try:
            packet = LiveLinkPacket.decode(data)
        except OtherVersion as error:
            advice = "in the app, choose Live Link (ARKit) as the capture mode"
            return self._refuse("version", f"packets are left out: {error}; {advice}", arrival)
        except ValueError as error:
            return self._refuse("broken", f"packets are left out: {error}", arrival)
        sender = packet.device, packet.subject
        if sender != self._sender:
            if arrival - self._heard < _GONE:
                words = f"packets of another sender are left out: {shorten(packet.subject)}"
                return self._refuse("sender", words, arrival)
            self._say(f"receiving {shorten(packet.subject)}, {packet.fps:g} frames per second")
            self._sender, self._fps = sender, packet.fps
        if packet.fps != self._fps:
            self._remark("rate", f"the sender counts {packet.fps:g} frames per second now", arrival)
            self._fps = packet.fps
        self._heard = arrival
        return LiveFrame(packet.time, arrival, packet.values, packet.frame)

    def _refuse(self, kind: str, words: str, now: float) -> None:
        self.refused += 1
        self._remark(kind, words, now)


def open_live_link(host: str, port: int) -> socket.socket:
    """A socket that receives packets at an address of this computer.

    Raises:
        OSError: there is no such address, or the port is in use; the message names both.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        receiver = socket.socket(family, kind)
        try:
            receiver.bind(address)
        except BaseException:
            receiver.close()
            raise
    except OSError as error:
        raise OSError(f"cannot receive packets at {host}, port {port}: {error.strerror}") from error
    return receiver


def live_link_frames(
    receiver: socket.socket, stop: Event, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
) -> Iterator[LiveFrame]:
    """The frames that a socket receives, until ``stop`` is set; the socket is closed then.

    Args:
        receiver: see :func:`open_live_link`.
        stop: ends the iteration.
        say: see :class:`LiveLinkReceiver`.
        clock: the time of arrival [s].
    """
    turn = LiveLinkReceiver(say)
    with receiver:
        while not stop.is_set():
            if not select.select([receiver], [], [], _LOOK)[0]:
                continue
            try:
                data = receiver.recv(LARGEST_PACKET + 1)
            except OSError:  # of an earlier datagram, or one that is too long
                data = b""
            if (frame := turn.frame(data, clock())) is not None:
                yield frame
    if turn.refused:
        say(f"packets that were left out: {turn.refused:,}")


def replayed_frames(sequence: FaceSequence, repeat: bool = False) -> Iterator[LiveFrame]:
    """The frames of a recording at their times, from 0 s on; with ``repeat`` again and again."""
    times = (sequence.timestamp - sequence.timestamp[0]).tolist()
    values, valid = sequence.coefficients.numpy(), sequence.valid.tolist()
    numbers = sequence.recorded_frame.tolist()
    start = 0.0
    while True:
        for row, time_of, seen, number in zip(values, times, valid, numbers, strict=True):
            yield LiveFrame(start + time_of, start + time_of, row if seen else None, number)
        if not repeat:
            return
        start += times[-1] + _PAUSE


def tracked_frames(
    pictures: Iterable[VideoFrame], tracker: Tracker, clock: Callable[[], float] | None = None
) -> Iterator[LiveFrame]:
    """The largest face in each picture, by the channels ``MEDIAPIPE_SHAPES``.

    Args:
        pictures: of a video or a camera.
        tracker: see :func:`biomechau.corpus.tracking.face_landmarker`.
        clock: the time of arrival [s]; if not given, that of the picture.
    """
    before = -1
    for picture in pictures:
        arrival = picture.time if clock is None else clock()
        # MediaPipe needs increasing times, also for frames less than a millisecond apart.
        before = max(round(1000 * picture.time), before + 1)
        faces = tracker(picture.picture, before)
        face = max(faces, key=lambda face: face.area, default=None)
        # The first of MediaPipe's scores is that of the neutral face.
        values = None if face is None else np.array(face.scores[1:], np.float32)
        if values is not None and not np.isfinite(values).all():
            values = None
        yield LiveFrame(picture.time, arrival, values, picture.number)


def camera_pictures(number: int, stop: Event, clock: Callable[[], float] = time.monotonic) -> Iterator[VideoFrame]:
    """The pictures of a camera, until ``stop`` is set.

    Args:
        number: of the camera, from 0.
        stop: ends the iteration.
        clock: the time of a picture [s].

    Raises:
        ImportError: OpenCV is not installed.
        OSError: there is no such camera, it is in use, or it stops.
    """
    try:
        import cv2  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(MISSING_CAMERA) from error
    cv2.setLogLevel(0)
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise OSError(f"camera {number}: there is none, or another program uses it")
        count = 0
        while not stop.is_set():
            found, picture = camera.read()
            if not found:
                raise OSError(f"camera {number}: it gives no more pictures")
            yield VideoFrame(count, clock(), np.ascontiguousarray(picture[..., ::-1]))  # blue, green, red
            count += 1
    finally:
        camera.release()
