"""An assembled data set to a corpus folder."""

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
        path: folder to make.
        settings: that it was made with, for the provenance; what JSON can hold.
        skip_faulty: leave sequences with a fault out, in place of refusing.
        overwrite: put the new corpus in the place of one that is at ``path``.

    Raises:
        ValueError: there are faults, or no sequences.
        FileExistsError: there is something at ``path``, or, with ``overwrite``, something that is no corpus.
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
