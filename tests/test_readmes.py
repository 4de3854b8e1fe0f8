"""Every README: its Python runs, its commands are understood, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from biomechau.cli import parse

_REPOSITORY = Path(__file__).parents[1]
_READMES = sorted(
    path
    for path in [*_REPOSITORY.glob("*.md"), *_REPOSITORY.glob(".github/*.md"), *_REPOSITORY.glob("*/**/README.md")]
    if not {"build", "results", ".venv", ".pytest_cache"} & set(path.relative_to(_REPOSITORY).parts)
)
every_readme = pytest.mark.parametrize("readme", _READMES, ids=lambda path: str(path.relative_to(_REPOSITORY)))


def _commands(readme: Path) -> list[str]:
    """Lines of indented or fenced code that begin with the command, joined where they end with a backslash."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if part.startswith("biomechau ")]


@every_readme
def test_its_python_runs(readme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for example in Sybil([PythonCodeBlockParser()]).parse(readme).examples():  # they share their names
        example.evaluate()


@every_readme
def test_its_commands_are_understood(readme: Path) -> None:
    for command in _commands(readme):
        words = shlex.split(command, comments=True)[1:]
        if words not in (["--version"], ["--help"]):
            assert parse(words), command


@every_readme
def test_its_links_lead_somewhere(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, section = target.partition("#")
        linked = readme.parent / path if path else readme
        assert linked.exists(), f"{target}: no such file"
        if section:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert section in anchors, f"{target}: no such section"
