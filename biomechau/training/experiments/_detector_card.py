"""The model card of the default detector, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from statistics import fmean, stdev
from typing import Any

from biomechau.corpus.simulator import SimulationConfig
from biomechau.rig.action_unit_names import NAMES, column_name
from biomechau.training._protocol import package_versions
from biomechau.training.cross_validation import CrossValidation
from biomechau.training.experiments._one_sided import ABSENT
from biomechau.training.intensity_scores import mean_intensity_scores
from biomechau.training.training_config import TrainingConfig

_WHAT = """# The default detector

Muscle forces and action units of a recording, for people without labels of their own. `biomechau predict` uses it where
`--run` names no other. `biomechau experiment default-detector --out DIR` makes it again, byte for byte on a machine of
the same kind with the same versions: {versions}.

**It was trained on simulated people alone and has seen no labelled real face.** How well it finds action units in real
faces is not known. Its figures say what it makes of people of the same simulator. Train on labelled recordings
(`biomechau train`) for anything that depends on action units.

- Input: blendshape coefficients by the names of ARKit in any spelling, resampled to {fps:g} frames a second. A channel
  that a recording lacks counts as 0, as the dead channels of the simulated trackers do. A unit whose muscles have no
  channel is marked: its probability says what usually goes with the others, no more.
- Output: a probability for each of {count} action units, on from the unit's threshold (`thresholds.json`), and an
  intensity from 0 (absent) to 5 (maximum), both of the left and the right side too where the unit has sides; and a
  force for each muscle of the built-in face, by the physical model with the default options.
- On means a visible intensity of {level:g} or more of the full one, which moves a shape to a coefficient of about 0.35.
{together}- Left and right: a mirrored recording gives the mirrored result. The probability of a unit is that of at
  least one side, so that it can be on while neither side is by itself.
- On the one real recording that was tried (3 s of Live Link Face, in view when the recipe was chosen among four) AU14
  is on in a quarter of the frames while the dimple channels stay below 0.33. Known to fail: AU4 is off in 3 of the 13
  frames in which one brow reaches 0.6.
