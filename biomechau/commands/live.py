"""``biomechau live``: muscle forces while a face moves."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, arg

from biomechau.commands._reading_options import ReadingOptions
from biomechau.commands.command import Command, Switch, load_rig
from biomechau.commands.terminal import print_lines, print_message
from biomechau.physics import InverseOptions, PhysicsConfig
from biomechau.physics.physics_config import DELAY, LIVE, LONGEST_DELAY

if TYPE_CHECKING:
    from biomechau.analysis.live_forces import LiveForces
    from biomechau.commands._live_loop import LiveLoop
    from biomechau.corpus.live_frames import LiveFrame
    from biomechau.reports.live_outputs import LiveOutput
    from biomechau.rig import FaceRig

_PORT, _PAGE_PORT = 11111, 8311
_LOOPBACK = "127.0.0.1"
_HIGHEST_PORT = 65535
# Frames per second: below, all gaps would be long ones; above, a frame has no time.
_SLOWEST, _FASTEST = 10.0, 240.0


@dataclass(frozen=True)
class Live(Command):
    """Muscle forces while a face moves: from Live Link Face, a camera or a recording, with a page that shows them.

    The forces of a frame come --delay seconds after it, and are then final. N, in the page or with Return in the
    terminal, takes the last second for the neutral face. Ctrl-C ends it.
    """

    source: Annotated[
        str,
        arg(
            metavar="SOURCE",
            help='"livelink" for the packets of the app Live Link Face, "camera" or "camera:1" for a camera through '
            "MediaPipe, or a recording or video that is played.",
        ),
    ] = "livelink"
    rig: Annotated[str, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')] = "builtin"
    muscles: Annotated[Path | None, arg(metavar="CSV", help="Muscle table to use instead of the built-in one.")] = None
    delay: Annotated[
        float,
        arg(help=f"Delay of the forces, 0 to {LONGEST_DELAY}; the longer, the nearer to forces of a recording [s]."),
    ] = DELAY
    host: Annotated[
        str | None,
        arg(
            metavar="ADDRESS",
            help=f"Address of this computer at which packets are received: 0.0.0.0 for those of a phone; {_LOOPBACK} "
            "if not given.",
        ),
    ] = None
    port: Annotated[int | None, arg(metavar="PORT", help=f"Port of the packets; {_PORT} if not given.")] = None
    no_page: Annotated[Switch, arg(help="Show no page.")] = False
    page_host: Annotated[str, arg(metavar="ADDRESS", help="Address of this computer at which the page is.")] = _LOOPBACK
    page_port: Annotated[int, arg(metavar="PORT", help="Port of the page; 0 for any that is free.")] = _PAGE_PORT
    record: Annotated[
        Path | None, arg(metavar="FILE", help="Table of forces to write (.csv), or folder for forces.csv.")
    ] = None
    osc: Annotated[str | None, arg(metavar="HOST:PORT", help="Send OSC messages there.")] = None
    lsl: Annotated[Switch, arg(help="Offer a stream of the Lab Streaming Layer (extra lsl).")] = False
    speed: Annotated[float | None, arg(metavar="FACTOR", help="Play a recording this many times as fast.")] = None
    repeat: Annotated[Switch, arg(help="Play a recording again and again.")] = False
    reading: OmitArgPrefixes[ReadingOptions] = field(default_factory=ReadingOptions)
    physics: OmitArgPrefixes[PhysicsConfig] = field(default_factory=lambda: PhysicsConfig(fps=60.0))
    inverse: OmitArgPrefixes[InverseOptions] = field(default_factory=lambda: LIVE)

    def run(self) -> None:
        """Receive, invert, show."""
        self._check()
        target = None if self.osc is None else _target(self.osc)
        import asyncio

        from biomechau.analysis.live_forces import LiveForces
        from biomechau.commands._live_loop import LiveLoop
        from biomechau.commands._metric_cache import learned_metric
        from biomechau.rig import Muscles
        from biomechau.threads import one_thread

        rig = load_rig(self.rig)
        muscles = None if self.muscles is None else Muscles.load(self.muscles)
        stop = threading.Event()
        with ExitStack() as stack:
            stack.enter_context(one_thread())  # matrices are small, and the other cores have a page to draw
            channels, frames, what = self._source(rig, stop, stack)
            learned = learned_metric(rig, muscles, self.physics, self.inverse, self.rig)
            live = LiveForces(rig, channels, self.physics, self.inverse, self.delay, muscles, learned)
            for note in live.notes:
                print_message("warning", note)
            outputs = [stack.enter_context(closing(output)) for output in self._outputs(live, target)]
            speed = None if self._by_itself else self.speed or 1.0
            loop = LiveLoop(live, frames, stop, outputs, speed, _note)
            if not self.no_page:
                from biomechau.reports.live_page import LivePage, live_html

                loop.page = LivePage(live_html(live.model, what, live.delay), loop.calibrate)
            print_lines(f"{what}; forces {1000 * live.delay:.0f} ms after the face", flush=True)
            asyncio.run(loop.run(self.page_host, self.page_port, _opened))
        _summary(live, loop)

    @property
    def _by_itself(self) -> bool:
        """Whether frames come by themselves."""
        return self.source == "livelink" or self._camera is not None

    @property
    def _camera(self) -> int | None:
        match = re.fullmatch(r"camera(?::(\d{1,3}))?", self.source, re.ASCII)
        return None if match is None else int(match[1] or 0)

    def _check(self) -> None:
        if not 0 <= self.delay <= LONGEST_DELAY:
            raise ValueError(f"--delay must lie in [0, {LONGEST_DELAY}] s, got {self.delay}")
        if not _SLOWEST <= self.physics.fps <= _FASTEST:
            raise ValueError(f"--fps must lie in [{_SLOWEST:g}, {_FASTEST:g}], got {self.physics.fps:g}")
        if self.inverse.neutral is not None:
            raise ValueError("--neutral takes a percentile of a whole recording: leave it out, and press N at rest")
        if self.source != "livelink" and (self.host, self.port) != (None, None):
            raise ValueError(f"--host and --port concern --source livelink only, not {self.source}")
        if self._by_itself and (self.speed is not None or self.repeat):
            raise ValueError(f"--speed and --repeat concern recordings only, not {self.source}")
        if self.speed is not None and not 0.01 <= self.speed <= 1000:
            raise ValueError(f"--speed must lie in [0.01, 1000], got {self.speed}")
        if self._by_itself:
            useful = ReadingOptions(model=self.reading.model if self._camera is not None else None)
            if self.reading != useful:
                raise ValueError(f"options of recordings, such as --recorded-fps, do not concern {self.source}")
        for name, port in (("--port", _PORT if self.port is None else self.port), ("--page-port", self.page_port)):
            if not 0 <= port <= _HIGHEST_PORT:
                raise ValueError(f"{name} must lie in [0, {_HIGHEST_PORT}], got {port}")
        if self.osc is not None and self.physics.force == "vector":
            raise ValueError("--osc sends one number per muscle: it needs --force fibre")

    def _source(
        self, rig: FaceRig, stop: threading.Event, stack: ExitStack
    ) -> tuple[Sequence[str], Iterator[LiveFrame], str]:
        """Channels of the frames, the frames, and what they are, in words."""
        from biomechau.corpus.channel_names import MEDIAPIPE_SHAPES
        from biomechau.corpus.live_frames import (
            camera_pictures,
            live_link_frames,
            open_live_link,
            replayed_frames,
            tracked_frames,
        )
        from biomechau.corpus.live_link import CHANNELS
        from biomechau.corpus.reading import is_recorded_video
        from biomechau.corpus.tracking import face_landmarker
        from biomechau.corpus.video import read_frames

        if self.source == "livelink":
            host, port = self.host or _LOOPBACK, _PORT if self.port is None else self.port
            receiver = stack.enter_context(open_live_link(host, port))
            if self.host is None:
                _note("packets of this computer only; --host 0.0.0.0 for those of a phone")
            where = "{} port {}".format(*receiver.getsockname()[:2])
            return CHANNELS, live_link_frames(receiver, stop, _note), f"Live Link Face at {where}"
        if (camera := self._camera) is not None:
            tracker = stack.enter_context(face_landmarker(self.reading.model, 1))
            pictures = camera_pictures(camera, stop)
            return MEDIAPIPE_SHAPES, tracked_frames(pictures, tracker, time.monotonic), f"camera {camera}"
        path = Path(self.source)
        if not path.exists():
            raise FileNotFoundError(f'no such file: {path}; a source is "livelink", "camera" or a recording')
        if is_recorded_video(path):
            if self.repeat or self.reading != ReadingOptions(self.reading.recorded_fps, model=self.reading.model):
                raise ValueError(f"{path}: --repeat, --face and other options do not concern a video that is played")
            tracker = stack.enter_context(face_landmarker(self.reading.model, 1))
            pictures = read_frames(path, self.reading.recorded_fps)
            return MEDIAPIPE_SHAPES, tracked_frames(pictures, tracker), str(path)
        sequence = self.reading.read(path, rig)
        for note in sequence.notes:
            print_message("note", note)
        return sequence.channels, replayed_frames(sequence, self.repeat), sequence.source

    def _outputs(self, live: LiveForces, target: tuple[str, int] | None) -> Iterator[LiveOutput]:
        from biomechau.reports.live_outputs import LiveRecord, LslOutput, OscOutput

        names = live.model.identifiers
        if target is not None:
            yield OscOutput(*target, names)
        if self.lsl:
            yield LslOutput(names, self.physics.fps)
        if self.record is not None:
            path = self.record if self.record.suffix.lower() == ".csv" else self.record / "forces.csv"
            yield LiveRecord(path, names, self.physics.force == "vector")


def _target(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``."""
    from biomechau.file_errors import quote

    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or not 0 < int(port) <= _HIGHEST_PORT:
        raise ValueError(f"--osc must be HOST:PORT, as in 127.0.0.1:9000, got {quote(text)}")
    return host.strip("[]"), int(port)


def _opened(address: str) -> None:
    print_lines(f"page at {address}", flush=True)


def _note(words: str) -> None:
    print_message("note", words)


def _summary(live: LiveForces, loop: LiveLoop) -> None:
    """What has arrived, and how long it took."""
    counts = live.counts
    words = [f"{counts.frames} frames with a face"]
    words += [f"{counts.faceless} without"] if counts.faceless else []
    words += [f"{counts.late} late or twice, left out"] if counts.late else []
    words += [f"{loop.unkept} too many for this computer, left out"] if loop.unkept else []
    words += [f"face lost {counts.lost} times"] if counts.lost else []
    print_lines(", ".join(words))
    middle, high = loop.latency(0.5), loop.latency(0.99)
    if middle is not None and high is not None:
        print_lines(f"from frame to forces: median {1000 * middle:.1f} ms, 99 of 100 within {1000 * high:.1f} ms")
