"""A study of many recordings, with one row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = dict[str, str | float | int | None]


def study_row(summary: Mapping[str, Any]) -> Row:
    """Key figures of one recording by column, from its ``summary.json``.

    Columns are ``seconds``, ``fps``, ``recorded_frames``, ``frames_without_face`` (of these), ``quality`` (mean over
    all frames, 0 to 1), ``residual_share``, ``warnings`` (their number); for every muscle and side ``NAME_peak`` and
    ``NAME_mean`` [force unit] and ``NAME_time_of_peak`` [s]; for every paired muscle ``NAME_asymmetry``; and for every
    action unit ``AU12_rate``, the share of the frames with a face in which it is on, and ``AU12_mean``, its mean
    probability.

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
    }
    for name, muscle in summary["muscles"].items():
        row |= {f"{name}_{what}": muscle[what] for what in ("peak", "mean", "time_of_peak")}
    row |= {f"{name}_asymmetry": value for name, value in summary["asymmetry"].items()}
    for name, unit in summary.get("action_units", {}).items():
        row |= {f"{name}_rate": unit["share_on"], f"{name}_mean": unit["mean"]}
    return row


def asymmetry_in_words(index: float | None) -> str:
    """The stronger side of the subject in words: ``"left, +0.25"``."""
    if index is None:
        return ""
    side = "even" if abs(index) < 0.005 else "left" if index > 0 else "right"
    return f"{side}, {index:+.2f}"
