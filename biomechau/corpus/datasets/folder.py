"""DataSetFolder: the common interface of the folders of BP4D and DISFA."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from biomechau.corpus.datasets.findings import Finding
from biomechau.corpus.datasets.label_files import FrameLabels
from biomechau.corpus.protocols import Protocol
from biomechau.rig.names import shortened


@dataclass(frozen=True)
class LabelledSequence:
    """One sequence of a data set.

    Attributes:
        id: its name in the corpus.
        subject: the recorded person.
        task: what the subject was asked to do; empty if there is only one task.
        files: the label file of each action unit; one file may contain several.
        intensity_files: files of intensities that come beside the labels.
    """

    id: str
    subject: str
    task: str
    files: Mapping[int, Path]
    intensity_files: Mapping[int, Path] = field(default_factory=dict)


class DataSetFolder(ABC):
    """A data set on disk.

    Args:
        root: its folder.
        protocol: of the data set.
        action_units: numbers of the R action units to read.
        threshold: lowest intensity that is on, 1 to 5, if labels are intensities.

    Raises:
        ValueError: action units are not unique, or the threshold is out of range.
        OSError: there is no such folder.
    """

    # number of the first frame of every recording, if known
    first_frame: int | None = None

    def __init__(self, root: str | Path, protocol: Protocol, action_units: Iterable[int], threshold: int = 2) -> None:
        self.root = Path(root)
        self.protocol = protocol
        self.action_units = tuple(action_units)
        self.threshold = threshold
        if not self.root.is_dir():
            raise NotADirectoryError(f"no such folder: {self.root}")
        if not self.action_units or len(set(self.action_units)) < len(self.action_units):
            raise ValueError(f"action_units must be different numbers, at least one, got {self.action_units}")
        if not 1 <= threshold <= 5:
            raise ValueError(f"threshold must lie in [1, 5], got {threshold}")

    @abstractmethod
    def find(self) -> tuple[list[LabelledSequence], list[Finding]]:
        """The sequences with labels, by id, and what is missing or unusual about their files.

        Raises:
            ValueError: there are no label files.
            OSError: a folder cannot be read.
        """

    @abstractmethod
    def read_labels(self, sequence: LabelledSequence) -> FrameLabels:
        """Labels of one sequence.

        Raises:
            ValueError: a file is broken; the message names file and line.
            OSError: a file cannot be read.
        """

    @abstractmethod
    def sequence_of(self, stem: str) -> str | None:
        """Id of the sequence of a recording, from its name without ending and with folders joined by ``_``."""

    def absent(self, found: Sequence[LabelledSequence]) -> list[Finding]:
        """Notes about subjects of the protocol that are missing, and subjects that are not part of it."""
        listed = {subject for subjects in self.protocol.subject_sets.values() for subject in subjects}
        present = {sequence.subject for sequence in found}
        missing, others = sorted(listed - present), sorted(present - listed)
        findings = []
        if missing:
            words = f"no labels for {len(missing)} of {len(listed)} subjects: {shortened(missing)}"
            findings.append(Finding(self.protocol.name, words))
        if others:
            findings.append(Finding(self.protocol.name, f"subjects that are not in the protocol: {shortened(others)}"))
        return findings


def find_folder(root: Path, *alternatives: str) -> Path | None:
    """The first of some relative folders that exists below ``root``, ignoring case and separators between words.

    The intensities of BP4D are in ``AU-Intensity-Codes3.0`` in one release and ``AU Intensity Codes3.0`` in another.

    Raises:
        OSError: a folder cannot be read.
    """
    for alternative in alternatives:
        folders = [root]
        for part in filter(None, alternative.split("/")):
            folders = [child for folder in folders for child in by_name(folder) if _plain(child.name) == _plain(part)]
            folders = [folder for folder in folders if folder.is_dir()]
        if folders:
            return folders[0]
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def by_name(folder: Path) -> list[Path]:
    """The contents of a folder, sorted by name, without hidden files.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
