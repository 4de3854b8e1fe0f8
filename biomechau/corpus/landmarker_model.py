"""Finds MediaPipe's model file: given, named by an environment variable, or in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

VARIABLE = "BIOMECHAU_FACE_LANDMARKER"
FILE = "face_landmarker.task"
# Apache-2.0, 3.8 MB.
URL = f"https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/{FILE}"
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MISSING_POOCH = 'fetching the model needs pooch: pip install "biomechau[track]"'
_TIMEOUT = 60  # [s]


def find_model(model: str | Path | None = None) -> Path:
    """The model file: the given one, else that of the variable ``BIOMECHAU_FACE_LANDMARKER``, else the one that
    :func:`fetch_model` stored in the cache.

    Raises:
        FileNotFoundError: there is none; the message says how to get one.
    """
    named = model if model is not None else os.environ.get(VARIABLE) or None
    if named is not None:
        if not Path(named).is_file():
            source = "" if model is not None else f" (named by {VARIABLE})"
            raise FileNotFoundError(f"no such file: {named}{source}; {_how()}")
        return Path(named)
    try:
        cached = cached_model()
    except ImportError:
        cached = None
    if cached is None or not cached.is_file():
        raise FileNotFoundError(
            f"tracking needs MediaPipe's model {FILE}, which does not come with this package: {_how()}"
        )
    return cached


def cached_model() -> Path:
    """Where :func:`fetch_model` stores the model.

    Raises:
        ImportError: pooch is not installed.
    """
    try:
        import pooch
    except ImportError as error:
        raise ImportError(MISSING_POOCH) from error
    return Path(pooch.os_cache("biomechau")) / FILE


def fetch_model(url: str | None = None, sha256: str | None = None) -> Path:
    """Download the model into the cache, unless it is there; the only function that uses the network.

    Args:
        url: where to download it from; by default MediaPipe's own address.
        sha256: expected checksum of the file, in hexadecimal digits.

    Raises:
        ImportError: pooch is not installed.
        ValueError: the download has another checksum; nothing is kept.
        OSError: the server does not answer, or the cache cannot be written.
    """
    place = cached_model()
    import pooch

    downloader: Any = pooch.HTTPDownloader(timeout=_TIMEOUT)
    pooch.get_logger().setLevel("WARNING")
    fetched = pooch.retrieve(
        URL if url is None else url,
        known_hash=f"sha256:{SHA256 if sha256 is None else sha256}",
        fname=place.name,
        path=place.parent,
        downloader=downloader,
    )
    return Path(fetched)


def _how() -> str:
    return f"biomechau track --fetch-model downloads it, --model FILE or the variable {VARIABLE} names one"
