"""Opens pages in a headless Chromium, where there is one with its driver."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


def opened(path: Path) -> AbstractContextManager[tuple[Any, list[str], list[str]]]:
    """:func:`opened_at` of a file."""
    return opened_at(path.as_uri())


@contextmanager
def opened_at(address: str) -> Iterator[tuple[Any, list[str], list[str]]]:
    """A page, what its console said so far, and which addresses it asked for.

    The test is skipped without Chromium (``BIOMECHAU_CHROMIUM``, or on the path) or without playwright.
    """
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = (os.environ.get("BIOMECHAU_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if name and (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium (set BIOMECHAU_CHROMIUM)")
    console: list[str] = []
    requests: list[str] = []
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.on("console", lambda message: console.append(message.text))
            page.on("pageerror", lambda error: console.append(str(error)))
            page.on("request", lambda request: requests.append(request.url))
            page.goto(address)
            yield page, console, requests
        finally:
            browser.close()
