"""Small corpora to test with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from biomechau.corpus import CorpusSequence, CorpusWriter
from biomechau.rig import FaceRig

ACTION_UNITS = (1, 4, 12)
MUSCLES = ("zygomaticus_major_left", "zygomaticus_major_right")


def make_sequence(rig: FaceRig, id: str = "F001_T1", frames: int = 12, **changes: Any) -> CorpusSequence:
    generator = torch.Generator().manual_seed(frames)
    sequence = CorpusSequence(
        id=id,
        subject=id.split("_")[0],
        task=id.split("_")[-1],
        coefficients=torch.rand(frames, rig.num_shapes, generator=generator),
        labels=torch.randint(-1, 2, (frames, len(ACTION_UNITS)), generator=generator, dtype=torch.int8),
        timestamp=torch.arange(frames, dtype=torch.float64) / 25,
        valid=torch.rand(frames, generator=generator) > 0.2,
        muscle_forces=torch.rand(frames, len(MUSCLES), generator=generator),
    )
    return replace(sequence, **changes)


def write(path: Path, rig: FaceRig, *sequences: CorpusSequence, **options: Any) -> Path:
    options = {"muscles": MUSCLES, "provenance": {"source": "test", "seed": 3}, **options}
    with CorpusWriter(path, rig, ACTION_UNITS, 25.0, **options) as writer:
        for sequence in sequences:
            writer.add(sequence)
    return path


def write_three(path: Path, rig: FaceRig) -> Path:
    """Two subjects, three sequences of 12, 9 and 5 frames."""
    lengths = {"F001_T1": 12, "F001_T2": 9, "M002_T1": 5}
    return write(path, rig, *(make_sequence(rig, id, frames) for id, frames in lengths.items()))
