"""``biomechau corpus bp4d`` and ``corpus disfa``: a corpus from a data set and tracked coefficients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from tyro.conf import Positional, arg

from biomechau.commands.command import Command, Switch, load_rig
from biomechau.commands.terminal import print_lines, print_message, print_tables, progress_bar

if TYPE_CHECKING:
    from biomechau.corpus.datasets import Assembly, BP4DFolder, DISFAFolder, Finding


@dataclass(frozen=True)
class CorpusFromDataSet(Command):
    """Base class of the commands for data sets.

    Coefficients: one file per sequence, named after it (.csv of Live Link Face, MediaPipe or py-feat 2, or .npz).
    """

    root: Annotated[Path, Positional, arg(metavar="ROOT", help="Folder of the data set.")]
    coefficients: Annotated[Path, arg(metavar="DIR", help="Folder of recordings, one .csv or .npz per sequence.")]
    out: Annotated[Path | None, arg(metavar="CORPUS", help="Corpus folder to create.")] = None
    check: Annotated[Switch, arg(help="List everything that is missing or odd, and write nothing.")] = False
    rig: Annotated[str, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')] = "builtin"
    action_units: Annotated[
        tuple[int, ...] | None, arg(metavar="AU ...", help="Action units to read; the protocol's if not given.")
    ] = None
    threshold: Annotated[int, arg(help="Lowest intensity that counts as on, 1 to 5.")] = 2
    exclude: Annotated[
        Path | None, arg(metavar="FILE", help="List of frames (F001_T1,2440) and sequences (F001_T1) to exclude.")
    ] = None
    frame_offset: Annotated[
        int | Literal["first"] | None,
        arg(
            metavar="N|first",
            help="Offset added to the frame numbers of the recordings or, if they have none, the label frame number of "
            "their first frame; 'first': they start at the first labelled frame.",
        ),
    ] = None
    recorded_fps: Annotated[
        float | None, arg(metavar="FPS", help="Frame rate of the recordings, if the files do not contain it [1/s].")
    ] = None
    images: Annotated[Path | None, arg(metavar="DIR", help="Images to compare with the labels (with --check).")] = None
    skip_faulty: Annotated[Switch, arg(help="Exclude sequences with a fault.")] = False
    overwrite: Annotated[Switch, arg(help="Replace an existing corpus at CORPUS.")] = False

    @abstractmethod
    def folder(self) -> BP4DFolder | DISFAFolder:
        """The data set."""

    @property
    def pictures(self) -> list[str]:
        """The given options that name images or videos."""
        return [] if self.images is None else ["--images"]

    def picture_findings(self, dataset: BP4DFolder | DISFAFolder) -> list[Finding]:
        """Findings about images and videos, if these are named."""
        from biomechau.corpus.datasets.images import check_images

        return [] if self.images is None else check_images(dataset, self.images)

    def run(self) -> None:
        """Read, then list or write, and print the summary."""
        if self.out is None and not self.check:
            raise ValueError("--out is required unless --check is given")
        if self.pictures and not self.check:
            raise ValueError(
                f"{self.pictures[0]} requires --check: images and videos are only compared with the labels"
            )
        from biomechau.corpus.datasets import assemble, read_exclusions, write_assembly
        from biomechau.corpus.datasets.exclusions import Exclusions

        dataset, rig = self.folder(), load_rig(self.rig)
        exclusions = Exclusions() if self.exclude is None else read_exclusions(self.exclude)
        pictures = self.picture_findings(dataset)
        with progress_bar("reading sequences") as progress:
            assembly = assemble(
                dataset, self.coefficients, rig, self.frame_offset, self.recorded_fps, exclusions, progress
            )
        if self.check or self.out is None:
            _list(assembly, (*assembly.findings, *pictures))
            return
        write_assembly(assembly, self.out, self._settings(), self.skip_faulty, self.overwrite)
        for finding in assembly.findings:
            print_message("warning" if finding.fault else "note", str(finding))
        print_tables(*summary_tables(assembly))
        print_lines(f"wrote {self.out}")

    def _settings(self) -> dict[str, Any]:
        """Settings that determine labels and coefficients, as JSON values."""
        return {
            "threshold": self.threshold,
            "excluded": None if self.exclude is None else self.exclude.name,
            "frame_offset": self.frame_offset,
            "recorded_fps": self.recorded_fps,
        }


@dataclass(frozen=True)
class CorpusBP4D(CorpusFromDataSet):
    """Make a corpus from BP4D's labels and coefficients tracked in its images or videos.

    Labels are read from AUCoding/AU_OCC/F001_T1.csv or AU-Intensity-Codes3.0/AU06/F001_T1_AU06.csv in ROOT. Recordings
    with frame numbers are matched by number: frame n belongs to frame n of the labels. Others start at the first frame
    of the labels. --frame-offset changes both.
    """

    labels: Annotated[
        Literal["occurrence", "intensity"], arg(help="Kind of labels; intensities exist for AU 6 10 12 14 17 only.")
    ] = "occurrence"

    def folder(self) -> BP4DFolder:
        """The data set."""
        from biomechau.corpus.datasets import BP4DFolder

        return BP4DFolder(self.root, self.labels, self.action_units, self.threshold)

    def _settings(self) -> dict[str, Any]:
        threshold = {} if self.labels == "intensity" else {"threshold": None}
        return {"labels": self.labels, **super()._settings(), **threshold}


@dataclass(frozen=True)
class CorpusDISFA(CorpusFromDataSet):
    """Make a corpus from DISFA's labels and coefficients tracked in its videos.

    Labels are read from ActionUnit_Labels/SN001/SN001_au1.txt in ROOT. Recordings with frame numbers are matched by
    number: frame n belongs to frame n of the labels, or n + 1 if it has a frame 0 and the labels count from 1. Others
    start at the first frame of the labels. --frame-offset changes both.
    """

    videos: Annotated[Path | None, arg(metavar="DIR", help="Folder to search for the videos (with --check).")] = None

    def folder(self) -> DISFAFolder:
        """The data set."""
        from biomechau.corpus.datasets import DISFAFolder

        return DISFAFolder(self.root, self.action_units, self.threshold)

    @property
    def pictures(self) -> list[str]:
        """See the base class."""
        return [*super().pictures, *([] if self.videos is None else ["--videos"])]

    def picture_findings(self, dataset: BP4DFolder | DISFAFolder) -> list[Finding]:
        """See the base class."""
        from biomechau.corpus.datasets import DISFAFolder
        from biomechau.corpus.datasets.images import check_videos

        findings = super().picture_findings(dataset)
        if self.videos is not None and isinstance(dataset, DISFAFolder):
            findings += check_videos(dataset, self.videos)
        return findings


def _list(assembly: Assembly, findings: Sequence[Finding]) -> None:
    """Print all findings and the summary.

    Raises:
        ValueError: some of them are faults.
    """
    for finding in findings:
        print_lines(f"{'fault' if finding.fault else 'note'}: {finding}")
    print_tables(*summary_tables(assembly))
    faults = sum(finding.fault for finding in findings)
    print_lines(f"{len(findings)} findings, {faults} of them faults", flush=True)
    if faults:
        raise ValueError(f"{faults} fault{'s' * (faults > 1)}, listed on standard output")


def summary_tables(assembly: Assembly) -> list[Table]:
    """Size of an assembled data set and rates of the action units, next to published values."""
    protocol, sequences = assembly.dataset.protocol, assembly.sequences
    published_subjects = sum(map(len, protocol.subject_sets.values()))
    size = Table(title=protocol.name, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    units = Table(title="Action units", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for table, headings in ((size, ("here", "published")), (units, ("on", "known", "masked", "rate", "published"))):
        table.add_column("")
        for heading in headings:
            table.add_column(heading, justify="right")
    positive, known = (counts.tolist() for counts in assembly.label_counts())
    masked = sum(int((~sequence.label_mask).all(1).sum()) for sequence in sequences)
    subjects = len({sequence.subject for sequence in sequences})
    size.add_row("subjects", str(subjects), str(published_subjects))
    size.add_row("sequences", f"{len(sequences):,}", f"{protocol.sequences:,}")
    size.add_row("frames", f"{assembly.frames:,}", f"{protocol.frames:,}")
    size.add_row("masked for every action unit", f"{masked:,}", "")
    size.add_row("shapes", str(assembly.rig.num_shapes), "")
    rates = dict(zip(protocol.action_units, protocol.positive_rates, strict=True))
    for unit, on, of in zip(assembly.dataset.action_units, positive, known, strict=True):
        counts = (f"{on:,}", f"{of:,}", f"{assembly.frames - of:,}", f"{on / of:.1%}" if of else "")
        units.add_row(f"AU{unit:02d}", *counts, f"{rates[unit]:.1%}" if unit in rates else "")
    return [size, units]
