"""Determines which files of a folder belong to its corpus."""

from __future__ import annotations

from pathlib import Path

from biomechau.corpus.image_features import FEATURES
from biomechau.corpus.manifest import MANIFEST, RIG, SEQUENCES, Manifest
from biomechau.files import is_unfinished

# Folder of the pictures of a simulated corpus, with a subfolder for each sequence.
IMAGES = "images"


def corpus_parts(path: Path) -> tuple[str, ...]:
    """Names of the files and folders in ``path`` that belong to its corpus, including pictures if they are simulated.

    Raises:
        ValueError: ``corpus.json`` is broken; the message names it.
        FileExistsError: one of the folders has a file that does not belong to the corpus; the message names it.
        OSError: a file cannot be read.
    """
    manifest = Manifest.load(path / MANIFEST)
    ids = {entry.id for entry in manifest.sequences}
    simulation = manifest.provenance.get("simulation")
    pictures = [IMAGES] if isinstance(simulation, dict) and simulation.get("images") else []
    folders = (SEQUENCES, FEATURES, *pictures)
    files = sorted(file for folder in folders for file in (path / folder).rglob("*") if not file.is_dir())
    for file in files:
        if not is_unfinished(file) and not _belongs(file.relative_to(path), ids):
            raise FileExistsError(f"{file} does not belong to the corpus; move it away before the corpus is replaced")
    return (MANIFEST, RIG, *folders)


def _belongs(file: Path, ids: set[str]) -> bool:
    of_sequence = file.suffix == ".safetensors" and file.stem in ids
    match file.parts:
        case (part, _) if part == SEQUENCES:
            return of_sequence
        case (part, id, _) if part == IMAGES:
            return id in ids and file.suffix == ".png"
        case (part, name) | (part, _, name) if part == FEATURES:
            return of_sequence or name == "features.json"
        case (part, _, "backbone", name) if part == FEATURES:
            return name in ("backbone.json", "backbone.safetensors")
    return False
