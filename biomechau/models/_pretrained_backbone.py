"""Pretrained vision backbones from the Hugging Face Hub. Needs the ``image`` extra."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from biomechau.corpus.image_features import BackboneCard
from biomechau.finite import check_finite

MISSING_TRANSFORMERS = 'pretrained backbones need transformers: pip install "biomechau[image]"'
# Entries of a processor's description that name its class, and say nothing about what it does.
_ABOUT = ("_processor_class", "image_processor_type", "processor_class", "feature_extractor_type")


class PretrainedBackbone:
    """A vision model with its image processor, frozen; see :func:`biomechau.models.load_backbone` for the arguments.

    Its features are the model's pooled output, or the mean of the last hidden state over the picture if the weights
    contain no pooling. Of models of pictures and text, the vision model is used.
    """

    def __init__(
        self, name: str, revision: str | None = None, device: str | torch.device = "cpu", progress: bool = False
    ) -> None:
        try:
            from transformers import AutoImageProcessor, AutoModel
        except ImportError as error:
            raise ImportError(MISSING_TRANSFORMERS) from error
        folder = Path(name)
        # A folder never uses the network; remote code never runs; pickled weights are never read.
        safe = {"revision": revision, "trust_remote_code": False, "local_files_only": folder.is_dir()}
        try:
            with _messages(progress):
                # pil: no torchvision, and the same pixels on every machine.
                self._processor = AutoImageProcessor.from_pretrained(name, backend="pil", **safe)
                model, info = AutoModel.from_pretrained(name, use_safetensors=True, output_loading_info=True, **safe)
        except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
            words = " ".join(str(error).split())
            raise ValueError(f"{name}: not a vision backbone with safetensors weights: {words}") from error
        model = getattr(model, "vision_model", model)
        missing = set(info["missing_keys"])
        # Pooling layers that the weights lack would be random.
        self._pooled = not any("pooler" in key for key in missing)
        if others := sorted(key for key in missing if "pooler" not in key):
            raise ValueError(f"{name}: its weights lack {len(others)} tensors of the model, such as {others[0]}")
        check_finite(name, dict(model.named_parameters()))
        self._model: torch.nn.Module = model.to(device).eval().requires_grad_(False)
        self._device = device
        commit = getattr(model.config, "_commit_hash", None)
        grey = np.full((64, 64, 3), 128, np.uint8)
        pixels = self._pixels([grey])
        try:
            size = self.features(2 * [grey]).shape[1]
        except (AttributeError, TypeError, ValueError, RuntimeError, IndexError) as error:
            raise ValueError(f"{name}: not a model of pictures alone: {' '.join(str(error).split())}") from error
        self.card = BackboneCard(
            name=folder.resolve().name if folder.is_dir() else name,
            revision=_digest(folder) if folder.is_dir() else str(commit),
            size=size,
            preprocessing={
                "image_size": [int(side) for side in pixels.shape[-2:]],
                "pooling": "the model's own" if self._pooled else "mean",
                **_description(self._processor.to_dict()),
            },
        )

    @torch.inference_mode()
    def features(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Features (n, D) float32 on the CPU of n pictures (H, W, 3) of any sizes, red, green, blue."""
        output = self._model(pixel_values=self._pixels(pictures).to(self._device))
        pooled = getattr(output, "pooler_output", None)
        if pooled is None or not self._pooled:
            hidden = output.last_hidden_state  # (n, C, H, W) of convolutions, (n, L, C) of transformers
            pooled = hidden.flatten(2).mean(2) if hidden.ndim == 4 else hidden.mean(1)
        return pooled.flatten(1).float().cpu().clone()

    def _pixels(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        # Stated, because pictures 3 pixels high could be taken for channels first.
        found = self._processor(list(pictures), return_tensors="pt", input_data_format="channels_last")
        return found["pixel_values"]


def _description(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a processor, as JSON values."""
    kept = {name: value for name, value in values.items() if name not in _ABOUT and value is not None}
    text = json.dumps(dict(sorted(kept.items())), default=lambda value: getattr(value, "__dict__", str(value)))
    return json.loads(text)


def _digest(folder: Path) -> str:
    """SHA-256 over the weights of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


@contextmanager
def _messages(progress: bool) -> Iterator[None]:
    """The library's progress bars if wanted, and no messages about weights: those that matter are errors here."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    (logging.enable_progress_bar if progress else logging.disable_progress_bar)()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
