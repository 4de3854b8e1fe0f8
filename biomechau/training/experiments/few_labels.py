"""Table 4: few labels, with and without the physics to learn from."""

from __future__ import annotations

from collections.abc import Iterator

from biomechau.training.experiments.experiment import Experiment, Row, Setup

SHARES = (0.5, 0.2, 0.05)
# Every term of Eq. 17 but that of the action units.
ACTION_UNITS_ONLY = {
    f"losses.{term}": 0.0 for term in ("reconstruction", "clean", "smooth", "slack", "inverse_dynamics")
}


def table4(setup: Setup) -> Experiment:
    """The paper's Table 4: AU loss alone against all losses, with the labels of a few sequences."""
    return Experiment(
        "table4",
        "Labels of a few sequences",
        tuple(row for share in SHARES for row in _rows(share)),
        seeds=3,
        fold_of_seed=True,
        units=False,
        notes=(
            "labels are kept or hidden by whole sequences of the training subjects, drawn anew with each seed; the "
            "validation subjects keep theirs",
            'gain: Avg. of "AU + reconstruction" less that of "AU", run for run',
            "position has no physics: what the coefficients say without it",
        ),
    )


def _rows(share: float) -> Iterator[Row]:
    percent, name = f"{share:.0%}".replace("%", " %"), f"labels{share * 100:02.0f}"
    for head in ("force", "physics"):
        changes = {"detector.head": head, "label_share": share}
        alone = f"{name}_{head}_au"
        yield Row(alone, f"{percent}, {head}: AU", {**changes, **ACTION_UNITS_ONLY})
        yield Row(f"{name}_{head}", f"{percent}, {head}: AU + reconstruction", changes, against=alone)
    yield Row(f"{name}_position", f"{percent}, position", {"detector.head": "position", "label_share": share})
