"""The paper's figures of a run: files, captions, numbers, and what cannot be drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands.small import SMALL, UNITS

from biomechau.analysis import choose, chosen_predictions, predictions
from biomechau.cli import main
from biomechau.corpus import Corpus
from biomechau.reports._paper_drawings import area_pictures
from biomechau.reports.paper_figures import paper_figures
from biomechau.rig import Distribution, FaceRig
from biomechau.training import open_runs

pytest.importorskip("pyvista")
imread = pytest.importorskip("matplotlib.image").imread


@pytest.mark.slow
def test_the_figures_of_the_best_the_median_and_the_worst(run_folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    runs = open_runs(run_folder)
    written = paper_figures(chosen_predictions(runs, corpus), tmp_path, height=80)
    names = ["figure2.png", "figure4.pdf", "figure4.png", "figure4.svg", "figure5.png", "figures.json"]
    assert [path.name for path in written] == names
    for path in written:
        if path.suffix == ".png":
            assert imread(path)[..., :3].std() > 0.05
    about = json.loads((tmp_path / "figures.json").read_text())
    assert [sequence["id"] for sequence in about["sequences"]] == [choice.id for choice in choose(runs, corpus)]
    assert [sequence["rank"] for sequence in about["sequences"]] == ["best", "median", "worst"]
    for figure in ("figure4", "figure5"):
        assert "Best, median and worst test sequence by mean F1" in about[figure]["caption"]
    caption = about["figure4"]["caption"].encode()
    assert caption in (tmp_path / "figure4.png").read_bytes()
    assert caption in (tmp_path / "figure4.svg").read_bytes()
    # r is that of the predicted force, left and right together, and the label.
    for shown in about["figure4"]["correlations"]:
        (prediction,) = predictions(runs, corpus, [shown["sequence"]])
        face = prediction.face
        assert prediction.labels is not None
        for pair in shown["r"]:
            label = prediction.labels[:, UNITS.index(str(pair["action_unit"]))].numpy()
            columns = [i for i, m in enumerate(face.identifiers) if m.startswith(pair["muscle"].replace(" ", "_"))]
            force = face.strength[:, columns].sum(1)
            assert pair["r"] == pytest.approx(np.corrcoef(force, label)[0, 1], abs=1e-6)


@pytest.mark.slow
def test_chosen_sequences_with_photographs(run_folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    asked: list[tuple[str, float]] = []

    def photograph(id: str, time: float) -> np.ndarray:
        asked.append((id, time))
        return np.full((60, 40, 3), (0, 200, 0), np.uint8)

    paper_figures(chosen_predictions(run_folder, corpus, ["S002_T1"]), tmp_path, photograph, height=80)
    about = json.loads((tmp_path / "figures.json").read_text())
    assert about["chosen"] == "sequences as requested"
    assert asked == [("S002_T1", time) for time in about["figure5"]["moments"][0]["times"]]
    assert about["figure5"]["caption"].startswith("Images")
    green = (imread(tmp_path / "figure5.png")[..., :3] == np.array((0, 200, 0), np.float32) / 255).all(-1)
    assert green.mean() > 0.1


def test_areas_are_coloured_on_their_own_side(tiny_rig: FaceRig) -> None:
    with pytest.warns(UserWarning, match="left out"):
        distribution = Distribution.from_rig(tiny_rig)
    picture = area_pictures(tiny_rig, distribution, height=120)["zygomaticus major"].astype(int)
    bluish = picture[..., 2] > picture[..., 0] + 20  # skin is redder than blue
    half = picture.shape[1] // 2
    # The subject's left is to the right in the picture.
    assert bluish[:, half:].mean() > 0.05
    assert not bluish[:, : half - 5].any()


def test_what_cannot_be_drawn(run_folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    runs = open_runs(run_folder)
    with pytest.raises(ValueError, match="no sequence 'S099'"):
        chosen_predictions(runs, corpus, ["S099"])
    (one,) = [run for run in runs.values() if "S001" in run.fold.test]
    other = next(id for id in corpus.ids if id[:4] not in one.fold.test)
    with pytest.raises(ValueError, match="is a test subject of no fold of the run"):
        chosen_predictions({1: one}, corpus, [other])
    options = ["--fold", "1", "--head", "position_temporal", "--epochs", "1"]
    assert main(["train", "--corpus", str(corpus.path), "--out", str(tmp_path / "run"), *SMALL, *options]) == 0
    chosen = chosen_predictions(tmp_path / "run", corpus)
    with pytest.raises(ValueError, match="its head has no physics"):
        paper_figures(chosen, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_figures_as_an_experiment(
    run_folder: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: Callable[..., None]
) -> None:
    """With pictures of one sequence; of the other one there is none at that moment."""
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "images" / "S002_T1").mkdir(parents=True)
    for number in range(1, 49):
        image.new("RGB", (40, 60), (0, 200, 0)).save(tmp_path / "images" / "S002_T1" / f"{number:06d}.png")
    command = ["experiment", "figures", "--corpus", str(corpus.path), "--out", str(tmp_path)]
    chosen = ["--images", str(tmp_path / "images"), "--sequences", "S002_T1", "S003_T1"]
    assert main([*command, "--run", str(run_folder), *chosen]) == 0
    assert f"wrote {tmp_path / 'figures' / 'figure5.png'}" in capsys.readouterr().out
    about = json.loads((tmp_path / "figures" / "figures.json").read_text())
    assert about["figure5"]["caption"].startswith("Images, or rendered faces where there are none")
    green = (imread(tmp_path / "figures" / "figure5.png")[..., :3] == np.array((0, 200, 0), np.float32) / 255).all(-1)
    rows = green.any(1).nonzero()[0]
    assert green.mean() > 0.05
    assert rows.max() < len(green) / 2  # of the first sequence alone
    fails(*command, words="--run")
    table = ["experiment", "table1", *command[2:]]
    fails(*table, "--sequences", "S002_T1", words="Unrecognized options: --sequences")
