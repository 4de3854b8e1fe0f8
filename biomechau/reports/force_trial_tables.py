"""Tables of a trial of the inverse on simulated people, as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import mean, median

from biomechau.analysis import asymmetry_trial
from biomechau.analysis.asymmetry_trial import AsymmetryScore
from biomechau.analysis.force_trial import GROUPS, HARDNESS, METHODS, Score
from biomechau.rig.muscles import split_identifier


def force_trial_markdown(
    scores: Sequence[Score], heading: Sequence[str], recovery: Mapping[str, float], undetermined: Collection[str]
) -> str:
    """Median r by group, asymmetry, and r by muscle: means over the seeds, with the lowest and the highest.

    Args:
        scores: of :func:`biomechau.analysis.force_trial.run_force_trial`.
        heading: lines above the tables.
        recovery: of each muscle, by the learned metric.
        undetermined: muscles that the learned metric calls so.
    """
    lines = ["# Forces of simulated people", "", *heading, ""]
    lines += [f"- `{group}`: {words}" for group, words in GROUPS.items()]
    lines += ["", "## Median correlation with the true forces", ""]
    lines += ["| people | " + " | ".join(METHODS) + " |", "|---|" + "---|" * len(METHODS)]
    for group in GROUPS:
        for hardness in HARDNESS:
            for clean in (False, True):
                cells = []
                for method in METHODS:
                    values = [s.median for s in _of(scores, group, hardness, clean) if s.method == method]
                    cells.append(_spread(values))
                words = f"{group}, hardness {hardness:g}, {'clean' if clean else 'noisy'}"
                lines.append(f"| {words} | " + " | ".join(cells) + " |")
    lines += ["", "## Asymmetry of a person, (L - R) / (L + R) of all paired muscles", ""]
    lines += ["| people, noisy | " + " | ".join(f"{m}: r | error" for m in METHODS) + " |"]
    lines += ["|---|" + "---|" * (2 * len(METHODS))]
    for group in GROUPS:
        for hardness in HARDNESS:
            cells = []
            for method in METHODS:
                chosen = [s for s in _of(scores, group, hardness, False) if s.method == method]
                cells += [_spread([s.asymmetry_r for s in chosen]), _spread([s.asymmetry_error for s in chosen])]
            lines.append(f"| {group}, hardness {hardness:g} | " + " | ".join(cells) + " |")
    lines += ["", "## Share of the true forces in the intervals of 90 % of the learned metric", ""]
    lines += ["| people | where the found or the true force is above 0.05 | all |", "|---|---|---|"]
    for group in GROUPS:
        for hardness in HARDNESS:
            for clean in (False, True):
                chosen = [s for s in _of(scores, group, hardness, clean) if s.coverage is not None]
                cells = [_spread([s.coverage or 0.0 for s in chosen]), _spread([s.coverage_all or 0.0 for s in chosen])]
                words = f"{group}, hardness {hardness:g}, {'clean' if clean else 'noisy'}"
                lines.append(f"| {words} | " + " | ".join(cells) + " |")
    lines += ["", "## By muscle: mean r over the seeds, noisy, hardness 1 and 2 together", ""]
    columns = [(group, method) for group in ("package", "second") for method in METHODS]
    lines += ["| muscle | " + " | ".join(f"{group}: {method}" for group, method in columns) + " |"]
    lines += ["|---|" + "---|" * len(columns)]
    for muscle in scores[0].r:
        cells = []
        for group, method in columns:
            found = [s.r[muscle] for s in scores if (s.group, s.method, s.clean) == (group, method, False)]
            values = [value for value in found if value is not None]
            cells.append(_number(mean(values)) if values else "")
        lines.append(f"| {muscle} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, *_of_people(scores, recovery, undetermined)]) + "\n"


def _of_people(scores: Sequence[Score], recovery: Mapping[str, float], undetermined: Collection[str]) -> list[str]:
    """The table of what a person can expect, beside what the metric says of it."""
    columns = [(group, method) for group in ("package", "second") for method in ("own channel", "plain", "learned")]
    lines = [
        "",
        "## In a person: median of r over the people who use the muscle, both sides together, noisy, hardness 1 and 2",
        "",
        "| muscle | of the metric's people | " + " | ".join(f"{group}: {method}" for group, method in columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for muscle, r in recovery.items():
        name, side = split_identifier(muscle)
        if side == "right":
            continue
        cells = [_number(r) + (", not determined" if muscle in undetermined else "")]
        for group, method in columns:
            chosen = [s for s in scores if (s.group, s.method, s.clean) == (group, method, False)]
            people = [value for score in chosen for value in score.r_of_people[muscle]]
            cells.append(_number(median(people)) if people else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def asymmetry_trial_markdown(scores: Sequence[AsymmetryScore], heading: Sequence[str]) -> str:
    """A row for each group and method.

    Args:
        scores: of :func:`biomechau.analysis.asymmetry_trial.run_asymmetry_trial`.
        heading: lines above the table.
    """
    lines = ["# Index of asymmetry of simulated people", "", *heading, ""]
    lines += [f"- `{group}`: {words}" for group, words in asymmetry_trial.GROUPS.items()]
    lines += ["", "| people | even, weak | index of | r | error | AUC | specificity |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {s.group}, hardness {s.hardness:g} | {s.even}, {s.weak} | {s.method} | "
        + " | ".join(map(_number, (s.r, s.error, s.auc, s.specificity)))
        + " |"
        for s in scores
    ]
    return "\n".join(lines) + "\n"


def _of(scores: Sequence[Score], group: str, hardness: float, clean: bool) -> list[Score]:
    return [s for s in scores if (s.group, s.hardness, s.clean) == (group, hardness, clean)]


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return _number(values[0])
    return f"{_number(median(values))} ({_number(min(values))} to {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1)
