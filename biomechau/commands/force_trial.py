"""``biomechau experiment forces``: how well inverse dynamics finds the forces of simulated people."""

from __future__ import annotations

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
    and the learned metric. Writes forces.json and forces.md. About ten minutes.
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
        from biomechau.files import replacing
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
            "subtracts nothing.",
            f"Not determined according to the metric: {', '.join(learned.undetermined) or 'none'}.",
        ]
        assert learned.recovery is not None
        recovery = dict(zip(learned.muscles, learned.recovery.tolist(), strict=True))
        self.out.mkdir(parents=True, exist_ok=True)
        texts = {
            "forces.json": to_json({"scores": [score.to_json() for score in scores]}) + "\n",
            "forces.md": force_trial_markdown(scores, heading, recovery, learned.undetermined),
        }
        for name, text in texts.items():
            with replacing(self.out / name) as partial:
                partial.write_text(text, encoding="utf-8")
        print_lines(texts["forces.md"], *(f"wrote {self.out / name}" for name in texts))
