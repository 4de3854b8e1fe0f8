"""BP4D: occurrence and intensity labels, and images, as they are distributed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from biomechau.corpus.datasets.findings import Finding
from biomechau.corpus.datasets.folder import DataSetFolder, LabelledSequence, by_name, find_folder
from biomechau.corpus.datasets.label_files import FrameLabels, read_intensities, read_occurrences
from biomechau.corpus.protocols import BP4D

INTENSITY_UNITS = (6, 10, 12, 14, 17)
TASKS = tuple(f"T{number}" for number in range(1, 9))
_ID = r"([FM]\d{3})_(T[1-8])"
_SEQUENCE = re.compile(_ID, re.ASCII | re.IGNORECASE)


class BP4DFolder(DataSetFolder):
    """BP4D in the folders in which it is distributed; case is ignored.

    Occurrences are ``AUCoding/AU_OCC/F001_T1.csv`` (or in ``AU_OCC``, or in the root folder), intensities
    ``AU-Intensity-Codes3.0/AU06/F001_T1_AU06.csv`` (or ``AU06`` in the root folder), images ``F001/T1/2440.jpg``.

    Args:
        root: its folder.
        labels: whether to read occurrences, or intensities, which are on from ``threshold``. With occurrences the
            intensities are read too, of the action units that have them in ``root``.
        action_units: to read; by default the protocol's 12, or the 5 with intensities.
        threshold: lowest intensity that is on, 1 to 5.

    Raises:
        ValueError: action units are not unique or have no labels, or the threshold is out of range.
        OSError: there is no such folder.
    """

    def __init__(
        self,
        root: str | Path,
        labels: Literal["occurrence", "intensity"] = "occurrence",
        action_units: Iterable[int] | None = None,
        threshold: int = 2,
    ) -> None:
        if labels not in ("occurrence", "intensity"):
            raise ValueError(f"labels must be 'occurrence' or 'intensity', got {labels!r}")
        if action_units is None:
            action_units = BP4D.action_units if labels == "occurrence" else INTENSITY_UNITS
        super().__init__(root, BP4D, action_units, threshold)
        self.labels = labels
        known = range(1, 100) if labels == "occurrence" else INTENSITY_UNITS
        unknown = [f"AU{unit}" for unit in self.action_units if unit not in known]
        if unknown:
            raise ValueError(f"BP4D has no {labels} labels for {', '.join(unknown)}")

    def find(self) -> tuple[list[LabelledSequence], list[Finding]]:
        """See :meth:`DataSetFolder.find`."""
        if self.labels == "occurrence":
            folder = find_folder(self.root, "AUCoding/AU_OCC", "AU_OCC", "")
            files, findings = self._files(folder, re.compile(rf"{_ID}\.csv", re.ASCII | re.IGNORECASE))
            found = {id: {unit: path for unit in self.action_units} for id, path in files.items()}
            coded = [unit for unit in self.action_units if self._intensity_folder(unit) is not None]
            strength, odd = self._find_intensities(coded)
            findings += odd
        else:
            strength = {}
            found, findings = self._find_intensities(self.action_units)
        if not found:
            raise ValueError(f"{self.root}: no {self.labels} labels of BP4D, expected {self._expected()}")
        named = ((id, id.split("_"), files) for id, files in sorted(found.items()))
        sequences = [
            LabelledSequence(id, subject, task, files, strength.get(id, {})) for id, (subject, task), files in named
        ]
        findings += self.absent(sequences)
        for subject in dict.fromkeys(sequence.subject for sequence in sequences):
            missing = [task for task in TASKS if f"{subject}_{task}" not in found]
            if missing:
                findings.append(Finding(subject, f"missing task{'s' * (len(missing) > 1)} {', '.join(missing)}"))
        return sequences, findings

    def read_labels(self, sequence: LabelledSequence) -> FrameLabels:
        """See :meth:`DataSetFolder.read_labels`."""
        if self.labels == "occurrence":
            codes = read_occurrences(next(iter(sequence.files.values())), self.action_units)
            strength = {unit: read_intensities(path, not_coded=True) for unit, path in sequence.intensity_files.items()}
            return FrameLabels.of_columns(codes, sequence.files, strength)
        files = self._complete(sequence)
        intensities = {unit: read_intensities(path, not_coded=True) for unit, path in files.items()}
        return FrameLabels.of_intensities(intensities, files, self.threshold)

    def sequence_of(self, stem: str) -> str | None:
        """See :meth:`DataSetFolder.sequence_of`; only names like ``F001_T1`` are sequences."""
        return stem.upper() if _SEQUENCE.fullmatch(stem) else None

    def image_folder(self, root: Path, sequence: LabelledSequence) -> Path | None:
        """The folder ``F001/T1`` of images below a root folder; None if there is none."""
        return find_folder(root, f"{sequence.subject}/{sequence.task}")

    def _intensity_folder(self, unit: int) -> Path | None:
        if unit not in INTENSITY_UNITS:
            return None
        folder, name = "AU-Intensity-Codes3.0", f"AU{unit:02d}"
        return find_folder(self.root, f"{folder}/{name}", name, f"{folder}/AU{unit}", f"AU{unit}")

    def _find_intensities(self, units: Sequence[int]) -> tuple[dict[str, dict[int, Path]], list[Finding]]:
        found: dict[str, dict[int, Path]] = {}
        findings: list[Finding] = []
        for unit in units:
            name, folder = f"AU{unit:02d}", self._intensity_folder(unit)
            if folder is None:
                raise ValueError(f"{self.root}: no intensity labels for {name}, expected a folder {name}")
            pattern = re.compile(rf"{_ID}_{name}\.csv", re.ASCII | re.IGNORECASE)
            files, odd = self._files(folder, pattern)
            findings += odd
            for id, path in files.items():
                found.setdefault(id, {})[unit] = path
        return found, findings

    def _files(self, folder: Path | None, pattern: re.Pattern[str]) -> tuple[dict[str, Path], list[Finding]]:
        """Label files of a folder by the id of their sequence."""
        files: dict[str, Path] = {}
        findings = []
        for path in [] if folder is None else by_name(folder):
            match = pattern.fullmatch(path.name)
            if match is None or path.is_dir():
                if path.suffix.lower() == ".csv":
                    findings.append(Finding(path.name, "not named as a label file of BP4D, left out"))
                continue
            id = f"{match[1]}_{match[2]}".upper()
            if id in files:
                findings.append(Finding(id, f"two label files, {files[id].name} and {path.name}", fault=True))
            files[id] = path
        return files, findings

    def _complete(self, sequence: LabelledSequence) -> dict[int, Path]:
        missing = [f"AU{unit:02d}" for unit in self.action_units if unit not in sequence.files]
        if missing:
            raise ValueError(f"{self.root}: no intensity file for {', '.join(missing)}")
        return {unit: sequence.files[unit] for unit in self.action_units}

    def _expected(self) -> str:
        return "AUCoding/AU_OCC/F001_T1.csv" if self.labels == "occurrence" else "AU06/F001_T1_AU06.csv"
