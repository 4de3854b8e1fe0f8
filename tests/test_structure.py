"""How the package hangs together: imports in one direction, short files, names of their own."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

import biomechau

PACKAGE = Path(biomechau.__file__).parent
# Each imports only from those above it.
ROOMS = ("ops", "rig", "physics", "corpus", "models", "training", "analysis", "reports", "commands")
Graph = dict[str, set[str]]


def module_name(path: Path) -> str:
    """Dotted name of a file of the package, that of the package itself for its ``__init__.py``."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, modules: set[str]) -> set[str]:
    """The modules among ``modules`` that a file names in its imports, those in functions and for types alone too.

    ``from package import name`` means the module ``package.name`` where there is one, and else the package: its own
    file must have been run to give the name.
    """
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, "imports of the package are absolute"
            names = {alias.name for alias in node.names} - {"_core"}  # compiled, and imports nothing of the package
            found |= {full if (full := f"{node.module}.{name}") in modules else node.module for name in names}
    return found & modules


def circles(graph: Graph) -> list[list[str]]:
    """A shortest circle through each module that is on one, each circle once."""
    found: dict[frozenset[str], list[str]] = {}
    for start in graph:
        before: dict[str, str] = {}
        waiting = [start]
        for module in waiting:
            for other in sorted(graph[module]):
                if other == start:
                    circle = [module]
                    while circle[-1] != start:
                        circle.append(before[circle[-1]])
                    found.setdefault(frozenset(circle), circle[::-1])
                    waiting.clear()
                    break
                if other not in before and other != start:
                    before[other] = module
                    waiting.append(other)
    return list(found.values())


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.fixture(scope="module")
def graph(files: dict[str, Path]) -> Graph:
    modules = set(files)
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in files.items()}
    return {name: imported(tree, modules) - {name} for name, tree in trees.items()}


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"c"}, "e": {"a"}}
    assert sorted(map(sorted, circles(graph))) == [["a", "b", "c"], ["c", "d"]]
    tree = ast.parse(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import q\ndef f():\n    import p.r"
    )
    assert imported(tree, {"p", "p.q", "p.r", "p.s"}) == {"p.q", "p.r"}


def test_no_file_imports_one_that_imports_it(graph: Graph) -> None:
    """Not even within a function: what has to be put off has the wrong home."""
    assert len(graph) > 100
    assert circles(graph) == []


def test_rooms_import_from_those_above_them(graph: Graph) -> None:
    def room(module: str) -> int | None:
        parts = module.split(".")
        return ROOMS.index(parts[1]) if len(parts) > 1 and parts[1] in ROOMS else None

    upwards = [
        (module, other)
        for module, others in graph.items()
        for other in others
        if (own := room(module)) is not None and (room(other) or 0) > own
    ]
    assert upwards == []


def test_reports_only_draw(graph: Graph) -> None:
    """They get results: no dynamics, no detector, no simulator, no training."""
    makers = ("biomechau.physics", "biomechau.corpus.simulator", "biomechau.models.detector", "biomechau.models")
    for module, others in graph.items():
        if module.startswith("biomechau.reports"):
            assert not others.intersection(makers), module
            assert not any(other.startswith("biomechau.physics.") for other in others), module


def test_files_have_names_of_their_own(files: dict[str, Path]) -> None:
    """But for commands, which may bear the name of what they command."""
    counts = Counter(path.name for path in files.values() if path.parent.name != "commands")
    assert [name for name, count in counts.items() if count > 1 and name != "__init__.py"] == []


def test_files_are_short(files: dict[str, Path]) -> None:
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in files.items()}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_rooms_keep_their_private_files(graph: Graph) -> None:
    """A file whose name begins with an underscore is imported in its own folder only."""
    parents = {module: module.rpartition(".")[0] for module in graph}
    private = {module for module in graph if module.rpartition(".")[2].startswith("_")}
    assert "biomechau.ops._backend" in private
    borrowed = [
        (module, other)
        for module, others in graph.items()
        for other in others & private
        if not f"{module}.".startswith(f"{parents[other]}.")
    ]
    assert borrowed == []


@pytest.mark.parametrize("room", ["analysis", "ops", "reports"])
def test_what_is_public_is_listed(room: str, files: dict[str, Path]) -> None:
    """A room's ``__all__`` names exactly what its ``__init__.py`` imports."""
    tree = ast.parse(files[f"biomechau.{room}"].read_text(encoding="utf-8"))
    names = [alias.asname or alias.name for n in tree.body if isinstance(n, ast.ImportFrom) for alias in n.names]
    (listed,) = [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)]
    assert sorted(names) == sorted(listed)
