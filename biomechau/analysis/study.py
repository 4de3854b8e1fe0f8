"""A study of many recordings, with one row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from biomechau.analysis.asymmetry import AsymmetryIndex

Row = dict[str, str | float | int | None]


class Person(NamedTuple):
    """Recordings of one folder, taken for those of one person.

    Attributes:
        name: of the folder.
        recordings: their names.
        asymmetry: over all of them.
    """

    name: str
    recordings: tuple[str, ...]
    asymmetry: AsymmetryIndex


def study_row(summary: Mapping[str, Any]) -> Row:
    """Key figures of one recording by column, from its ``summary.json``.

    Columns are ``seconds``, ``fps``, ``recorded_frames``, ``frames_without_face`` (of these), ``quality`` (mean
    over all frames, 0 to 1), ``residual_share``, ``warnings`` (their number), ``not_determined`` (muscles that face
    and tracker do not determine, as far as the metric knows, separated by spaces); ``asymmetry_total``,
    ``asymmetry_upper`` and ``asymmetry_lower`` (:func:`asymmetry_index` of this recording); for every muscle and
    side ``NAME_peak`` and ``NAME_mean`` [force unit] and ``NAME_time_of_peak`` [s]; for every paired muscle
    ``NAME_ratio_of_sums``; and for every action unit ``AU12_rate``, the share of the frames with a face in which it
    is on, and ``AU12_mean``, its mean probability; the same of ``AU12_left`` and ``AU12_right`` where sides are
    told; ``AU12_intensity_mean`` and ``AU12_intensity_peak``, 0 to 5, where intensities are.

    Args:
        summary: of :meth:`CaptureForces.summary`, with "quality" and, if there are any, "action_units".
    """
    frames = summary["frames"]
    row: Row = {
        "seconds": frames["end"] - frames["start"],
        "fps": frames["fps"],
        "recorded_frames": frames["recorded"]["count"],
        "frames_without_face": frames["recorded"]["without_face"],
        "quality": summary["quality"],
        "residual_share": summary["residual_share"],
        "warnings": len(summary["warnings"]),
        "not_determined": " ".join(summary["not_determined"]),
    }
    row |= {f"asymmetry_{region}": value for region, value in summary["asymmetry_index"].items()}
    for name, muscle in summary["muscles"].items():
        row |= {f"{name}_{what}": muscle[what] for what in ("peak", "mean", "time_of_peak")}
    row |= {f"{name}_ratio_of_sums": value for name, value in summary["ratio_of_sums"].items()}
    for name, unit in summary.get("action_units", {}).items():
        sides = {f"{name}_{side}": values for side, values in unit.get("sides", {}).items()}
        for column, values in {name: unit, **sides}.items():
            row |= {f"{column}_rate": values["share_on"], f"{column}_mean": values["mean"]}
        row |= {f"{name}_intensity_{what}": value for what, value in (unit.get("intensity") or {}).items()}
    return row
