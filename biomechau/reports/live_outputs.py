"""Where forces go while a face moves: a table, OSC messages, a stream of the Lab Streaming Layer."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from biomechau.analysis.live_forces import LiveResult
from biomechau.csv_output import plain_cell

MISSING_OSC = 'OSC needs python-osc: pip install "biomechau[live]"'
MISSING_LSL = 'the Lab Streaming Layer needs pylsl: pip install "biomechau[lsl]"'
_AXES = "xyz"


class LiveOutput(Protocol):
    """Takes one frame after the other."""

    def add(self, result: LiveResult, age: float) -> None:
        """Take a frame that was recorded ``age`` seconds ago.

        Raises:
            OSError: it cannot be written.
        """
        ...

    def close(self) -> None:
        """No frame follows."""
        ...


class LiveRecord:
    """``forces.csv``, written row by row: what has been added is in the file, whatever happens to the program.

    Without a row there is no file in the end, nor a new folder for it.

    Args:
        path: of the file, which must not exist.
        identifiers: M muscles.
        vector: forces are vectors.

    Raises:
        FileExistsError: there is such a file.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, identifiers: Sequence[str], vector: bool) -> None:
        self._new_folder = not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = path.open("x", newline="", encoding="utf-8")
        except FileExistsError as error:
            raise FileExistsError(f"{path} exists, and a recording replaces nothing: choose another name") from error
        self._path, self._empty = path, True
        columns = [f"{name}{axis}" for name in identifiers for axis in (*(f"_{a}" for a in _AXES), "")]
        self._columns = columns if vector else list(identifiers)
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([plain_cell(each) for each in ("frame", "timestamp", "recorded_frame", *self._columns)])
        self._file.flush()

    def add(self, result: LiveResult, age: float) -> None:
        self._empty = False
        cells = [""] * len(self._columns)
        if result.forces is not None:
            rows = result.forces.tolist()
            values = [v for row in rows for v in (*row, math.hypot(*row))] if result.forces.ndim == 2 else rows
            cells = [f"{value:.6g}" for value in values]
        number = "" if result.recorded_frame is None else result.recorded_frame
        self._writer.writerow((result.frame, f"{result.timestamp:.6f}", number, *cells))
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        if self._empty:
            self._path.unlink(missing_ok=True)
            if self._new_folder:
                with suppress(OSError):  # others have put something there
                    self._path.parent.rmdir()


class OscOutput:
    """OSC messages, a bundle per frame: ``/biomechau/time`` [s], ``/biomechau/face`` (1, or 0 without a face) and, with
    a face, ``/biomechau/force/NAME`` for each muscle.

    Args:
        host, port: where to send them.
        identifiers: M muscles.

    Raises:
        ImportError: python-osc is not installed.
        OSError: there is no such host.
    """

    def __init__(self, host: str, port: int, identifiers: Sequence[str]) -> None:
        try:
            from pythonosc.udp_client import UDPClient
        except ImportError as error:
            raise ImportError(MISSING_OSC) from error
        try:
            self._client = UDPClient(host, port)
        except OSError as error:
            raise OSError(f"cannot send OSC to {host}, port {port}: {error.strerror}") from error
        self._identifiers = tuple(identifiers)

    def add(self, result: LiveResult, age: float) -> None:
        from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder

        bundle = OscBundleBuilder(IMMEDIATELY)  # pyright: ignore[reportArgumentType]
        bundle.add_content(_message("time", result.timestamp, "d"))
        bundle.add_content(_message("face", int(result.forces is not None), "i"))
        if result.forces is not None:
            for name, force in zip(self._identifiers, result.forces.tolist(), strict=True):
                bundle.add_content(_message(f"force/{name}", force, "f"))
        self._client.send(bundle.build())

    def close(self) -> None:
        self._client._sock.close()


def _message(name: str, value: float | list[float], kind: str) -> Any:
    from pythonosc.osc_message_builder import OscMessageBuilder

    message = OscMessageBuilder(f"/biomechau/{name}")
    for each in value if isinstance(value, list) else [value]:
        message.add_arg(each, kind)
    return message.build()


class LslOutput:
    """A stream ``biomechau`` of the type ``MuscleForces``, a channel per muscle; NaN without a face.

    Args:
        identifiers: M muscles.
        fps: frames per second.

    Raises:
        ImportError: pylsl, or its library, is not installed.
    """

    def __init__(self, identifiers: Sequence[str], fps: float) -> None:
        try:
            import pylsl  # pyright: ignore[reportMissingImports] - an extra that needs its own library
        except (ImportError, RuntimeError) as error:  # without its library
            raise ImportError(MISSING_LSL) from error
        info = pylsl.StreamInfo("biomechau", "MuscleForces", len(identifiers), fps, pylsl.cf_float32, "biomechau-live")
        channels = info.desc().append_child("channels")
        for name in identifiers:
            channels.append_child("channel").append_child_value("label", name)
        self._clock = pylsl.local_clock
        self._outlet: Any = pylsl.StreamOutlet(info)
        self._count = len(identifiers)

    def add(self, result: LiveResult, age: float) -> None:
        values = [math.nan] * self._count
        if result.forces is not None:
            rows = result.forces.tolist()
            values = [math.hypot(*row) for row in rows] if result.forces.ndim == 2 else rows
        self._outlet.push_sample(values, self._clock() - age)

    def close(self) -> None:
        self._outlet = None
