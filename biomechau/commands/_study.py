"""Analysis of the recordings of a study, in parallel processes or on a cluster."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from joblib import Parallel, delayed, parallel_config

from biomechau import __version__
from biomechau.analysis import AsymmetryIndex, Ensemble, analyse_recording, asymmetry_index
from biomechau.analysis.study import Person
from biomechau.commands._metric_cache import learned_metric
from biomechau.commands._reading_options import ReadingOptions
from biomechau.commands._rest_options import RestOptions
from biomechau.commands.command import load_rig
from biomechau.corpus import FaceSequence
from biomechau.corpus.calibration import NeutralSource
from biomechau.corpus.recordings import Recording, find_recordings
from biomechau.corpus.signals import read_result
from biomechau.corpus.video import read_frames
from biomechau.json_file import read_json_object
from biomechau.physics import ForceMetric, InverseOptions, PhysicsConfig
from biomechau.reports.output import write_analysis
from biomechau.rig import FaceRig, Muscles
from biomechau.threads import one_thread
from biomechau.training.run import DEFAULT_RUN

_SUMMARY = "summary.json"
# Entry in the summary of a recording: what the result depends on, to tell whether it is up to date.
_MADE_OF = "made_of"
# Errors that concern one recording.
_FAILURES = (OSError, ValueError, TypeError, ImportError, MemoryError)


@dataclass(frozen=True)
class How:
    """Options that all recordings of a study share; sent to the processes that analyse them.

    Attributes:
        rig: as on the command line.
        run: folder of the detector; None for the one that comes with the package.
        muscles: table of muscles; None for the built-in one.
        reading: how recordings are read; what a kind of recording has no use for is left out there.
        overlay: also write a video of each.
        inverse: options of inverse dynamics; its percentile of the neutral face is over all recordings of a person.
        rest: where the face rests.
        sd: also write the standard deviation of each force.
    """

    rig: str
    run: Path | None
    muscles: Path | None
    reading: ReadingOptions
    overlay: bool
    inverse: InverseOptions
    rest: RestOptions
    sd: bool = False

    def made_of(self, recording: Recording, person: Sequence[Recording]) -> dict[str, Any]:
        """What the result of a recording depends on, beside all that its neutral face is taken from, as JSON values."""
        options = asdict(self, dict_factory=_as_json)
        made_of = {"files": recording.fingerprint(), "biomechau": __version__, "options": options}
        others = [other.fingerprint() for other in person]
        if self.rest.neutral_from is not None:
            others += [other.fingerprint() for other in find_recordings([self.rest.neutral_from])]
        return {**made_of, "neutral_files": others} if others else made_of

    def person_of(self, recording: Recording, recordings: Sequence[Recording]) -> tuple[Recording, ...]:
        """All recordings of the same person, where the neutral face is a percentile of them; else none."""
        if self.inverse.neutral is None:
            return ()
        return tuple(other for other in recordings if other.person == recording.person)


def _as_json(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields}


class Outcome(NamedTuple):
    """Result for one recording: its summary, or the error."""

    recording: Recording
    summary: dict[str, Any] | None
    error: str = ""


def analyze_all(
    recordings: Sequence[Recording],
    everyone: Sequence[Recording],
    out: Path,
    how: How,
    jobs: int | None,
    cluster: str | None,
    on_done: Callable[[Outcome], None],
) -> None:
    """Analyse recordings in parallel.

    Args:
        recordings: to analyse, each into ``out/NAME``.
        everyone: all recordings of the study, for the neutral face of each person.
        out: folder of the study.
        how: their common options.
        jobs: number of recordings at a time; one per processor if not given.
        cluster: address of a Dask scheduler, to use its workers instead of processes of this machine.
        on_done: called with each outcome.

    Raises:
        ImportError: Dask is not installed and ``cluster`` is given.
        OSError: the scheduler does not answer.
    """
    if not recordings:
        return
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if cluster is not None:
            stack.enter_context(_dask(cluster))
            stack.enter_context(parallel_config(backend="dask"))
        # Loky replaces workers that have grown large; no recording is lost.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        jobs = jobs or (-1 if cluster else min(len(recordings), os.cpu_count() or 1))
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
        work: dict[tuple[Recording, ...], list[Recording]] = {}
        for one in recordings:
            work.setdefault(how.person_of(one, everyone) or (one,), []).append(one)
        tasks = (delayed(analyze_together)(own, person, out.absolute(), how) for person, own in work.items())
        for outcomes in parallel(tasks):
            assert isinstance(outcomes, list)
            for outcome in outcomes:
                on_done(outcome)


def analyze_together(own: Sequence[Recording], person: Sequence[Recording], out: Path, how: How) -> list[Outcome]:
    """Analyse recordings of one person, each into ``out/NAME``; each of the person's is read once.

    On one thread, so that the files do not depend on the number of jobs.

    Args:
        own: to analyse.
        person: all that the neutral face is taken from.
        out: folder of the study.
        how: options.
    """
    with one_thread():
        if how.inverse.neutral is None:
            return [analyze_one(recording, out, how) for recording in own]
        sequences: dict[Recording, FaceSequence] = {}
        for recording in person:
            with suppress(*_FAILURES):  # what is broken says so when it is analysed
                sequences[recording] = _read(recording, how)
        return [analyze_one(recording, out, how, person, sequences) for recording in own]


def analyze_one(
    recording: Recording,
    out: Path,
    how: How,
    person: Sequence[Recording] = (),
    sequences: Mapping[Recording, FaceSequence] | None = None,
) -> Outcome:
    """Analyse one recording into ``out/NAME``; errors are part of the outcome.

    Args:
        recording: to analyse.
        out: folder of the study.
        how: options.
        person: all recordings of the person, if the neutral face is a percentile of them.
        sequences: those of them that could be read.
    """
    try:
        rig, ensemble, muscles, learned = tools(how)
        sequences = sequences or {}
        sequence = sequences[recording] if recording in sequences else _read(recording, how)
        neutral, inverse = how.rest.source(how.reading, rig), how.inverse
        if sequences:
            neutral = NeutralSource(inverse.neutral, tuple(sequences.values()))
            inverse = replace(inverse, neutral=None)
        found = analyse_recording(sequence, rig, ensemble, inverse, muscles, learned, neutral, how.sd)
        summary = {**found.summary(), _MADE_OF: how.made_of(recording, person)}
        summary["input"]["path"], summary["rig"]["path"] = str(recording.path), how.rig
        filmed = (
            read_frames(recording.path, how.reading.recorded_fps) if how.overlay and recording.kind == "video" else None
        )
        write_analysis(found, summary, out / recording.name, how.overlay, filmed)
    except _FAILURES as error:
        return Outcome(recording, None, str(error) or type(error).__name__)
    return Outcome(recording, summary)


def _read(recording: Recording, how: How) -> FaceSequence:
    given, rig = how.reading.applying_to(recording), tools(how)[0]
    own = replace(given, recorded_fps=None, count_rows=False)
    if recording.kind != "capture" or own == given:
        return given.read(recording.path, rig)
    try:
        return own.read(recording.path, rig)  # the times of a file are better than one rate for all files
    except ValueError:
        return given.read(recording.path, rig)


@lru_cache(maxsize=1)
def tools(how: How) -> tuple[FaceRig, Ensemble, Muscles | None, ForceMetric | None]:
    """The rig, the detector, the muscles and the learned metric, once per process."""
    rig, ensemble = load_rig(how.rig), Ensemble.of(how.run or DEFAULT_RUN)
    muscles = None if how.muscles is None else Muscles.load(how.muscles)
    return rig, ensemble, muscles, learned_metric(rig, muscles, PhysicsConfig(), how.inverse, how.rig, quiet=True)


def prepare_metric(how: How) -> None:
    """Find or estimate the learned metric, and say where it is from, before the recordings are shared out."""
    if how.inverse.metric == "learned":
        muscles = None if how.muscles is None else Muscles.load(how.muscles)
        learned_metric(load_rig(how.rig), muscles, PhysicsConfig(), how.inverse, how.rig)


def kept(recording: Recording, recordings: Sequence[Recording], out: Path, how: How) -> dict[str, Any] | None:
    """The summary of a recording that was analysed before in the same way; None if there is none."""
    file = out / recording.name / _SUMMARY
    try:
        summary = read_json_object(file) if file.is_file() else None
    except ValueError:
        return None
    return (
        summary
        if summary is not None and summary.get(_MADE_OF) == how.made_of(recording, how.person_of(recording, recordings))
        else None
    )


def find_people(outcomes: Sequence[Outcome], out: Path, how: How) -> list[Person]:
    """The people of a study, by the folders of their recordings, with their asymmetry over all that were analysed.

    Raises:
        ValueError, OSError: ``forces.csv`` of one of several recordings cannot be read; the message names it.
    """
    by_folder: dict[Path, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.summary is not None:
            by_folder.setdefault(outcome.recording.person, []).append(outcome)
    people = []
    for folder, own in by_folder.items():
        names = tuple(outcome.recording.name for outcome in own)
        summary = own[0].summary
        assert summary is not None, "only those that were analysed are here"
        index = AsymmetryIndex(**summary["asymmetry_index"])
        if len(own) > 1:
            index = _asymmetry_of_files([out / name / "forces.csv" for name in names], how)
        people.append(Person(own[0].recording.folder or folder.name, names, index))
    return people


def _asymmetry_of_files(files: Sequence[Path], how: How) -> AsymmetryIndex:
    muscles = {muscle.identifier: muscle for muscle in tools(how)[2] or Muscles.facs()}
    tables = [table for file in files for table in read_result(file)]
    names = [name for name in tables[0].names if name in muscles]
    forces = [table.values[:, [table.names.index(name) for name in names]] for table in tables]
    return asymmetry_index(forces, [muscles[name] for name in names])


def _dask(address: str) -> Any:
    """A client of a Dask cluster, as a context manager."""
    try:
        from dask.distributed import Client  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("--cluster needs Dask: pip install distributed") from error
    return Client(address)
