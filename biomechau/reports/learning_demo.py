"""The second part of the demonstration: a small simulated corpus, a short training, its scores."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from biomechau.corpus import Corpus, subject_folds
from biomechau.corpus.simulator import SimulationConfig, write_simulated_corpus
from biomechau.rig import FaceRig
from biomechau.training.run import CONFIG
from biomechau.training.runs import fold_folder, open_runs
from biomechau.training.training_config import TrainingConfig

if TYPE_CHECKING:
    from biomechau.training.cross_validation import CrossValidation

# Small, but with every action unit often enough in every fold.
SIMULATION = SimulationConfig(subjects=15, sequences=4)
EPOCHS = 10

Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


def learn(
    rig: FaceRig, out: Path, bar: Bar, simulation: SimulationConfig = SIMULATION, epochs: int = EPOCHS
) -> CrossValidation:
    """Simulate ``out/corpus``, train three folds into ``out/run``, and test them; what an earlier demo left goes.

    Args:
        rig: the face.
        out: folder of the demonstration.
        bar: makes the function that shows the progress of what its argument names.
        simulation: size of the corpus.
        epochs: of each fold.

    Raises:
        FileExistsError: something else than a corpus and a run is there.
        OSError: ``out`` cannot be written.
    """
    from biomechau.training.cross_validation import cross_validate
    from biomechau.training.fold_training import train

    corpus_folder, run_folder = out / "corpus", out / "run"
    if run_folder.exists() and not any(run_folder.glob(f"fold*/{CONFIG}")):
        raise FileExistsError(f"{run_folder} is in the way: it is no run of an earlier demo")
    out.mkdir(parents=True, exist_ok=True)
    with bar("simulating people") as progress:
        write_simulated_corpus(rig, corpus_folder, simulation, progress, overwrite=True)
    shutil.rmtree(run_folder, ignore_errors=True)
    corpus = Corpus.open(corpus_folder)
    folds = subject_folds(corpus)
    with bar("training") as progress:
        for number, fold in enumerate(folds, 1):
            progress(number - 1, len(folds))
            config = TrainingConfig(epochs=epochs, accelerator="cpu")
            train(corpus, fold, config, fold_folder(run_folder, number), progress=False)
    return cross_validate(open_runs(run_folder), corpus)
