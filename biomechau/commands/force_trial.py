"""``biomechau experiment forces`` and ``asymmetry``: forces and weak sides of simulated people, found and true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from biomechau.commands.command import Command, load_rig
from biomechau.commands.terminal import print_lines, progress_bar


@dataclass(frozen=True)
class ForceTrial(Command):
    """Find the forces of simulated people by inverse dynamics, and compare them with the true ones.

    Four groups of people, two of them from a second simulator that shares nothing with the first; tracker with and
    without noise, hardness 1 and 2; the channel of each muscle alone, the detectors of a run, plain inverse dynamics,
    the learned metric, and a linear filter that was trained on other people of the same simulator. Writes forces.json
    and forces.md. About half an hour.
    """

    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")]
    rig: Annotated[str, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')] = "builtin"
    run_folder: Annotated[
        Path | None, arg(name="run", metavar="RUN", help="Run on the same rig; the default detector if not given.")
    ] = None
    people: Annotated[int, arg(metavar="N", help="People of each group and seed.")] = 12
    seeds: Annotated[int, arg(metavar="N", help="Sets of people.")] = 2

    def run(self) -> None:
        """Simulate, invert, compare, write."""
        if self.people < 2 or self.seeds < 1:
            raise ValueError(f"--people must be at least 2 and --seeds 1, got {self.people} and {self.seeds}")
        import torch

        from biomechau import __version__
        from biomechau.analysis import Ensemble
        from biomechau.analysis.force_trial import run_force_trial
        from biomechau.commands._metric_cache import learned_metric
        from biomechau.physics import FaceDynamics, InverseOptions, PhysicsConfig
        from biomechau.reports.force_trial_tables import force_trial_markdown
        from biomechau.reports.output import to_json
        from biomechau.rig import Distribution
        from biomechau.training.run import DEFAULT_RUN

        rig, config = load_rig(self.rig), PhysicsConfig()
        ensemble = Ensemble.of(self.run_folder or DEFAULT_RUN)
        learned = learned_metric(rig, None, config, InverseOptions(metric="learned"), self.rig)
        assert learned is not None
        dynamics = FaceDynamics(rig, Distribution.from_rig(rig), config, torch.float64)
        with progress_bar("forces of simulated people") as progress:
            scores = run_force_trial(rig, dynamics, learned, ensemble, self.people, self.seeds, progress)
        heading = [
            f"Simulated people, not real ones: {self.people} per group and seed, {self.seeds} seeds, rig {self.rig}, "
            f"biomechau {__version__}, torch {torch.__version__}. Medians over the muscles of r over all frames; "
            "median over the seeds, in brackets the lowest and the highest. Nothing was learned from these people; "
            "weights and the widening of the intervals were chosen on others of both simulators. `plain, at rest` and "
            "`learned` subtract the neutral face of the person, the 10th percentile over all recordings; `plain` "
            "subtracts nothing. `filter` is what linear means can reach, and no method for real people: a linear "
            "filter over 9 frames from 60 others of the same group, hardness and tracker, with their true forces.",
            f"Not determined according to the metric: {', '.join(learned.undetermined) or 'none'}.",
        ]
        assert learned.recovery is not None
        recovery = dict(zip(learned.muscles, learned.recovery.tolist(), strict=True))
        texts = {
            "forces.json": to_json({"scores": [score.to_json() for score in scores]}) + "\n",
            "forces.md": force_trial_markdown(scores, heading, recovery, learned.undetermined),
        }
        _write(self.out, texts)
        print_lines(texts["forces.md"], *(f"wrote {self.out / name}" for name in texts))


@dataclass(frozen=True)
class AsymmetryTrial(Command):
    """Tell people with one weak side from even ones by the index of asymmetry, on simulated people of two simulators.

    By the true forces, the channels of the muscles alone, the forces of plain inverse dynamics and those of the learned
    metric, at hardness 1 and 2. Writes asymmetry.json and asymmetry.md. About ten minutes.
    """

    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")]
    rig: Annotated[str, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')] = "builtin"
    people: Annotated[int, arg(metavar="N", help="People of each group.")] = 100

    def run(self) -> None:
        """Simulate, invert, compare, write."""
        if self.people < 2:
            raise ValueError(f"--people must be at least 2, got {self.people}")
        import torch

        from biomechau import __version__
        from biomechau.analysis.asymmetry_trial import run_asymmetry_trial
        from biomechau.commands._metric_cache import learned_metric, model_of
        from biomechau.physics import InverseOptions, PhysicsConfig
        from biomechau.reports.force_trial_tables import asymmetry_trial_markdown
        from biomechau.reports.output import to_json

        rig = load_rig(self.rig)
        learned = learned_metric(rig, None, PhysicsConfig(), InverseOptions(metric="learned"), self.rig)
        assert learned is not None
        with progress_bar("asymmetry of simulated people") as progress:
            scores = run_asymmetry_trial(rig, model_of(rig), learned, self.people, progress)
        heading = [
            f"Simulated people, not real ones: {self.people} of each group and hardness, noisy trackers, "
            f"rig {self.rig}, biomechau {__version__}, torch {torch.__version__}. A weak side keeps 0 to 60 % of its "
            "strength; the sides of even faces differ from event to event too. r and error: against the index of the "
            "true forces, over all people; AUC: size of the index, weak against even; specificity: share of the even "
            "people below the threshold that finds nine of ten weak ones. Nothing was learned from these people.",
        ]
        texts = {
            "asymmetry.json": to_json({"scores": [score.to_json() for score in scores]}) + "\n",
            "asymmetry.md": asymmetry_trial_markdown(scores, heading),
        }
        _write(self.out, texts)
        print_lines(texts["asymmetry.md"], *(f"wrote {self.out / name}" for name in texts))


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    from biomechau.files import replacing

    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
