"""The page that shows a face while it moves: its HTML, and the server at an address of this computer."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from biomechau.analysis.face_forces import FaceModel
from biomechau.analysis.live_forces import LiveResult
from biomechau.reports._face_scene import FaceScene
from biomechau.reports._html_page import assembled, colour_data, read_part, read_player, scene_data
from biomechau.rig.muscles import split_identifier

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response

MISSING_PAGE = 'the live page needs websockets and matplotlib: pip install "biomechau[live]", or give --no-page'
# The page may connect to where it came from.
_POLICY = "; connect-src 'self' ws:"
_SOCKET = "/live"
_CALIBRATE = "neutral"
_LONGEST_MESSAGE = 256  # from the page [bytes]
# A browser that has not taken this much [bytes] misses frames until it has.
_BEHIND = 1 << 20
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_DIGITS = 4


def live_html(model: FaceModel, source: str, delay: float) -> str:
    """The page.

    Args:
        model: the face.
        source: what is shown, in words.
        delay: of the forces [s].

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        colours = colour_data()
    except ImportError as error:
        raise ImportError(MISSING_PAGE) from error
    scene = FaceScene.of(model)
    rows: dict[str, dict[str, int]] = {}
    for column, identifier in enumerate(model.identifiers):
        name, side = split_identifier(identifier)
        rows.setdefault(name, {})[side] = column
    fields = scene.fields.norm(dim=-1) if scene.fields.ndim == 3 else scene.fields
    data = {
        **colours,
        "scene": scene_data(scene),
        "shapes": len(scene.blendshapes),
        "identifiers": len(model.identifiers),
        "muscles": list(rows.items()),
        "force_unit": model.force_unit,
        "vertex_force_unit": model.vertex_force_unit,
        # The top of the scale is the full force of a usual muscle; the jaw's is four times that.
        "peak": float(fields.amax(1).median()),
        "delay": delay,
    }
    script = read_part("face.js") + read_part("report.js") + read_part("live.js")
    return assembled("Live: muscle forces", [source], read_player("live.html"), [], data, script, _POLICY)


class LivePage:
    """Serves the page, and sends it every frame over a WebSocket.

    It answers only to its own name and to its own page: another page in the same browser gets nothing.

    Args:
        html: of the page, see :func:`live_html`.
        calibrate: called when the page asks for the neutral face; returns what to tell.
    """

    def __init__(self, html: str, calibrate: Callable[[], str]) -> None:
        self._html = html.encode("utf-8", "backslashreplace")
        self._calibrate = calibrate
        self._server: Server | None = None
        self._hosts: tuple[str, ...] = ()

    async def open(self, host: str, port: int) -> str:
        """Start to serve; return the address of the page.

        Args:
            host: address of this computer.
            port: 0 for any that is free.

        Raises:
            ImportError: websockets is not installed.
            OSError: the port is in use, or there is no such address; the message names both.
        """
        try:
            from websockets.asyncio.server import serve
        except ImportError as error:
            raise ImportError(MISSING_PAGE) from error
        try:
            listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            used = "; choose another with --page-port" if error.errno == errno.EADDRINUSE else ""
            raise OSError(f"cannot serve the page at {host}, port {port}: {error.strerror}{used}") from error
        port = listening.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        # Any name, where it is asked for from other computers.
        self._hosts = tuple(f"{each}:{port}" for each in _LOOPBACK) if name in _LOOPBACK else ()
        self._server = await serve(
            self._talk,
            sock=listening,
            process_request=self._answer,
            max_size=_LONGEST_MESSAGE,
            compression=None,
            server_header=None,
            logger=logging.Logger("live page", logging.CRITICAL),  # of strangers that knock, none is worth a word
        )
        return f"http://{name}:{port}/"

    def send(self, result: LiveResult) -> None:
        """Show a frame."""
        self._broadcast(
            {
                "time": round(result.timestamp, _DIGITS),
                "coefficients": _rounded(result.coefficients),
                "forces": _rounded(result.forces),
            }
        )

    def tell(self, note: str) -> None:
        """Show a line of text."""
        self._broadcast({"note": note})

    async def close(self) -> None:
        """Stop to serve."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _broadcast(self, message: dict[str, Any]) -> None:
        if self._server is None or not self._server.connections:
            return
        from websockets.asyncio.server import broadcast

        near = [each for each in self._server.connections if each.transport.get_write_buffer_size() < _BEHIND]
        broadcast(near, json.dumps(message, allow_nan=False))

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Before a connection becomes a WebSocket: the page itself, or why not."""
        hosts = request.headers.get_all("Host")
        if len(hosts) != 1 or (self._hosts and hosts[0] not in self._hosts):
            return connection.respond(HTTPStatus.FORBIDDEN, "another name than that of this page\n")
        if request.path == _SOCKET:
            if request.headers.get_all("Origin") != [f"http://{hosts[0]}"]:
                return connection.respond(HTTPStatus.FORBIDDEN, "from another page\n")
            return None
        if request.path != "/":
            return connection.respond(HTTPStatus.NOT_FOUND, "there is only /\n")
        response = connection.respond(HTTPStatus.OK, "")
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(self._html))),
            ("Cache-Control", "no-store"),
        ):
            if name in response.headers:
                del response.headers[name]
            response.headers[name] = value
        response.body = self._html
        return response

    async def _talk(self, connection: ServerConnection) -> None:
        async for message in connection:
            if message == _CALIBRATE:
                self.tell(self._calibrate())
            await asyncio.sleep(0)


def _rounded(values: Any) -> list[float] | None:
    return None if values is None else [round(value, _DIGITS) for value in values.ravel().tolist()]
