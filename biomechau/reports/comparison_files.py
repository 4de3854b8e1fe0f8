"""The files of a comparison: ``comparison.csv``, ``comparison.json`` and ``comparison.png``."""

from __future__ import annotations

from pathlib import Path

from biomechau.analysis.comparison import MEASURES, ComparedSignal, Comparison
from biomechau.csv_output import write_rows
from biomechau.files import staged_directory
from biomechau.reports.figures import save_figure, viz_available
from biomechau.reports.output import to_json

TABLE, SUMMARY, PICTURE = "comparison.csv", "comparison.json", "comparison.png"


def write_comparison(comparison: Comparison, out: Path) -> list[Path]:
    """Write the table, the summary and, with the ``viz`` extra, the picture.

    Args:
        comparison: what to write.
        out: directory to write to, created if missing; see :func:`biomechau.files.staged_directory`.

    Returns:
        The files, in order of their names.

    Raises:
        OSError: ``out`` cannot be written.
    """
    bounds = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    header = ["result", "reference", "result_scale", "reference_scale", "frames", *bounds, "note"]
    with staged_directory(out, replaced=[PICTURE]) as stage:
        write_rows(stage / TABLE, header, map(_row, comparison.signals))
        (stage / SUMMARY).write_text(to_json(comparison.summary()) + "\n", encoding="utf-8")
        if viz_available():
            from biomechau.reports._comparison_figure import comparison_figure

            save_figure(comparison_figure(comparison), stage / PICTURE)
        names = sorted(path.name for path in stage.iterdir())
    return [Path(out) / name for name in names]


def _row(signal: ComparedSignal) -> list[object]:
    measures = [signal.measure(name) for name in MEASURES]
    numbers = [number for measure in measures for number in (measure.value, measure.low, measure.high)]
    cells = ["" if number is None else f"{number:.6g}" for number in numbers]
    return [signal.result, signal.reference, *signal.scales, signal.frames, *cells, signal.note]
