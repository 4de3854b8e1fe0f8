"""Figures in the READMEs are those of the results that they name. Figures of physics are held by its own tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from readme_figures import (
    ALL,
    DETECTOR,
    GAPS,
    KERNELS,
    LEARNED_METRIC,
    MESHES,
    READMES,
    SIMULATED_PEOPLE,
    paragraphs,
    printed,
)

from biomechau.corpus.face_sequence import MAX_GAP
from biomechau.corpus.simulator import SimulationConfig

TOP = Path(__file__).parents[1]
RESULTS = TOP / "benchmarks" / "results"
needs_results = pytest.mark.skipif(not RESULTS.is_dir(), reason="results are not part of the package")


def rows(name: str, heading: str = "# ") -> list[dict[str, str]]:
    """The first table of a result under a heading that begins so."""
    _, found, text = ("\n" + (RESULTS / name).read_text(encoding="utf-8")).partition(f"\n{heading}")
    assert found, f"{name} has no heading {heading}"
    table = re.search(r"^\|.*\n\|[-:| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table
    head, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines())
    return [dict(zip(head, cells, strict=True)) for cells in body]


def linked(pattern: str, *names: str) -> None:
    """Where a README prints these figures, it links to the results."""
    for readme in READMES:
        for text in paragraphs(readme):
            if re.search(pattern, text):
                assert [name for name in names if f"benchmarks/results/{name})" not in text] == [], readme


@needs_results
def test_of_the_detector() -> None:
    table1 = rows("simulated/experiments.md", "### Table 1: what the head sees")
    average = {row["row"]: row["Avg."] for row in table1}
    assert printed(DETECTOR) == {(average["3D physics"], average["always on"])}
    linked(DETECTOR, "simulated/experiments.md")


@needs_results
def test_of_the_inverse_on_simulated_people() -> None:
    people = {row["people"]: row for row in rows("simulated/forces.md", "## Median correlation")}
    second = [people[f"second, hardness {hardness}, noisy"] for hardness in (2, 1)]
    for figures, metric in ((SIMULATED_PEOPLE, "plain"), (LEARNED_METRIC, "learned")):
        assert printed(figures) == {tuple(f"0{row[metric].split()[0]}" for row in second)}
        linked(figures, "simulated/forces.md")


@needs_results
def test_of_the_kernels() -> None:
    names = ("cpu.md", "cpu-mass-convolution.md", "cpu-avx2.md")
    ratios = [
        float(row["ratio to best peer"])
        for name in names
        for row in rows(name)
        if row[""] == "f+b" and "learned=nothing" not in row["case"]
    ]
    assert printed(KERNELS) == {(f"{min(ratios):.1f}", f"{max(ratios):.0f}")}
    linked(KERNELS, *names)


def test_of_sizes_and_limits() -> None:
    default = SimulationConfig()
    values = default.subjects * default.sequences * default.frames * 9_409 * 3
    assert printed(MESHES) == {(f"{2 * values / 1e9:.1f}",)}
    assert printed(GAPS) == {(str(MAX_GAP),)}


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(TOP)))
def test_no_other_figure_is_printed(readme: Path) -> None:
    """A new one gets a pattern in ``readme_figures.py``, and a test."""
    for text in paragraphs(readme):
        for known in (*ALL, r"`[^`]*`", r"[Pp]ython 3\.\d+( to 3\.\d+)?", r"nvcc [\d.]+", r"\d+\.\d+\.\d+"):
            text = re.sub(known, "", text)
        assert re.findall(r"\d+\.\d+|\d+ (?:%|times|MB|GB)", text) == [], text
