"""DISFA: intensity labels and videos, as they are distributed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from biomechau.corpus.datasets.findings import Finding
from biomechau.corpus.datasets.folder import DataSetFolder, LabelledSequence, by_name, find_folder
from biomechau.corpus.datasets.label_files import FrameLabels, read_intensities
from biomechau.corpus.protocols import DISFA

LABELLED_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
_LABEL_FILE = re.compile(r"(SN\d{3})_au(\d{1,2})\.txt", re.ASCII | re.IGNORECASE)
_SUBJECT = re.compile(r"SN\d{3}", re.ASCII | re.IGNORECASE)


class DISFAFolder(DataSetFolder):
    """DISFA in the folders in which it is distributed; case is ignored.

    Labels are ``ActionUnit_Labels/SN001/SN001_au1.txt`` (or ``SN001`` in the root folder); the file name gives the
    action unit. Videos are ``Videos_LeftCamera/LeftVideoSN001_comp.avi``, in some copies below ``Video_LeftCamera``.

    Args:
        root: its folder.
        action_units: to read; by default the protocol's 8.
        threshold: lowest intensity that is on, 1 to 5.

    Raises:
        ValueError: action units are not unique or not labelled, or the threshold is out of range.
        OSError: there is no such folder.
    """

    first_frame = 1

    def __init__(self, root: str | Path, action_units: Iterable[int] | None = None, threshold: int = 2) -> None:
        super().__init__(root, DISFA, DISFA.action_units if action_units is None else action_units, threshold)
        unknown = [f"AU{unit}" for unit in self.action_units if unit not in LABELLED_UNITS]
        if unknown:
            raise ValueError(f"DISFA has no labels for {', '.join(unknown)}")

    def find(self) -> tuple[list[LabelledSequence], list[Finding]]:
        """See :meth:`DataSetFolder.find`."""
        folder = find_folder(self.root, "ActionUnit_Labels", "")
        sequences: dict[str, LabelledSequence] = {}
        findings = []
        for child in [] if folder is None else by_name(folder):
            if not child.is_dir() or not _SUBJECT.fullmatch(child.name):
                continue
            subject = child.name.upper()
            files, odd = self._label_files(child, subject)
            findings += odd
            if subject in sequences:
                findings.append(Finding(subject, "two label folders that differ in case only", fault=True))
            sequences[subject] = LabelledSequence(subject, subject, "", files)
        if not sequences:
            raise ValueError(f"{self.root}: no labels of DISFA, expected ActionUnit_Labels/SN001/SN001_au1.txt")
        found = [sequences[subject] for subject in sorted(sequences)]
        return found, findings + self.absent(found)

    def read_labels(self, sequence: LabelledSequence) -> FrameLabels:
        """See :meth:`DataSetFolder.read_labels`."""
        missing = [f"AU{unit}" for unit in self.action_units if unit not in sequence.files]
        if missing:
            raise ValueError(f"{self.root}: no label file for {', '.join(missing)}")
        intensities = {unit: read_intensities(sequence.files[unit], not_coded=False) for unit in self.action_units}
        return FrameLabels.of_intensities(intensities, sequence.files, self.threshold)

    def sequence_of(self, stem: str) -> str | None:
        """See :meth:`DataSetFolder.sequence_of`; the name contains one subject: ``SN001``, ``LeftVideoSN001_comp``."""
        subjects = {match.upper() for match in _SUBJECT.findall(stem)}
        return subjects.pop() if len(subjects) == 1 else None

    def image_folder(self, root: Path, sequence: LabelledSequence) -> Path | None:
        """The folder ``SN001`` of images below a root folder; None if there is none."""
        return find_folder(root, sequence.subject)

    def video(self, root: Path, sequence: LabelledSequence, camera: Literal["Left", "Right"] = "Left") -> Path | None:
        """The video of one camera below a root folder; None if there is none."""
        folder = find_folder(root, f"Videos_{camera}Camera", f"Video_{camera}Camera", "")
        name = f"{camera}Video{sequence.subject}_comp.avi".casefold()
        return next((path for path in by_name(folder or root) if path.name.casefold() == name), None)

    def _label_files(self, folder: Path, subject: str) -> tuple[dict[int, Path], list[Finding]]:
        files: dict[int, Path] = {}
        findings = []
        for path in by_name(folder):
            match = _LABEL_FILE.fullmatch(path.name)
            if match is None:
                continue
            if match[1].upper() != subject:
                findings.append(Finding(subject, f"{path.name} is a label file of {match[1]}", fault=True))
            elif int(match[2]) in files:
                other = files[int(match[2])].name
                findings.append(
                    Finding(subject, f"two label files of AU{int(match[2])}, {other} and {path.name}", True)
                )
            files[int(match[2])] = path
        return files, findings
