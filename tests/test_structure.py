"""How the package hangs together: imports in one direction, short files, names of their own."""

from __future__ import annotations

import ast
from collections import Counter
from importlib import import_module
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


def private_in(module: str) -> str | None:
    """The package within which a module is private, by a name with ``_`` on its path; None for a public one."""
    parts = module.split(".")
    private = next((place for place, part in enumerate(parts) if part.startswith("_")), None)
    return None if private is None else ".".join(parts[:private])


def test_private_modules_stay_in_their_room(graph: Graph) -> None:
    assert private_in("a.b._c.d") == "a.b"
    assert private_in("a.b.c") is None
    outside = [
        (module, other)
        for module, others in graph.items()
        for other in others
        if (home := private_in(other)) is not None and not f"{module}.".startswith(f"{home}.")
    ]
    assert outside == []
    assert sum(private_in(module) is not None for module in graph) > 30


def test_modules_that_only_their_room_imports_are_private(graph: Graph, files: dict[str, Path]) -> None:
    """But for those that define what the room exports: these are public by the name of the room."""
    for room in ("rig", "physics", "models", "training", "analysis", "reports", "corpus.simulator"):
        package = f"biomechau.{room}"
        inside = {name for name in graph if name.startswith(f"{package}.")} - {f"{package}.experiments"}
        used = {other for module, others in graph.items() if module not in inside for other in others}
        assert [name for name in sorted(inside - used) if private_in(name) is None] == [], room


def exported(tree: ast.Module) -> list[str]:
    """The public names that a package binds: imported, for types alone too, or assigned."""
    names = [
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("biomechau.")
        for alias in node.names
        if node.module != "biomechau._lazy"
    ]
    targets = (node.target for node in tree.body if isinstance(node, ast.AnnAssign))
    names += [target.id for target in targets if isinstance(target, ast.Name)]
    return sorted(name for name in names if not name.startswith("_"))


@pytest.mark.parametrize("room", [*ROOMS[:-1], "corpus.simulator", "corpus.datasets", "training.experiments"])
def test_what_is_public_is_listed(room: str, files: dict[str, Path]) -> None:
    """A room's ``__all__`` names exactly what its ``__init__.py`` exports, and all of it is there."""
    tree = ast.parse(files[f"biomechau.{room}"].read_text(encoding="utf-8"))
    values = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    (listed,) = map(ast.literal_eval, values)
    assert sorted(listed) == exported(tree)
    module = import_module(f"biomechau.{room}")
    assert [name for name in listed if not hasattr(module, name)] == []
    assert set(listed) <= set(dir(module))
    with pytest.raises(AttributeError, match="nothing"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize("room", ["rig", "physics", "corpus", "corpus.simulator", "models", "training"])
def test_names_are_loaded_from_where_types_are_checked(room: str, files: dict[str, Path]) -> None:
    """No name of a room is that of a module of it, which would hide it once imported."""
    package = f"biomechau.{room}"
    tree = ast.parse(files[package].read_text(encoding="utf-8"))
    (homes,) = (
        ast.literal_eval(node.args[1])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_names"
    )
    typed = {
        str(node.module): tuple(sorted(alias.name for alias in node.names))
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{package}.")
    }
    assert {f"{package}.{module}": tuple(sorted(names)) for module, names in homes.items()} == typed
    modules = {name.removeprefix(f"{package}.") for name in files if name.startswith(f"{package}.")}
    assert modules.isdisjoint(name for names in homes.values() for name in names)
