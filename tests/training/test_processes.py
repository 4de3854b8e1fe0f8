"""Two processes under torchrun train as one does."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biomechau.corpus import Corpus, CorpusWriter, Fold
from biomechau.training import Run, TrainingConfig, train

_PROCESS = """
import json, sys
import torch
from biomechau.corpus import Corpus, Fold
from biomechau.training import TrainingConfig, train

torch.set_num_threads(1)
corpus, out, fold, config = sys.argv[1:]
train(Corpus.open(corpus), Fold(**json.loads(fold)), TrainingConfig.from_json(json.loads(config)), out, progress=False)
"""


def _rows(path: Path) -> list[dict[str, float]]:
    with (path / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def gaps(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The corpus with 11 training windows of unequal worth: unknown labels, dropped frames, a sequence cut short."""
    path = tmp_path_factory.mktemp("corpora") / "gaps"
    generator = torch.Generator().manual_seed(0)
    with CorpusWriter(path, corpus.rig, corpus.action_units, corpus.fps, muscles=corpus.muscles) as writer:
        for sequence in corpus:
            valid, labels = sequence.valid.clone(), sequence.labels.clone()
            valid[torch.rand(len(valid), generator=generator) < 0.2] = False
            labels[torch.rand(labels.shape, generator=generator) < 0.3] = -1
            changed = replace(sequence, valid=valid, labels=labels)
            if sequence.id == "S001_T1":
                changed = replace(changed, **{name: tensor[:20] for name, tensor in changed.tensors.items()})
            writer.add(changed)
    return Corpus.open(path)


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(
    gaps: Corpus, fold: Fold, config: TrainingConfig, tmp_path: Path
) -> None:
    # Dropout and batch normalisation as they are by default, and a last batch that is not full.
    one = replace(config, epochs=3)
    train(gaps, fold, one, tmp_path / "one", progress=False)
    (tmp_path / "train.py").write_text(_PROCESS)
    parts = {name: list(getattr(fold, name)) for name in ("train", "validation", "test")}
    settings = json.dumps(replace(one, devices=2).to_json())
    arguments = [str(gaps.path), str(tmp_path / "two"), json.dumps(parts), settings]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"]
    done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = _rows(tmp_path / "one"), _rows(tmp_path / "two")
    assert len(first) == len(second) == 3
    for a, b in zip(first, second, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    weights = [Run.open(tmp_path / name).detector().state_dict() for name in ("one", "two")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-3, atol=1e-4)