- Another rig, and [what was tried](../../../benchmarks/results/simulated/default_detector.md).
"""


_GROUPS = {
    "single": "one shape, left and right together",
    "one_sided": "one shape of one side",
    "paired": "two shapes at once",
}


def card_text(
    config: TrainingConfig,
    people: Sequence[SimulationConfig],
    together: Sequence[Sequence[int]],
    tests: Mapping[str, tuple[SimulationConfig, CrossValidation]],
    found: Mapping[str, Any],
) -> str:
    """The card.

    Args:
        config: of the training.
        people: simulated to train on.
        together: action units that no shape tells apart.
        tests: the people tested on, and the evaluations by their seed, each under what it shows.
        found: contents of ``movements.json``.
    """
    versions = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    joined = "".join(
        f"- {' and '.join(column_name(unit) for unit in units)} have one muscle and its shapes: no channel tells them "
        "apart, and they are said together.\n"
        for units in together
    )
    head = _WHAT.format(
        versions=versions,
        fps=config.detector.physics.fps,
        count=len(config.detector.action_units),
        level=people[0].label_level or 0,
        together=joined,
    )
    return "\n".join(
        [
            head,
            _training(config, people),
            *_scores(tests),
            *_sides(tests, found),
            *_intensities(tests),
            *_movements(found),
        ]
    )


def _training(config: TrainingConfig, people: Sequence[SimulationConfig]) -> str:
    lines = ["## Training", ""]
    lines += [f"- people of the built-in face: {_changed(each)}" for each in people]
    lines += [
        "- every sixth person chooses the epoch and the thresholds, one is left out",
        f"- {config.epochs} epochs, {config.batch_size} windows of {config.num_frames} frames a step, learning rate "
        f"{config.learning_rate:g}, seed {config.seed}",
        "",
    ]
    return "\n".join(lines)


def _changed(config: SimulationConfig) -> str:
    """The options that differ from the defaults."""
    plain = SimulationConfig()
    values = {each.name: getattr(config, each.name) for each in fields(config)}
    return ", ".join(f"{name} {value}" for name, value in values.items() if value != getattr(plain, name))


def _scores(tests: Mapping[str, tuple[SimulationConfig, CrossValidation]]) -> list[str]:
    lines = ["## F1 on other simulated people", ""]
    for name, (config, result) in tests.items():
        seeds = ", ".join(map(str, result.evaluations))
        lines.append(f"- *{name}*: {_changed(config)}; seeds {seeds}")
    lines += [
        "",
        "At the threshold 0.5: mean of the seeds +- their standard deviation, in points; in brackets always saying on.",
        "",
    ]
    units = [unit.action_unit for unit in next(iter(tests.values()))[1].scores.units]
    lines += [f"| | {' | '.join(tests)} |", f"|---|{'---:|' * len(tests)}"]
    for row, unit in enumerate(units):
        cells = []
        for _, result in tests.values():
            own = [each.scores.units[row] for each in result.evaluations.values()]
            cells.append(_spread([each.f1 for each in own], [each.always_positive_f1 for each in own]))
        lines.append(f"| {column_name(unit)} {NAMES.get(unit, '')} | {' | '.join(cells)} |")
    means = []
    for _, result in tests.values():
        own = [each.scores.means for each in result.evaluations.values()]
        means.append(_spread([each.f1 for each in own], [each.always_positive_f1 for each in own]))
    return [*lines, f"| mean | {' | '.join(means)} |", ""]


def _sides(tests: Mapping[str, tuple[SimulationConfig, CrossValidation]], found: Mapping[str, Any]) -> list[str]:
    """How well left and right are told: in all frames, and where one side alone is on."""
    (name, (_, result)), *_ = tests.items()
    alone = found["one_side_alone"]
    if not result.sides or not alone:
        return []
    lines = [
        "## Left and right",
        "",
        f"On *{name}*: the area under the curve of each side's probability in all frames, mean of the seeds; and of",
        "both sides together in those frames of all seeds in which one side shows the unit and the other is below",
        f"an intensity of {ABSENT:g} (one-sided displays, people with one weak side), with the share in which the side",
        "that shows it is the more probable one; without people whose tracker has no channel for one of the sides.",
        "",
        "| | left | right | one side alone | that side | frames |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for left, right in zip(*(scores.units for scores in result.sides.values()), strict=True):
        unit = alone[column_name(left.action_unit)]
        cells = [_hundredths(value) for value in (left.auc, right.auc, unit["auc"])]
        cells.append("" if unit["rightly"] is None else f"{unit['rightly']:.0%}")
        name = f"{column_name(left.action_unit)} {NAMES.get(left.action_unit, '')}"
        lines.append(f"| {name} | {' | '.join(cells)} | {unit['frames']:,} |")
    return [*lines, ""]


def _intensities(tests: Mapping[str, tuple[SimulationConfig, CrossValidation]]) -> list[str]:
    """Agreement with the true intensity, beside the scaled probability."""
    (name, (_, result)), *_ = tests.items()
    if not result.intensities:
        return []
    names = ("icc", "r", "mae", "scaled_icc", "scaled_r", "scaled_mae")
    lines = [
        "## Intensities",
        "",
        f"Agreement with the visible intensity, 0 to 5, on *{name}*, mean of the seeds: ICC(3,1), correlation and mean",
        "absolute error; beside it the probability times the factor that fits these frames best.",
        "",
        "| | ICC | r | MAE | scaled p: ICC | r | MAE |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    rows = [(f"{column_name(u.action_unit)} {NAMES.get(u.action_unit, '')}", asdict(u)) for u in result.intensities]
    for unit, row in [*rows, ("mean", mean_intensity_scores(result.intensities))]:
        lines.append(f"| {unit} | {' | '.join(_hundredths(row[each]) for each in names)} |")
    return [*lines, ""]


def _hundredths(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _spread(values: Sequence[float | None], baseline: Sequence[float | None]) -> str:
    known, always = ([100 * value for value in part if value is not None] for part in (values, baseline))
    if not known:
        return ""
    return f"{fmean(known):.1f} +- {stdev(known) if len(known) > 1 else 0:.1f} ({fmean(always):.0f})"


def _movements(found: Mapping[str, Any]) -> list[str]:
    """The matrix of single movements, and what becomes of the others."""
    units = found["action_units"]
    shares = {name: found[name]["rightly"] for name in _GROUPS}
    counts = {name: len(found[name]["movements"]) for name in shares}
    lines = [
        "## Movements of one and of two shapes",
        "",
        "Neutral, up to 0.7, held, down again, all other shapes at 0. A movement is named rightly when the units of",
        "the muscles whose shapes it moves have a mean probability of 0.5 or more while it is held, others less:",
        "",
        *(f"- {what}: {shares[name]:.1%} of {counts[name]}" for name, what in _GROUPS.items()),
        "",
        "Probabilities in per cent, in bold where they should be on; `movements.json` has those of the pairs too.",
        "",
        f"| | {' | '.join(column_name(unit) for unit in units)} |",
        f"|---|{'---:|' * len(units)}",
    ]
    for group in ("single", "one_sided"):
        for name, row in found[group]["movements"].items():
            cells = [
                f"**{p}**" if unit in row["units"] else f"{p}" for unit, p in zip(units, row["percent"], strict=True)
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]
