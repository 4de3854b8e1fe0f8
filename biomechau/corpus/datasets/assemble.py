"""Joins the labels of a data set with recordings, and writes the result as a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from biomechau.corpus.corpus_sequence import UNKNOWN, CorpusSequence, label_mask
from biomechau.corpus.corpus_writer import CorpusWriter
from biomechau.corpus.datasets.alignment import Offset, align
from biomechau.corpus.datasets.coefficient_files import find_recordings, read_recording
from biomechau.corpus.datasets.exclusions import Exclusions
from biomechau.corpus.datasets.findings import Finding, frame_ranges
from biomechau.corpus.datasets.folder import DataSetFolder, LabelledSequence
from biomechau.corpus.datasets.label_files import FrameLabels
from biomechau.rig import FaceRig
from biomechau.rig.names import shortened

# A shape that varies by less than this in the whole data set does not follow the faces.
_DEAD = 0.01


@dataclass(frozen=True, eq=False)
class Assembly:
    """A data set joined with its recordings, and everything that is missing or unusual about it.

    Attributes:
        dataset: the labels.
        rig: the face, with the shapes that every recording drives; with all shapes if there are no sequences.
        sequences: the sequences without faults. The time of a frame is its number divided by the frame rate.
        findings: in the order they were found.
        sources: kinds of the recordings, in words.
    """

    dataset: DataSetFolder
    rig: FaceRig
    sequences: tuple[CorpusSequence, ...]
    findings: tuple[Finding, ...]
    sources: tuple[str, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that make sequences unusable."""
        return tuple(finding for finding in self.findings if finding.fault)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return sum(map(len, self.sequences))

    def label_counts(self) -> tuple[Tensor, Tensor]:
        """Number of frames in which each action unit is on, and in which it is known: two tensors (R,) int64."""
        positive = torch.zeros(len(self.dataset.action_units), dtype=torch.int64)
        known = positive.clone()
        for sequence in self.sequences:
            mask = label_mask(sequence.labels, sequence.valid)
            known += mask.sum(0)
            positive += (mask & (sequence.labels == 1)).sum(0)
        return positive, known


@dataclass(frozen=True, eq=False)
class _Joined:
    sequence: LabelledSequence
    labels: FrameLabels
    coefficients: Tensor
    channels: tuple[str, ...]
    valid: Tensor
    source: str


class _Findings(list[Finding]):
    """Collects findings."""

    @contextmanager
    def faults(self, where: str) -> Iterator[None]:
        """Record errors of the readers as faults."""
        try:
            yield
        except (ValueError, TypeError) as error:
            self.append(Finding(where, " ".join(str(error).split()), fault=True))
        except OSError as error:
            name = error.filename or where
            self.append(Finding(where, f"{name}: {error.strerror or error}", fault=True))


