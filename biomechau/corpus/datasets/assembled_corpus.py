"""Writes an assembled data set as a corpus folder."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from biomechau.corpus.corpus_writer import CorpusWriter
from biomechau.corpus.datasets.assemble import Assembly


def write_assembly(
    assembly: Assembly,
    path: str | Path,
    settings: dict[str, Any] | None = None,
    skip_faulty: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a corpus.

    Args:
        assembly: to write.
        path: folder to create.
        settings: options of the assembly, for the provenance; JSON values.
        skip_faulty: leave out sequences with faults instead of raising an error.
        overwrite: replace a corpus at ``path``.

    Raises:
        ValueError: there are faults, or no sequences.
        FileExistsError: ``path`` exists, or, with ``overwrite``, is not a corpus.
        OSError: the corpus cannot be written.
    """
    faults = assembly.faults
    if faults and (not skip_faulty or not assembly.sequences):
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults, the first"
        raise ValueError(f"{count}: {faults[0]} (--check lists everything; --skip-faulty leaves such sequences out)")
    if not assembly.sequences:
        raise ValueError("every sequence is excluded")
    dataset = assembly.dataset
    provenance = {
        "source": dataset.protocol.name,
        "version": version("biomechau"),
        "coefficients": ", ".join(assembly.sources),
        "settings": settings or {},
        "left_out": sorted({fault.where for fault in faults}),
        "rig": dict(assembly.rig.provenance),
    }
    writer = CorpusWriter(
        path,
        assembly.rig,
        dataset.action_units,
        dataset.protocol.fps,
        provenance=provenance,
        overwrite=overwrite,
    )
    with writer:
        for sequence in assembly.sequences:
            writer.add(sequence)
