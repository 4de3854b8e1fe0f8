"""Analysis of the recordings of a study, in parallel processes or on a cluster."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from joblib import Parallel, delayed, parallel_config

from biomechau import __version__
from biomechau.analysis import AsymmetryIndex, Ensemble, analyse_recording, asymmetry_index
from biomechau.analysis.study import Person
from biomechau.commands._metric_cache import learned_metric
from biomechau.commands._reading_options import ReadingOptions
from biomechau.commands.command import load_rig
from biomechau.corpus.recordings import Recording
from biomechau.corpus.signals import read_result
from biomechau.corpus.video import read_frames
from biomechau.json_file import read_json_object
from biomechau.physics import ForceMetric, InverseOptions, PhysicsConfig
from biomechau.reports.output import write_analysis
from biomechau.rig import FaceRig, Muscles
from biomechau.training.run import DEFAULT_RUN

_SUMMARY = "summary.json"
# Entry in the summary of a recording: what the result depends on, to tell whether it is up to date.
_MADE_OF = "made_of"


@dataclass(frozen=True)
class How:
    """Options that all recordings of a study share; sent to the processes that analyse them.

    Attributes:
        rig: as on the command line.
        run: folder of the detector; None for the one that comes with the package.
        muscles: table of muscles; None for the built-in one.
        reading: how recordings are read; what a kind of recording has no use for is left out there.
        overlay: also write a video of each.
        inverse: options of inverse dynamics.
    """

    rig: str
    run: Path | None
    muscles: Path | None
    reading: ReadingOptions
    overlay: bool
    inverse: InverseOptions

    def made_of(self, recording: Recording) -> dict[str, Any]:
        """What a result depends on, as JSON values."""
        options = asdict(self, dict_factory=_as_json)
        return {"files": recording.fingerprint(), "biomechau": __version__, "options": options}


def _as_json(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields}


class Outcome(NamedTuple):
    """Result for one recording: its summary, or the error."""

    recording: Recording
    summary: dict[str, Any] | None
    error: str = ""


def analyze_all(
    recordings: Sequence[Recording],
    out: Path,
    how: How,
    jobs: int | None,
    cluster: str | None,
    on_done: Callable[[Outcome], None],
) -> None:
    """Analyse recordings in parallel.

    Args:
        recordings: to analyse, each into ``out/NAME``.
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
        for outcome in parallel(delayed(analyze_one)(recording, out.absolute(), how) for recording in recordings):
            assert isinstance(outcome, Outcome)
            on_done(outcome)


def analyze_one(recording: Recording, out: Path, how: How) -> Outcome:
    """Analyse one recording into ``out/NAME``; errors are part of the outcome."""
    try:
        rig, ensemble, muscles, learned = tools(how)
        sequence = how.reading.applying_to(recording).read(recording.path, rig)
        found = analyse_recording(sequence, rig, ensemble, how.inverse, muscles, learned)
        summary = {**found.summary(), _MADE_OF: how.made_of(recording)}
        summary["input"]["path"], summary["rig"]["path"] = str(recording.path), how.rig
        filmed = (
            read_frames(recording.path, how.reading.recorded_fps) if how.overlay and recording.kind == "video" else None
        )
        write_analysis(found, summary, out / recording.name, how.overlay, filmed)
    except (OSError, ValueError, TypeError, ImportError, MemoryError) as error:
        return Outcome(recording, None, str(error) or type(error).__name__)
    return Outcome(recording, summary)


@lru_cache(maxsize=1)
def tools(how: How) -> tuple[FaceRig, Ensemble, Muscles | None, ForceMetric | None]:
    """The rig, the detector, the muscles and the learned metric, once per process."""
    rig, ensemble = load_rig(how.rig), Ensemble.of(how.run or DEFAULT_RUN)
    muscles = None if how.muscles is None else Muscles.load(how.muscles)
    return rig, ensemble, muscles, learned_metric(rig, muscles, PhysicsConfig(), how.inverse)


def kept(recording: Recording, out: Path, how: How) -> dict[str, Any] | None:
    """The summary of a recording that was analysed before in the same way; None if there is none."""
    file = out / recording.name / _SUMMARY
    try:
        summary = read_json_object(file) if file.is_file() else None
    except ValueError:
        return None
    return summary if summary is not None and summary.get(_MADE_OF) == how.made_of(recording) else None


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
