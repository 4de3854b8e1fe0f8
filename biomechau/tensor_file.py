"""Safetensors files, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from biomechau.file_errors import naming, reason, regular_file


@contextmanager
def open_tensors(path: str | Path) -> Iterator[Any]:
    """An open safetensors file, memory-mapped; see ``safetensors.safe_open``.

    Raises:
        ValueError: not a complete safetensors file, or a ValueError of the block; the message names the file.
        OSError: the file cannot be read.
    """
    regular_file(path)
    with naming(path):
        try:
            with safe_open(path, framework="pt") as file:
                yield file
        except (SafetensorError, AttributeError) as error:  # dtypes that this version of torch lacks are attributes
            raise ValueError(f"{path}: not a complete safetensors file: {reason(error)}") from error
