"""``biomechau analyze``: forces and action units of any number of recordings, without training anything."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from tyro.conf import OmitArgPrefixes, Positional, arg

from biomechau import __version__
from biomechau.analysis import Ensemble, analyse_recording
from biomechau.commands.command import Command, Switch, load_rig
from biomechau.commands.terminal import progress_bar, say, tell
from biomechau.corpus import read_sequence
from biomechau.corpus.recordings import Recording, find_recordings
from biomechau.json_file import read_json_object
from biomechau.physics import InverseOptions
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.reports.output import write_analysis
from biomechau.reports.study_files import write_study
from biomechau.rig import FaceRig, Muscles

_SUMMARY = "summary.json"
# Of the study, in the summary of each recording: what it was made of and by, to know whether it is still right.
_MADE_OF = "made_of"


@dataclass(frozen=True)
class How:
    """What the recordings of a study have in common; it is sent to the processes that analyse them.

    Attributes:
        rig: as the command line names it.
        run: folder of the detector; None for the one that comes with the package.
        muscles: table of muscles; None for the built-in one.
        recorded_fps: frame rate of the recordings, where they do not tell it [1/s].
        rigid, scale: of meshes, see :func:`biomechau.corpus.read_sequence`.
        overlay: whether to write a video of each.
        inverse: of the inverse dynamics.
    """

    rig: str
    run: Path | None
    muscles: Path | None
    recorded_fps: float | None
    rigid: bool
    scale: float
    overlay: bool
    inverse: InverseOptions

    def made_of(self, recording: Recording) -> dict[str, Any]:
        """What a result depends on, as JSON has it."""
        options = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        return {"files": recording.fingerprint(), "biomechau": __version__, "options": options}


class Outcome(NamedTuple):
    """Of one recording: its summary, or why there is none."""

    recording: Recording
    summary: dict[str, Any] | None
    error: str = ""


@dataclass(frozen=True)
class Analyze(Command):
    """Find the muscle forces and action units of recordings; nothing is trained.

    For each recording DIR/NAME/ gets forces.csv, action_units.csv, summary.json, forces.png and report.html; DIR gets
    study.csv, a row per recording, and index.html. Given again, it keeps what is done. A recording that fails is listed
    at the end, does not stop the others, and makes the exit status 2.
    """

    inputs: Annotated[
        tuple[Path, ...],
        Positional,
        arg(metavar="INPUT", help="Captures, take folders and zips, videos, mesh folders, or folders of all these."),
    ]
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")] = Path("biomechau-study")
    rig: Annotated[str, arg(metavar="FILE", help='Rig file for the forces, "builtin" or "builtin:9409".')] = "builtin"
    run_folder: Annotated[
        Path | None,
        arg(name="run", metavar="RUN", help="Trained run in place of the detector that comes with the package."),
    ] = None
    muscles: Annotated[Path | None, arg(metavar="CSV", help="Muscle table to use in place of the built-in one.")] = None
    recorded_fps: Annotated[
        float | None, arg(metavar="FPS", help="Frame rate of the recordings, where a file does not tell it [1/s].")
    ] = None
    rigid: Annotated[Switch, arg(help="Fit the head's rigid motion too, and take it out (meshes only).")] = False
    scale: Annotated[float, arg(help="Centimetres per unit of the recorded meshes.")] = 1.0
    overlay: Annotated[Switch, arg(help="Write overlay.mp4: the face coloured by force, with the curves.")] = False
    jobs: Annotated[
        int | None, arg(metavar="N", help="Recordings to analyse at a time; one per processor if not given.")
    ] = None
    cluster: Annotated[
        str | None, arg(metavar="ADDRESS", help="Dask scheduler whose workers analyse, such as tcp://host:8786.")
    ] = None
    inverse: OmitArgPrefixes[InverseOptions] = field(default_factory=InverseOptions)

    def run(self) -> None:
        """Find the recordings, analyse those that are not done, write the study."""
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"--jobs must be at least 1, got {self.jobs}")
        if self.overlay and not viz_available():
            raise ImportError(MISSING_VIZ)
        recordings = find_recordings(self.inputs, excluded=[self.out])
        how = How(
            self.rig,
            self.run_folder,
            self.muscles,
            self.recorded_fps,
            self.rigid,
            self.scale,
            self.overlay,
            self.inverse,
        )
        # Once here, so that what is wrong with all is one error.
        _tools(how)
        done = {recording: summary for recording in recordings if (summary := _kept(recording, self.out, how))}
        if done:
            say(f"{len(done)} of {len(recordings)} recordings are done and are kept")
        outcomes = {recording: Outcome(recording, summary) for recording, summary in done.items()}
        missing = [recording for recording in recordings if recording not in done]
        for outcome in self._analyse(missing, how):
            outcomes[outcome.recording] = outcome
        in_order = [outcomes[recording] for recording in recordings]
        written = write_study(
            self.out,
            {outcome.recording.name: outcome.summary for outcome in in_order if outcome.summary is not None},
            {recording.name: recording.folder for recording in recordings},
            {outcome.recording.name: outcome.error for outcome in in_order if outcome.summary is None},
        )
        if not viz_available():
            tell("note", MISSING_VIZ)
        say(*(f"wrote {path}" for path in written))
        failed = [outcome for outcome in in_order if outcome.summary is None]
        for outcome in failed:
            tell("error", f"{outcome.recording.name}: {outcome.error}")
        if failed:
            raise ValueError(f"{len(failed)} of {len(recordings)} recordings could not be analysed")

    def _analyse(self, recordings: list[Recording], how: How) -> list[Outcome]:
        from joblib import Parallel, delayed, parallel_config

        if not recordings:
            return []
        self.out.mkdir(parents=True, exist_ok=True)
        found = []
        with ExitStack() as stack:
            jobs = self.jobs or (-1 if self.cluster else min(len(recordings), os.cpu_count() or 1))
            if self.cluster is not None:
                stack.enter_context(_dask(self.cluster))
                stack.enter_context(parallel_config(backend="dask"))
            progress = stack.enter_context(progress_bar("analysing"))
            parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
            for outcome in parallel(
                delayed(analyze_one)(recording, self.out.absolute(), how) for recording in recordings
            ):
                found.append(outcome)
                progress(len(found), len(recordings))
                _announce(outcome, len(found), len(recordings))
        return found


def analyze_one(recording: Recording, out: Path, how: How) -> Outcome:
    """Analyse one recording into ``out/NAME``; what is wrong with it is in the outcome."""
    try:
        rig, ensemble, muscles = _tools(how)
        sequence = read_sequence(recording.path, rig, how.recorded_fps, how.rigid, how.scale)
        found = analyse_recording(sequence, rig, ensemble, how.inverse, muscles)
        summary = {**found.summary(), _MADE_OF: how.made_of(recording)}
        summary["input"]["path"], summary["rig"]["path"] = str(recording.path), how.rig
        write_analysis(found, summary, out / recording.name, how.overlay)
    except (OSError, ValueError, TypeError, ImportError, MemoryError) as error:
        return Outcome(recording, None, str(error) or type(error).__name__)
    return Outcome(recording, summary)


@lru_cache(maxsize=1)
def _tools(how: How) -> tuple[FaceRig, Ensemble, Muscles | None]:
    """The rig, the detector and the muscles, once per process."""
    ensemble = Ensemble.of(how.run) if how.run is not None else Ensemble.default()
    return load_rig(how.rig), ensemble, None if how.muscles is None else Muscles.load(how.muscles)


def _kept(recording: Recording, out: Path, how: How) -> dict[str, Any] | None:
    """The summary of a recording that was analysed before in the same way; None where there is none."""
    file = out / recording.name / _SUMMARY
    try:
        summary = read_json_object(file) if file.is_file() else None
    except ValueError:
        return None
    return summary if summary is not None and summary.get(_MADE_OF) == how.made_of(recording) else None


def _announce(outcome: Outcome, done: int, count: int) -> None:
    """One line, so that a log tells what happened."""
    say(f"{done} of {count}: {outcome.recording.name}{f': {outcome.error}' if outcome.error else ''}", flush=True)


def _dask(address: str) -> Any:
    """A client of a Dask cluster, as a context manager."""
    try:
        from dask.distributed import Client  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("--cluster needs Dask: pip install distributed") from error
    return Client(address)
