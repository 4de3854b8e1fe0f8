"""Reads the pages that commands write."""

from __future__ import annotations

import base64
import json
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {"f4": "<f4", "f8": "<f8", "i1": "i1", "i2": "<i2", "u1": "u1", "u4": "<u4"}


class Page(HTMLParser):
    """What a page holds: its data, its words, and attributes that could reach for a network."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.reaching: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.data: Any = None
        self._within: list[tuple[str, str | None]] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within.append((tag, dict(attrs).get("id")))
        self.reaching += [pair for pair in attrs if pair[0] in ("src", "href", "srcset", "action", "data", "poster")]

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag, id = self._within[-1] if self._within else ("", None)
        if id == "data":
            self.data = json.loads(data)
        elif tag not in ("script", "style") and data.strip():
            self.text.append(data.strip())

    def array(self, sequence: int, name: str) -> np.ndarray:
        packed = self.data["sequences"][sequence][name]
        return np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), _TYPES[packed["type"]])
