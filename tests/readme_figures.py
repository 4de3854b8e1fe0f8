"""Every figure that a README prints as measured, for the tests that hold it against what it comes from."""

from __future__ import annotations

import re
from pathlib import Path

_REPOSITORY = Path(__file__).parents[1]
READMES = sorted([_REPOSITORY / "README.md", *_REPOSITORY.glob("biomechau/*/README.md")])
READMES += [_REPOSITORY / folder / "README.md" for folder in ("benchmarks", "csrc", "tests")]

# White space is one blank. Groups are the figures.
DETECTOR = r"a mean F1 of (\d+(?:\.\d+)?); always predicting \"on\" gives (\d+(?:\.\d+)?)"
KERNELS = r"the kernels are (\d+(?:\.\d+)?) to (\d+(?:\.\d+)?) times as fast as"
RECOVERY = (
    r"noise of 0\.02 on every coefficient\)?,? the median correlation with the true forces is (\d+(?:\.\d+)?)"
    r"(?: and that of|,) the (?:worst|lowest) of (\d+) muscles (\d+(?:\.\d+)?)"
)
PAPER_RECOVERY = r"gives a median of (\d+(?:\.\d+)?), since Eq\. 5 makes force an acceleration and (\d+) of its (\d+)"
SIMULATED_PEOPLE = r"there the median correlation is (\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)"
LEARNED_METRIC = r"and (\d+(?:\.\d+)?) to (\d+(?:\.\d+)?) with `--metric learned`"
CAPTURE = r"the channels of their own shapes by (\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)"
LEAKS = (
    r"a movement of 0\.16 s gives them at most (\d+(?:\.\d+)?) of its own force on the built-in face "
    r"and (\d+(?:\.\d+)?) on that of ICT-FaceKit"
)
LEAKS_OF_RATES = (
    r"at 60 frames per second (\d+(?:\.\d+)?) and (\d+(?:\.\d+)?), at 240 (\d+(?:\.\d+)?) and (\d+(?:\.\d+)?)"
)
LEAKS_BEFORE = r"the figures of the built-in face are (\d+(?:\.\d+)?) for 2 s and (\d+(?:\.\d+)?) for 0\.16 s"
MESHES = r"meshes that are more than their coefficients \((\d+(?:\.\d+)?) GB\)"
GAPS = r"Gaps of up to (\d+(?:\.\d+)?) s are bridged"
ALL = (
    DETECTOR,
    KERNELS,
    RECOVERY,
    PAPER_RECOVERY,
    SIMULATED_PEOPLE,
    LEARNED_METRIC,
    CAPTURE,
    LEAKS,
    LEAKS_OF_RATES,
    LEAKS_BEFORE,
    MESHES,
    GAPS,
)


def paragraphs(readme: Path) -> list[str]:
    """The prose and tables of a README without its blocks of code, white space as one blank."""
    text = re.sub(r"^```.*?^```", "", readme.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(block.split()) for block in re.split(r"\n\s*\n", text) if not block.startswith("    ")]


def printed(pattern: str) -> set[tuple[str, ...]]:
    """The figures of a pattern wherever a README prints them: one tuple where they all agree."""
    found = {
        match.groups() for readme in READMES for text in paragraphs(readme) for match in re.finditer(pattern, text)
    }
    assert found, f"no README prints {pattern}"
    return found