def assemble(
    dataset: DataSetFolder,
    coefficients: str | Path,
    rig: FaceRig,
    offset: Offset = None,
    recorded_fps: float | None = None,
    exclusions: Exclusions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Assembly:
    """Read all labels and recordings, and join them frame by frame (:func:`~.alignment.align`).

    Args:
        dataset: the labels.
        coefficients: folder of recordings, one ``.csv``, ``.tsv``, ``.json`` or ``.npz`` file per sequence.
        rig: the face whose shapes the recordings drive.
        offset: see :func:`~.alignment.align`.
        recorded_fps: frame rate of the recordings, if the files do not contain it or are wrong [1/s].
        exclusions: frames whose labels are ignored, and sequences to leave out.
        progress: called with (sequences done, total sequences).

    Raises:
        ValueError: there are no labels, or no shape of the rig is driven by all recordings.
        OSError: a folder cannot be read.
    """
    found, odd = dataset.find()
    recordings, more = find_recordings(Path(coefficients), dataset.sequence_of)
    findings = _Findings((*odd, *more))
    exclusions = Exclusions() if exclusions is None else exclusions
    ids = {sequence.id for sequence in found}
    for line, id in exclusions.unknown(ids):
        findings.append(Finding("exclusions", f"line {line}: {id} is not a labelled sequence", fault=True))
    kept = [sequence for sequence in found if sequence.id.casefold() not in exclusions.sequences]
    if len(kept) < len(found):
        findings.append(Finding("exclusions", f"sequences left out: {len(found) - len(kept)}"))
    for id in sorted(recordings.keys() - ids):
        findings.append(Finding(id, "a recording without labels, left out"))
    joined = []
    broken = {finding.where for finding in findings if finding.fault}
    for done, sequence in enumerate(kept, 1):
        excluded = exclusions.frames.get(sequence.id.casefold(), {})
        with findings.faults(sequence.id):
            labels = _exclude(dataset.read_labels(sequence), excluded, sequence.id, findings)
            if sequence.id not in recordings:
                raise ValueError(f"no recording below {coefficients}")
            recording = read_recording(recordings[sequence.id], rig, dataset.protocol.fps, recorded_fps)
            aligned = align(recording, labels.frame, dataset.protocol.fps, offset, dataset.first_frame)
            findings += (Finding(sequence.id, note) for note in (*recording.notes, *aligned.notes))
            values, valid = torch.from_numpy(aligned.coefficients), torch.from_numpy(aligned.valid)
            source = recording.source.partition(recordings[sequence.id].name)[0].strip().removesuffix(" of")
            if sequence.id not in broken:
                joined.append(_Joined(sequence, labels, values, recording.channels, valid, source))
        if progress is not None:
            progress(done, len(kept))
    if not joined:
        return Assembly(dataset, rig, (), tuple(findings), ())
    return _onto_rig(dataset, rig, joined, findings)


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


def _exclude(labels: FrameLabels, excluded: dict[int, int], id: str, findings: list[Finding]) -> FrameLabels:
    """The labels, set to unknown in the excluded frames."""
    uncoded = (labels.labels == UNKNOWN).all(1)
    if uncoded.any():
        words = f"frames without any known label, masked: {uncoded.sum()} ({frame_ranges(labels.frame[uncoded])})"
        findings.append(Finding(id, words))
    if not excluded:
        return labels
    hit = np.isin(labels.frame, list(excluded))
    elsewhere = len(excluded) - int(hit.sum())
    findings.append(
        Finding(id, f"frames excluded: {hit.sum()}" + (f", and {elsewhere} without a label" if elsewhere else ""))
    )
    strength = labels.intensities
    if strength is not None:
        strength = np.where(hit[:, None], np.float32(UNKNOWN), strength)
    return replace(labels, labels=np.where(hit[:, None], np.int8(UNKNOWN), labels.labels), intensities=strength)


def _onto_rig(dataset: DataSetFolder, rig: FaceRig, joined: Sequence[_Joined], findings: list[Finding]) -> Assembly:
    """Map the sequences to the shapes that every recording drives."""
    maps = {channels: rig.map_channels(channels) for channels in dict.fromkeys(item.channels for item in joined)}
    undriven = {shape for channels in maps.values() for shape in channels.missing_shapes}
    shapes = [shape for shape in rig.names if shape not in undriven]
    if not shapes:
        raise ValueError("no shape of the rig is driven by every recording")
    chosen = rig.shape_indices(shapes)
    if undriven:
        names = shortened([shape for shape in rig.names if shape in undriven])
        findings.append(Finding("rig", f"shapes that not every recording drives, left out: {len(undriven)} ({names})"))
    unused = sorted({channel for channels in maps.values() for channel in channels.unused_channels})
    if unused:
        findings.append(Finding("rig", f"channels that drive no shape: {len(unused)} ({shortened(unused)})"))
    sequences = []
    intense = any(item.labels.intensities is not None for item in joined)
    for item in joined:
        values = item.coefficients @ maps[item.channels].matrix[:, chosen]
        sequences.append(
            CorpusSequence(
                id=item.sequence.id,
                subject=item.sequence.subject,
                task=item.sequence.task,
                coefficients=values.contiguous(),
                labels=torch.from_numpy(item.labels.labels),
                timestamp=torch.from_numpy(item.labels.frame).double() / dataset.protocol.fps,
                valid=item.valid,
                intensities=_intensities(item.labels) if intense else None,
            )
        )
    spread = torch.stack([s.coefficients.amax(0) for s in sequences]).amax(0)
    spread = spread - torch.stack([s.coefficients.amin(0) for s in sequences]).amin(0)
    dead = [shape for shape, reach in zip(shapes, spread.tolist(), strict=True) if reach < _DEAD]
    if dead:
        findings.append(Finding("rig", f"shapes that never move by {_DEAD}: {len(dead)} ({shortened(dead, 8)})"))
    sources = tuple(sorted({item.source for item in joined}))
    return Assembly(dataset, rig.select(shapes), tuple(sequences), tuple(findings), sources)


def _intensities(labels: FrameLabels) -> Tensor:
    if labels.intensities is None:
        return torch.full(labels.labels.shape, UNKNOWN, dtype=torch.float32)
    return torch.from_numpy(labels.intensities)
