"""The loop of ``biomechau live``: frames come from a thread, forces go to the outputs and to the page."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from biomechau.analysis.live_forces import LiveForces, LiveResult
from biomechau.corpus.live_frames import LiveFrame
from biomechau.reports.live_outputs import LiveOutput
from biomechau.reports.live_page import LivePage

# Frames that wait for this computer; more are not kept, since their forces would be old [frames].
_MOST_WAITING = 30
# How often it is asked whether the face is lost [s].
_TICK = 0.05
# Latencies that are kept, of the last ten minutes at 60 frames per second.
_KEPT = 36_000


class LiveLoop:
    """Runs until the frames end, or until it is stopped.

    Args:
        live: computes the forces.
        frames: of the face; iterated in a thread of its own.
        stop: set to end the frames.
        outputs: take the results.
        speed: play the frames at this multiple of their own times; None if they come by themselves.
        say: called with what the user should know, in words.

    Attributes:
        page: shows the results, if there is one.
        unkept: frames that came faster than this computer could take.
    """

    def __init__(
        self,
        live: LiveForces,
        frames: Iterator[LiveFrame],
        stop: threading.Event,
        outputs: Sequence[LiveOutput],
        speed: float | None,
        say: Callable[[str], None],
    ) -> None:
        self.page: LivePage | None = None
        self.unkept = 0
        self._live, self._frames, self._stop, self._outputs = live, frames, stop, outputs
        self._speed, self._say = speed, say
        self._queue: deque[LiveFrame] = deque()
        self._latencies: deque[float] = deque(maxlen=_KEPT)
        self._began: float | None = None
        # Of an output, after which nothing is written; and of the source, after what it gave before.
        self._error: Exception | None = None
        self._source_error: Exception | None = None

    def latency(self, share: float) -> float | None:
        """Quantile of the time from a frame to its results [s]; None if frames do not come by themselves."""
        return float(np.quantile(self._latencies, share)) if self._latencies else None

    def calibrate(self) -> str:
        """Take the last second for the neutral face; return what to tell."""
        return "the last second is the neutral face" if self._live.calibrate() else "no face in the last second"

    def halt(self) -> None:
        """End soon, from any thread or signal handler."""
        self._stop.set()

    async def run(self, host: str, port: int, opened: Callable[[str], None]) -> None:
        """Run.

        Args:
            host, port: of the page, if there is one.
            opened: called with its address.

        Raises:
            OSError: an output cannot be written, or the page cannot be served.
            ImportError, OSError, ValueError: as the iteration of the frames.
        """
        if self.page is not None:
            opened(await self.page.open(host, port))
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        thread = threading.Thread(target=self._produce, args=(loop, ended), daemon=True)
        try:
            with _interrupts(self.halt), _keys(loop, self._key):
                thread.start()
                while not ended.is_set():
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(ended.wait(), _TICK)
                    if self._error is None and self._speed is None and not self._queue:
                        self._deliver(self._live.wait(time.monotonic()), time.monotonic())
                    if self._error is not None:
                        self._stop.set()
            if self._error is None:
                self._deliver(self._live.finish(), time.monotonic())
        finally:
            self._stop.set()
            if self.page is not None:
                await self.page.close()
        if (error := self._error or self._source_error) is not None:
            raise error

    def _produce(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        """In a thread: hand over the frames at their times."""
        start = time.monotonic()
        try:
            for frame in self._frames:
                if self._stop.is_set():
                    break
                if self._speed is None:
                    self._queue.append(frame)
                    loop.call_soon_threadsafe(self._take)
                    continue
                if self._stop.wait(max(0.0, start + frame.time / self._speed - time.monotonic())):
                    break
                taken = threading.Event()
                loop.call_soon_threadsafe(self._accept, frame, taken)
                while not taken.wait(_TICK) and not self._stop.is_set():
                    pass
        except Exception as error:  # raised again where the loop ends
            self._source_error = error
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended.set)

    def _take(self) -> None:
        while len(self._queue) > _MOST_WAITING:
            self._queue.popleft()
            if not self.unkept:
                self._say("frames are left out: this computer is too slow for them")
            self.unkept += 1
        if self._queue:
            self._accept(self._queue.popleft(), None)

    def _accept(self, frame: LiveFrame, taken: threading.Event | None) -> None:
        try:
            if self._error is None:
                if self._began is None:
                    self._began = frame.arrival
                self._deliver(self._live.add(frame), frame.arrival)
                if self._speed is None:
                    self._latencies.append(time.monotonic() - frame.arrival)
        except Exception as error:
            self._error = error
            self._stop.set()
        finally:
            if taken is not None:
                taken.set()

    def _deliver(self, results: Sequence[LiveResult], now: float) -> None:
        for result in results:
            age = now - (self._began or 0.0) - result.timestamp
            for output in self._outputs:
                output.add(result, age)
            if self.page is not None:
                self.page.send(result)

    def _key(self, key: str) -> None:
        if key == "n":
            self._say(self.calibrate())
        elif key == "q":
            self.halt()


@contextlib.contextmanager
def _interrupts(halt: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C ends in order; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(*_: object) -> None:
        halt()
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _keys(loop: asyncio.AbstractEventLoop, press: Callable[[str], None]) -> Iterator[None]:
    """Lines from the terminal, where there is one: their first letters are keys."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    done = threading.Event()

    def read() -> None:
        # Not sys.stdin, whose lock would be held while Python shuts down.
        while not done.is_set() and (line := os.read(0, 64)):
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(press, line[:1].decode("ascii", "replace").lower())

    threading.Thread(target=read, daemon=True).start()
    try:
        yield
    finally:
        done.set()
