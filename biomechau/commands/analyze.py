"""``biomechau analyze``: forces and action units of any number of recordings, without training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from biomechau.commands._reading_options import ReadingOptions
from biomechau.commands._rest_options import RestOptions
from biomechau.commands.command import Command, Deviations, Switch, check_deviations
from biomechau.commands.terminal import print_lines, print_message, progress_bar
from biomechau.physics import InverseOptions


@dataclass(frozen=True)
class Analyze(Command):
    """Compute the muscle forces and action units of recordings, without training.

    Writes forces.csv, action_units.csv, summary.json, forces.png and report.html of each recording into DIR/NAME/, and
    study.csv, one row per recording, and index.html into DIR. Recordings that lie in one folder are taken for those of
    one person: --neutral is over all of them, and so is the person's asymmetry. When the command is repeated, finished
    recordings are kept. A recording that fails is listed at the end, does not stop the others, and makes the exit
    status 2. --recorded-fps and --count-rows concern tables whose own times cannot be used.
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
        arg(name="run", metavar="RUN", help="Trained run to use instead of the detector that comes with the package."),
    ] = None
    muscles: Annotated[Path | None, arg(metavar="CSV", help="Muscle table to use instead of the built-in one.")] = None
    sd: Deviations = False
    overlay: Annotated[Switch, arg(help="Write overlay.mp4: the face coloured by force, with the curves.")] = False
    jobs: Annotated[
        int | None, arg(metavar="N", help="Recordings to analyse in parallel; one per processor if not given.")
    ] = None
    cluster: Annotated[
        str | None, arg(metavar="ADDRESS", help="Dask scheduler of the workers, such as tcp://host:8786.")
    ] = None
    reading: OmitArgPrefixes[ReadingOptions] = field(default_factory=ReadingOptions)
    rest: OmitArgPrefixes[RestOptions] = field(default_factory=RestOptions)
    inverse: OmitArgPrefixes[InverseOptions] = field(default_factory=InverseOptions)

    def run(self) -> None:
        """Find the recordings, analyse those that are not finished, write the study."""
        if self.out.exists() and not self.out.is_dir():
            raise FileExistsError(f"{self.out} is a file, expected a folder (--out)")
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"--jobs must be at least 1, got {self.jobs}")
        self.rest.check(self.inverse.neutral)
        check_deviations(self.sd, self.inverse)
        from biomechau.commands._study import How, Outcome, analyze_all, find_people, kept, prepare_metric, tools
        from biomechau.corpus.recordings import find_recordings
        from biomechau.physics.force_metric import NEUTRAL
        from biomechau.reports.figures import MISSING_VIZ, viz_available
        from biomechau.reports.study_files import write_study

        if self.overlay and not viz_available():
            raise ImportError(MISSING_VIZ)
        recordings = find_recordings(self.inputs, excluded=[self.out])
        self.reading.check_used(recordings)
        inverse = self.inverse
        if inverse.metric == "learned" and inverse.neutral is None and not self.rest.given:
            inverse = replace(inverse, neutral=NEUTRAL)  # of the person, not of each recording
        how = How(self.rig, self.run_folder, self.muscles, self.reading, self.overlay, inverse, self.rest, self.sd)
        prepare_metric(how)
        tools(how)  # here too, so that an error that concerns all recordings is raised once
        outcomes = {
            recording: Outcome(recording, summary)
            for recording in recordings
            if (summary := kept(recording, recordings, self.out, how)) is not None
        }
        if outcomes:
            print_lines(f"{len(outcomes)} of {len(recordings)} recordings are finished and kept")
        missing = [recording for recording in recordings if recording not in outcomes]
        with progress_bar("analysing") as progress:
            count = 0

            def on_done(outcome: Outcome) -> None:
                nonlocal count
                count += 1
                outcomes[outcome.recording] = outcome
                progress(count, len(missing))
                failed = ": failed" if outcome.error else ""  # the reason follows at the end
                print_lines(f"{count} of {len(missing)}: {outcome.recording.name}{failed}", flush=True)
                for warning in outcome.summary["warnings"] if outcome.summary else ():
                    print_message("warning", f"{outcome.recording.name}: {warning}")

            try:
                analyze_all(missing, recordings, self.out, how, self.jobs, self.cluster, on_done)
            except KeyboardInterrupt:
                print_message("note", "stopped; the same command continues")
                raise
        in_order = [outcomes[recording] for recording in recordings]
        failed = [outcome for outcome in in_order if outcome.summary is None]
        written = write_study(
            self.out,
            {outcome.recording.name: outcome.summary for outcome in in_order if outcome.summary is not None},
            {recording.name: recording.folder for recording in recordings},
            {outcome.recording.name: outcome.error for outcome in failed},
            find_people(in_order, self.out, how),
        )
        if not viz_available():
            print_message("note", MISSING_VIZ)
        print_lines(*(f"wrote {path}" for path in written))
        for outcome in failed:
            print_message("error", f"{outcome.recording.name}: {outcome.error}")
        if failed:
            raise ValueError(f"{len(failed)} of {len(recordings)} recordings could not be analysed")
