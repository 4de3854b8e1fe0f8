"""Lightning's checkpoints, written atomically and validated before use."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor

from biomechau.files import replacing
from biomechau.finite import check_finite
from biomechau.training.run import BEST, LAST, PREVIOUS

# Errors of reading a broken file: by the archive, by the pickle in it, and by torch.
_BROKEN = (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, ValueError, TypeError, LookupError)
_BROKEN += (AttributeError, EOFError, zlib.error)
# Entries that Lightning needs to continue.
_KEYS = ("state_dict", "epoch", "global_step", "optimizer_states", "lr_schedulers", "loops", "callbacks")


class CheckpointFiles(CheckpointIO):
    """Writes checkpoints atomically, and keeps the previous one.

    Args:
        folder: of the run, as the user named it; Lightning passes the absolute path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint into the folder.

        Raises:
            OSError: the file cannot be written; the message names it.
        """
        path = self.folder / Path(path).name
        data = io.BytesIO()
        torch.save(checkpoint, data)  # not to the file: torch does not report a full disk as OSError
        with replacing(path) as partial:
            partial.write_bytes(data.getbuffer())
            if path.name == LAST and path.exists():
                path.replace(path.with_name(PREVIOUS))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint as data: code in it is refused, not run.

        Raises:
            ValueError: not a complete checkpoint; the message names the file.
            OSError: the file cannot be read.
        """
        return read_checkpoint(Path(path), map_location)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint if it exists."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a training checkpoint, or that of the best weights.

    Raises:
        ValueError: not a complete checkpoint, or weights that are not finite; the message names the file.
        OSError: the file cannot be read.
    """
    data = io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(data) as archive:
            if (damaged := archive.testzip()) is not None:  # torch does not verify the checksums
                raise ValueError(f"{damaged} is damaged")
        data.seek(0)
        checkpoint = torch.load(data, map_location=map_location, weights_only=True)
    except _BROKEN as error:
        raise ValueError(f"{path}: not a complete checkpoint: {' '.join(str(error).split()):.200}") from error
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise ValueError(f"{path}: not a training checkpoint: it contains no weights")
    check_finite(path, weights)
    return checkpoint


def checkpoint_to_resume(folder: Path, expected: Mapping[str, Tensor]) -> Path | None:
    """The checkpoint to resume from: the last one or, if that is broken, the previous one; None to start over.

    A warning names broken files. If the best weights are broken or missing, training also starts over.

    Args:
        folder: of the run.
        expected: weights of the model to resume, with their names and shapes.

    Raises:
        OSError: a file cannot be read.
    """
    broken, found = [], None
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            _check(path, _KEYS, expected)
        except FileNotFoundError:  # not yet written, or killed between two renames
            continue
        except ValueError as error:
            broken.append(str(error))
        else:
            found = path
            break
    if found is not None:
        try:
            _check(folder / BEST, _KEYS[:1], expected)
        except (ValueError, FileNotFoundError) as error:
            broken.append(f"{folder / BEST}: no such file" if isinstance(error, FileNotFoundError) else str(error))
            found = None
    if broken:
        how = "starts over" if found is None else f"continues from {found}"
        warnings.warn(f"{'; '.join(broken)}; training {how}", stacklevel=3)
    return found


def _check(path: Path, keys: tuple[str, ...], expected: Mapping[str, Tensor]) -> None:
    checkpoint = read_checkpoint(path)
    weights = checkpoint["state_dict"]
    for key in keys:
        if key not in checkpoint:
            raise ValueError(f"{path}: not a checkpoint to resume from: it lacks {key!r}")
    for name in {**expected, **weights}:
        if name not in weights or name not in expected or weights[name].shape != expected[name].shape:
            raise ValueError(f"{path}: a checkpoint of another model: tensor {name} differs")
