"""``biomechau live``: what it records, sends and shows, and how it fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from browser import opened_at
from commands.small import assert_error, read_csv
from corpus.live_link_packets import packet
from corpus.test_live_frames import FakeCamera
from corpus.videos import write_video

from biomechau.analysis.live_forces import LiveResult
from biomechau.cli import main
from biomechau.corpus import FaceSequence, tracking
from biomechau.corpus.channel_names import MEDIAPIPE_SHAPES
from biomechau.corpus.face_tracks import Face
from biomechau.corpus.force_table import read_forces
from biomechau.corpus.live_link import CHANNELS
from biomechau.reports.live_outputs import MISSING_LSL, MISSING_OSC, LiveRecord
from biomechau.reports.live_page import MISSING_PAGE

LEFT = "zygomaticus_major_left"
QUICK = ["--no-page", "--speed", "1000"]


@pytest.fixture(scope="module")
def capture(clip: FaceSequence, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three times the clip at 25 fps, without a face for half a second."""
    path = tmp_path_factory.mktemp("capture") / "clip.csv"
    rows = [
        ["frame", "timestamp", *clip.channels],
        *([n, n / 25, *([""] * 8 if 20 <= n < 32 else row)] for n, row in enumerate(3 * clip.coefficients.tolist())),
    ]
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_recording_is_played_and_recorded(
    rig_file: str, capture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play = ["live", "--source", capture, "--rig", rig_file, *QUICK]
    assert main([*play, "--fps", "25", "--record", str(tmp_path / "live")]) == 0
    out, err = capsys.readouterr()
    assert "forces 120 ms after the face" in out
    assert "108 frames with a face, 12 without, face lost 1 times" in out
    assert "no moving shapes" in err
    table = tmp_path / "live" / "forces.csv"
    assert main(["forces", capture, "--rig", rig_file, "--out", str(tmp_path / "whole")]) == 0
    live, whole = (read_csv(folder / "forces.csv") for folder in (tmp_path / "live", tmp_path / "whole"))
    assert list(live[0]) == [name for name in whole[0] if name != "quality"]
    assert len(live) == len(whole) == 120
    for ours, theirs in zip(live, whole, strict=True):
        assert {name: ours[name] for name in ("frame", "timestamp")} == {
            name: theirs[name] for name in ("frame", "timestamp")
        }
        assert (ours[LEFT] == "") == (theirs[LEFT] == "") == (20 <= int(ours["frame"]) < 32)
        assert ours["recorded_frame"] == (theirs["recorded_frame"] if ours[LEFT] else "")
    assert max(float(row[LEFT] or 0) for row in live) == pytest.approx(0.9, abs=0.1)
    assert read_forces(table, list(live[0])[3:]).fps == 25
    assert main(["animate", str(table), "--rig", rig_file, "--out", str(tmp_path / "face.csv")]) == 0
    given = [str(tmp_path / "live"), str(tmp_path / "whole" / "forces.csv"), "--out", str(tmp_path / "compared")]
    assert main(["compare", *given]) == 0
    before = table.read_bytes()
    capsys.readouterr()
    assert main([*play, "--record", str(table)]) == 2
    assert "forces.csv exists, and a recording replaces nothing: choose another name" in capsys.readouterr().err
    assert table.read_bytes() == before


def test_what_was_recorded_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "forces.csv"
    record = LiveRecord(path, ["one", "=two"], vector=False)
    record.add(LiveResult(0, 0.0, 7, np.zeros(3, np.float32), np.array([0.5, 0.25], np.float32)), 0.1)
    record.add(LiveResult(1, 1 / 60, None, None, None), 0.1)
    text = "frame,timestamp,recorded_frame,one,'=two\n0,0.000000,7,0.5,0.25\n1,0.016667,,,\n"
    assert path.read_text(encoding="utf-8") == text
    record.close()
    vector = LiveRecord(tmp_path / "v.csv", ["m"], vector=True)
    vector.add(LiveResult(0, 0.0, None, np.zeros(3, np.float32), np.array([[3.0, 0.0, 4.0]], np.float32)), 0.1)
    vector.close()
    assert (tmp_path / "v.csv").read_text(encoding="utf-8").splitlines() == [
        "frame,timestamp,recorded_frame,m_x,m_y,m_z,m",
        "0,0.000000,,3,0,4,5",
    ]
    LiveRecord(tmp_path / "none.csv", ["m"], vector=False).close()
    assert not (tmp_path / "none.csv").exists()


def test_osc(rig_file: str, capture: str) -> None:
    bundles = pytest.importorskip("pythonosc.osc_bundle")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        target = f"127.0.0.1:{receiver.getsockname()[1]}"
        play = ["live", "--source", capture, "--rig", rig_file, "--no-page", "--speed", "4", "--osc", target]
        thread = threading.Thread(target=main, args=([*play, "--fps", "25"],))
        thread.start()
        received = [{m.address: m.params for m in bundles.OscBundle(receiver.recv(65536))} for _ in range(120)]
        thread.join()
    assert [each["/biomechau/time"][0] for each in received] == pytest.approx([n / 25 for n in range(120)])
    assert [each["/biomechau/face"][0] for each in received] == [0 if 20 <= n < 32 else 1 for n in range(120)]
    assert all((f"/biomechau/force/{LEFT}" in each) == bool(each["/biomechau/face"][0]) for each in received)
    smile = [each.get(f"/biomechau/force/{LEFT}", [0.0])[0] for each in received]
    assert max(smile) == pytest.approx(0.9, abs=0.1)


def test_lsl(rig_file: str, capture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in of pylsl."""
    made: dict[str, Any] = {"samples": [], "labels": []}

    class Description:
        def append_child(self, name: str) -> Description:
            return self

        def append_child_value(self, name: str, value: str) -> None:
            made["labels"].append(value)

    def info(*about: object) -> SimpleNamespace:
        made["about"] = about
        return SimpleNamespace(desc=Description)

    outlet = SimpleNamespace(push_sample=lambda values, time: made["samples"].append((values, time)))
    fake = SimpleNamespace(
        StreamInfo=info, StreamOutlet=lambda about: outlet, local_clock=lambda: 100.0, cf_float32="float32"
    )
    monkeypatch.setitem(sys.modules, "pylsl", fake)
    assert main(["live", "--source", capture, "--rig", rig_file, *QUICK, "--fps", "25", "--lsl"]) == 0
    names = made["labels"]
    assert made["about"] == ("biomechau", "MuscleForces", len(names), 25.0, "float32", "biomechau-live")
    values = np.array([values for values, _ in made["samples"]])
    assert np.isnan(values).all(1).tolist() == [20 <= n < 32 for n in range(120)]
    assert np.nanmax(values[:, names.index(LEFT)]) == pytest.approx(0.9, abs=0.1)
    assert made["samples"][0][1] == pytest.approx(100 - 0.12)


@pytest.fixture
def smiling_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracker that sees a smile in each picture but the third, in place of MediaPipe."""
    scores = [0.9 if name.startswith("mouthSmile") else 0.01 for name in ("_neutral", *MEDIAPIPE_SHAPES)]
    calls: list[int] = []

    def track(picture: np.ndarray, milliseconds: int) -> list[Face]:
        calls.append(milliseconds)
        return [] if len(calls) == 3 else [Face((0.0, 0.0, 0.5, 0.5), scores)]

    monkeypatch.setattr(tracking, "face_landmarker", lambda model, most_faces: contextlib.nullcontext(track))


@pytest.mark.usefixtures("smiling_tracker")
def test_a_video(rig_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write_video(tmp_path / "face.mp4", [n / 25 for n in range(20)])
    record = tmp_path / "forces.csv"
    arguments = ["live", "--source", str(video), "--rig", rig_file, *QUICK, "--fps", "25", "--record", str(record)]
    assert main(arguments) == 0
    assert "19 frames with a face, 1 without" in capsys.readouterr().out
    rows = read_csv(record)
    assert [row["recorded_frame"] for row in rows] == [str(n) if n != 2 else "" for n in range(20)]
    assert float(rows[-1][LEFT]) == pytest.approx(0.9, abs=0.1)
    assert main([*arguments[:-1], str(tmp_path / "b.csv"), "--repeat"]) == 2
    assert "do not concern a video" in capsys.readouterr().err


@pytest.mark.usefixtures("smiling_tracker")
def test_a_camera(rig_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., None]) -> None:
    """Two pictures are recorded before it stops; another camera is not there."""
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(VideoCapture=FakeCamera, setLogLevel=lambda level: level))
    record = tmp_path / "forces.csv"
    play = ("live", "--rig", rig_file, "--no-page", "--record", record)
    fails(*play, "--source", "camera:3", words="camera 3: there is none, or another program uses it")
    assert not record.exists()
    fails(*play, "--source", "camera", "--delay", "0", words="camera 0: it gives no more pictures")
    assert len(read_csv(record)) >= 1


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """The command in a process of its own, once its page is there, and the ports that it named."""
    command = [sys.executable, "-I", "-m", "biomechau", "live", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            ports: dict[str, int] = {}
            for line in process.stdout:
                found = re.search(r"(Live Link Face|page) at \D*[\d.]+(?: port |:)(\d+)", line)
                if found:
                    ports[found[1]] = int(found[2])
                if "page" in ports:
                    break
            yield process, ports
        finally:
            process.kill()


async def talk(port: int) -> list[str]:
    """What the page is told, until its request for the neutral face is answered with it."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    address = f"ws://127.0.0.1:{port}/live"
    for origin in ("http://evil.example", f"http://127.0.0.1:{port + 1}", None):
        with pytest.raises(InvalidStatus):
            await connect(address, origin=origin)  # pyright: ignore[reportArgumentType]
    async with connect(address, origin=f"http://127.0.0.1:{port}") as connection:  # pyright: ignore[reportArgumentType]
        messages: list[str] = []
        await connection.send("something else")
        while not any("the last second is the neutral face" in message for message in messages):
            messages.append(str(await asyncio.wait_for(connection.recv(), 30)))
            if len(messages) % 30 == 0:
                await connection.send("neutral")
    return messages


def fetched(port: int, path: str = "/", **headers: str) -> tuple[int, str, str]:
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", headers=headers), timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, "", ""


def test_packets_become_a_page_and_a_recording_that_survives(rig_file: str, tmp_path: Path) -> None:
    """Over the loopback: page, WebSocket, strangers, broken packets, Ctrl-C."""
    pytest.importorskip("websockets")
    pytest.importorskip("matplotlib")
    table = tmp_path / "forces.csv"
    smile = np.full(52, 0.001)
    smile[[CHANNELS.index("mouthSmileLeft"), CHANNELS.index("mouthSmileRight")]] = 0.8, 0.4
    arguments = ["--rig", rig_file, "--port", "0", "--page-port", "0", "--record", str(table)]
    with running(*arguments) as (process, ports), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        page = ports["page"]

        enough = threading.Event()

        def send() -> None:
            number = 1000
            while not enough.wait(1 / 60):
                for data in (packet(smile, number), packet(smile, number, version=1), b"hello"):
                    sender.sendto(data, ("127.0.0.1", ports["Live Link Face"]))
                number += 1

        status, kind, html = fetched(page)
        assert (status, kind) == (200, "text/html; charset=utf-8")
        assert "connect-src 'self' ws:" in html
        assert fetched(page, "/nothing")[0] == 404
        assert fetched(page, Host="evil.example")[0] == 403
        thread = threading.Thread(target=send)
        thread.start()
        try:
            messages = asyncio.run(talk(page))
        finally:
            enough.set()
            thread.join()
        assert any('"coefficients": [' in message for message in messages)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(r"\d\d frames with a face", out)
    assert "from frame to forces: median" in out
    assert "Traceback" not in err
    assert 1 <= err.count("of version 1, expected 6") <= 3
    assert "packets of this computer only; --host 0.0.0.0" in err
    assert "receiving iPhone, 60 frames per second" in err
    rows = [row for row in read_csv(table) if row[LEFT]]
    numbers = [int(row["recorded_frame"]) for row in rows if row["recorded_frame"]]
    assert numbers == sorted(set(numbers))
    assert numbers[0] >= 1000
    assert len(numbers) > 25
    forces = read_forces(table, list(rows[0])[3:]).forces
    assert forces[:, list(rows[0]).index(LEFT) - 3].max() == pytest.approx(0.8, abs=0.1)


@pytest.mark.slow
def test_the_page_in_a_browser(rig_file: str, capture: str) -> None:
    pytest.importorskip("websockets")
    with (
        running("--rig", rig_file, "--source", capture, "--repeat", "--page-port", "0") as (_, ports),
        opened_at(f"http://127.0.0.1:{ports['page']}/") as (page, console, _),
    ):
        page.wait_for_selector("#live[data-ready]")
        page.wait_for_function("() => document.getElementById('frame-note').textContent.includes('after the face')")
        assert "zygomaticus major" in page.inner_text("#charts")
        page.wait_for_function(
            "() => [...document.querySelectorAll('output')].some((o) => parseFloat(o.textContent) > 0.1)"
        )
        page.keyboard.press("n")
        page.wait_for_function("() => document.getElementById('status').textContent.includes('last second')")
        assert console == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "nowhere.csv"], ["no such file: nowhere.csv", "livelink"]),
        (["--source", "nowhere.mp4"], ["no such file: nowhere.mp4"]),
        (["--delay", "0.3"], ["--delay must lie in [0, 0.2] s, got 0.3"]),
        (["--fps", "5"], ["--fps must lie in [10, 240], got 5"]),
        (["--speed", "2"], ["--speed and --repeat concern recordings only, not livelink"]),
        (["--source", "camera", "--repeat"], ["--speed and --repeat concern recordings only, not camera"]),
        (["--source", "camera", "--port", "9"], ["--host and --port concern --source livelink only, not camera"]),
        (["--source", "x.csv", "--speed", "0"], ["--speed must lie in [0.01, 1000], got 0"]),
        (["--count-rows"], ["options of recordings"]),
        (["--model", "x.task"], ["options of recordings"]),
        (["--port", "70000"], ["--port must lie in [0, 65535], got 70000"]),
        (["--page-port", "-1"], ["--page-port must lie in [0, 65535]"]),
        (["--neutral", "5"], ["--neutral takes a percentile", "press N"]),
        (["--osc", "9000"], ["--osc must be HOST:PORT", "'9000'"]),
        (["--osc", "host:99999"], ["--osc must be HOST:PORT"]),
        (["--osc", "127.0.0.1:9", "--force", "vector"], ["--osc sends one number per muscle"]),
    ],
)
def test_errors(capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]) -> None:
    assert_error(capsys, ["live", *arguments], *words)


def test_ports_in_use_leave_no_recording(
    rig_file: str, capture: str, tmp_path: Path, fails: Callable[..., None]
) -> None:
    record = tmp_path / "session" / "forces.csv"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.create_server(("127.0.0.1", 0)) as tcp:
        udp.bind(("127.0.0.1", 0))
        port, page = udp.getsockname()[1], tcp.getsockname()[1]
        words = (f"cannot receive packets at 127.0.0.1, port {port}", "Address already in use")
        fails("live", "--rig", rig_file, "--port", port, "--no-page", "--record", record, words=words)
        pytest.importorskip("websockets")
        words = (f"cannot serve the page at 127.0.0.1, port {page}", "Address already in use", "--page-port")
        play = ("live", "--rig", rig_file, "--source", capture, "--record", record)
        fails(*play, "--page-port", page, words=words)
    assert not record.parent.exists()


@pytest.mark.parametrize(
    ("missing", "arguments", "words"),
    [
        ("pythonosc.udp_client", ["--osc", "127.0.0.1:9", "--no-page"], MISSING_OSC),
        ("pylsl", ["--lsl", "--no-page"], MISSING_LSL),
        ("websockets.asyncio.server", [], MISSING_PAGE),
        ("mediapipe", ["--source", "camera", "--no-page"], 'pip install "biomechau[track]"'),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    rig_file: str,
    capture: str,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., None],
    missing: str,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    source = [] if "--source" in arguments else ["--source", capture]
    fails("live", "--rig", rig_file, *source, *arguments, words=words)


def test_an_output_that_fails_ends_it(
    rig_file: str, capture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., None]
) -> None:
    def full(self: LiveRecord, result: LiveResult, age: float) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "f.csv"))

    monkeypatch.setattr(LiveRecord, "add", full)
    play = ("live", "--source", capture, "--rig", rig_file, *QUICK, "--record", tmp_path / "f.csv")
    fails(*play, words="f.csv: No space left on device")
