"""A small simulated corpus, a run of all its folds, and what every command does when it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from commands.small import SMALL, UNITS

from biomechau.cli import main
from biomechau.corpus import Corpus, CorpusWriter
from biomechau.corpus.simulator import SimulationConfig, write_simulated_corpus
from biomechau.rig import FaceRig


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """6 subjects with 2 sequences of 48 frames, of four action units."""
    folder = tmp_path_factory.mktemp("corpora")
    size = SimulationConfig(subjects=6, sequences=2, frames=48, coarse_vertices=100, seed=1)
    config = replace(size, displays="table", sides="tied", trackers="alike", label_level=None)  # on as often as in BP4D
    write_simulated_corpus(FaceRig.builtin(1000), folder / "all", config)
    whole = Corpus.open(folder / "all")
    columns = [whole.action_units.index(int(unit)) for unit in UNITS]
    with CorpusWriter(folder / "four", whole.rig, map(int, UNITS), whole.fps, muscles=whole.muscles) as writer:
        for sequence in whole:
            writer.add(replace(sequence, labels=sequence.labels[:, columns], side_intensities=None, side_labels=None))
    return Corpus.open(folder / "four")


@pytest.fixture(scope="session")
def run_folder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three folds, trained."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "--corpus", str(corpus.path), "--out", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture(scope="session")
def rig_file(tiny_rig: FaceRig, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("rig") / "tiny.safetensors"
    tiny_rig.save(path)
    return str(path)


@pytest.fixture
def no_viz(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without the ``viz`` extra."""
    # Imported before the first is patched: one that is imported after it would keep the patch.
    rooms = [import_module(f"biomechau.reports.{name}") for name in ("figures", "output", "comparison_files")]
    for room in rooms:
        monkeypatch.setattr(room, "viz_available", lambda: False)


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Exit code 2, and a last line on stderr that holds the words."""

    def check(*arguments: object, words: str | tuple[str, ...]) -> None:
        assert main([str(argument) for argument in arguments]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("biomechau: error: ")
        for word in (words,) if isinstance(words, str) else words:
            assert word in line

    return check
