"""The learned metric in the commands: made once, kept, used; and the trial that compares it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from biomechau.analysis import asymmetry_trial, force_trial, learned_metric as learning
from biomechau.cli import main
from biomechau.commands import _metric_cache
from biomechau.commands._metric_cache import learned_metric, model_of, read_metric
from biomechau.corpus import FaceSequence
from biomechau.corpus.simulator import SimulationConfig
from biomechau.physics import InverseOptions, PhysicsConfig
from biomechau.rig import FaceRig
from biomechau.tensor_file import open_tensors, tensor_bytes

LEARNED = InverseOptions(metric="learned")
# The rolls of the lips, the depressor of the lower lip, and the muscle of AU23, on the built-in face.
NOT_DETERMINED = [
    *(f"depressor_labii_inferioris_{side}" for side in ("left", "right")),
    *(f"orbicularis_oris_{part}" for part in ("peripheralis", "superior", "inferior")),
]


@pytest.fixture
def clip_csv(clip: FaceSequence, tmp_path: Path) -> Path:
    path = tmp_path / "clip.csv"
    rows = [["timestamp", *clip.channels]]
    for time, row in zip(clip.timestamp.tolist(), clip.coefficients.tolist(), strict=True):
        rows.append([f"{value:.6f}" for value in (time, *row)])
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    return path


@pytest.fixture(autouse=True)
def few_people(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two people on a small mesh, and a cache of the test's own."""
    people = (SimulationConfig(subjects=3, sequences=4, coarse_vertices=300),)
    for module in (learning, _metric_cache):
        monkeypatch.setattr(module, "PEOPLE", people)
    monkeypatch.setenv("BIOMECHAU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "metrics"


@pytest.mark.slow
def test_a_metric_is_learned_once(
    few_people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = FaceRig.builtin(num_vertices=1000)
    assert learned_metric(rig, None, PhysicsConfig(), InverseOptions()) is None
    first = learned_metric(rig, None, PhysicsConfig(), LEARNED)
    said = capsys.readouterr().err
    assert "the learned metric of this face and model is estimated" in said
    [file] = few_people.iterdir()

    def never(*_: object) -> None:
        raise AssertionError("learned again")

    with monkeypatch.context() as patch:
        patch.setattr(_metric_cache, "learn_metric", never)
        kept = learned_metric(rig, None, PhysicsConfig(fps=60.0), LEARNED)  # for every frame rate
        assert f"the learned metric is read from {file}" in " ".join(capsys.readouterr().err.split())
        assert first is not None
        assert kept is not None
        assert torch.equal(first.error, kept.error)
        assert first.muscles == kept.muscles
        with pytest.raises(AssertionError, match="learned again"):
            learned_metric(rig, None, PhysicsConfig(f0=4.0), LEARNED)
    file.write_bytes(file.read_bytes()[:100])  # cut off: learned again
    again = learned_metric(rig, None, PhysicsConfig(), LEARNED)
    assert again is not None
    assert torch.equal(first.error, again.error)


def test_a_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BIOMECHAU_CACHE", str(tmp_path / "file"))
    assert learned_metric(FaceRig.builtin(num_vertices=1000), None, PhysicsConfig(), LEARNED, quiet=True) is not None
    assert "the learned metric could not be kept for the next time" in capsys.readouterr().err


@pytest.mark.slow
def test_a_rig_file_holds_its_metric(
    tmp_path: Path, clip_csv: Path, few_people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, file, again = (tmp_path / f"{name}.safetensors" for name in ("plain", "rig", "again"))
    assert main(["rig", "import", "builtin:1000", "--out", str(plain)]) == 0
    for path in (file, again):
        assert main(["rig", "import", "builtin:1000", "--metric", "--out", str(path)]) == 0
    assert "holds the learned metric" in capsys.readouterr().out
    assert file.read_bytes() == again.read_bytes()
    rig = FaceRig.load(file)  # a rig like any other
    assert torch.equal(rig.blendshapes, FaceRig.load(plain).blendshapes)
    arguments = ["forces", str(clip_csv), "--rig", str(file), "--metric", "learned", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert f"read from {file}" in " ".join(capsys.readouterr().err.split())
    assert not few_people.exists()
    assert read_metric(file, model_of(rig, config=PhysicsConfig(f0=4.0))) is None  # of another model
    assert read_metric(file, model_of(FaceRig.builtin(num_vertices=1100))) is None  # of another face
    assert read_metric(plain, model_of(rig)) is None
    with open_tensors(file) as whole:
        tensors = {name: whole.get_tensor(name) for name in whole.keys()}  # noqa: SIM118
        about = whole.metadata()
    tensors["metric.mean"] = tensors["metric.mean"][1:].clone()
    plain.write_bytes(tensor_bytes(tensors, about))
    with pytest.raises(ValueError, match="is damaged"):
        read_metric(plain, model_of(rig))
    assert main(["forces", str(clip_csv), "--rig", str(file), "--metric", "learned", "--paper"]) != 0
    said = capsys.readouterr().err
    assert "--metric learned knows the physics of this package, not that of --paper" in said
    assert "estimated" not in said


def test_what_ships_is_of_the_built_in_face(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], few_people: Path
) -> None:
    assert _metric_cache.SHIPPED.stat().st_size < 1_000_000
    metric = learned_metric(FaceRig.builtin(), None, PhysicsConfig(fps=60.0), LEARNED)
    assert metric is not None
    assert "read from" in capsys.readouterr().err
    assert not few_people.exists()
    assert metric.widening > 1
    assert list(metric.undetermined) == NOT_DETERMINED


@pytest.mark.parametrize("name", ["response", "error", "mean", "recovery", "widening", "projection"])
def test_a_damaged_metric_is_named_and_not_taken(
    tmp_path: Path, name: str, few_people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_tensors(_metric_cache.SHIPPED) as file:
        tensors, about = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    number = tensors[f"metric.{name}"].view(-1)[:1]
    number.copy_(torch.nextafter(number, torch.ones(1, dtype=number.dtype)))  # its last bit
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(tensor_bytes(tensors, about))
    rig = FaceRig.builtin()
    with pytest.raises(ValueError, match=r"damaged\.safetensors: the learned metric in it is damaged"):
        read_metric(damaged, model_of(rig))
    assert learned_metric(rig, None, PhysicsConfig(), LEARNED, str(damaged)) is not None
    said = " ".join(capsys.readouterr().err.split())
    assert "its checksum differs; rig import --metric makes it anew; it is not used" in said
    damaged.write_bytes(tensor_bytes(tensors, {}))
    with pytest.raises(ValueError, match="is damaged"):
        read_metric(damaged, model_of(rig))
    assert "builtin_metric.safetensors" in said
    assert not few_people.exists()


@pytest.mark.slow
def test_what_ships_is_made_again_by_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # all people
    assert main(["experiment", "built-in-metric", "--out", str(tmp_path / "made.safetensors")]) == 0
    dynamics = model_of(FaceRig.builtin())
    made, shipped = (read_metric(path, dynamics) for path in (tmp_path / "made.safetensors", _metric_cache.SHIPPED))
    assert made is not None
    assert shipped is not None
    for name in ("response", "error", "second_moment", "mean", "recovery"):  # the same but for rounding
        torch.testing.assert_close(getattr(made, name), getattr(shipped, name), rtol=1e-3, atol=1e-5)
    assert made.widening == pytest.approx(shipped.widening, rel=0.01)


def test_forces_with_it(clip_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["forces", str(clip_csv), "--rig", "builtin:1000", "--metric", "learned", "--json"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["inverse"]["metric"] == "learned"
    assert summary["muscles"]["zygomaticus_major_left"]["peak"] > 0.3
    for given in (
        ["--cutoff", "3"],
        ["--cutoff", "6"],
        ["--cutoff=6"],
        ["--sparsity", "0.01"],
        ["--slack"],
    ):  # defaults too
        assert main([*arguments, *given, "--out", str(tmp_path / "other")]) != 0
        name, _, _ = given[0].removeprefix("--").partition("=")
        assert f"error: the learned metric has its own {name}" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert "cutoff" not in summary["inverse"]
    assert "leave --neutral out" not in str(summary["warnings"])


def test_a_rig_without_simulated_people_says_so(
    rig_file: str, clip_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forces", str(clip_csv), "--rig", rig_file, "--metric", "learned", "--out", "nowhere"]) != 0
    assert "the rig has no moving shapes for action units to simulate" in capsys.readouterr().err
    assert not Path("nowhere").exists()


@pytest.mark.slow
def test_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(force_trial, "HARDNESS", (1.0,))
    monkeypatch.setattr(force_trial, "_FILTER_PEOPLE", 3)
    monkeypatch.setattr(
        force_trial, "SimulationConfig", lambda **options: replace(SimulationConfig(**options), coarse_vertices=300)
    )
    out = tmp_path / "trial"
    command = ["experiment", "forces", "--rig", "builtin:1000", "--people", "2", "--seeds", "1", "--out", str(out)]
    assert main(command) == 0
    assert "wrote" in capsys.readouterr().out
    scores = json.loads((out / "forces.json").read_text())["scores"]
    assert len(scores) == 4 * 2 * len(force_trial.METHODS)
    assert {score["group"] for score in scores} == set(force_trial.GROUPS)
    assert all(-1 <= score["median"] <= 1 for score in scores)
    second = {score["method"]: score["median"] for score in scores if score["group"] == "second" and score["clean"]}
    assert second["plain"] > 0.7
    assert second["filter"] > 0.3  # of three people
    assert "zygomaticus_major_left" in (out / "forces.md").read_text()
    assert "## In a person" in (out / "forces.md").read_text()
    assert main([*command[:-2], "--people", "1", "--out", str(out)]) != 0


@pytest.mark.slow
def test_standard_deviations_of_forces(clip_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["forces", str(clip_csv), "--sd", "--out", str(tmp_path / "out")]  # with the metric that ships
    assert main(arguments) != 0
    assert "--sd needs --metric learned" in capsys.readouterr().err
    assert main([*arguments, "--metric", "learned"]) == 0
    said = capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["not_determined"] == NOT_DETERMINED
    assert "not determined by this face and tracker: depressor_labii_inferioris_left" in said
    header, first, *_ = (tmp_path / "out" / "forces.csv").read_text().splitlines()
    columns = dict(zip(header.split(","), first.split(","), strict=True))
    assert float(columns["zygomaticus_major_left_sd"]) > 0
    assert list(columns).index("digastric_sd") == list(columns).index("digastric") + 1


@pytest.mark.usefixtures("no_viz")
def test_standard_deviations_in_a_study(clip_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["analyze", str(clip_csv), "--rig", "builtin:1000", "--sd", "--out", str(tmp_path / "study")]
    assert main(arguments) != 0
    assert "--sd needs --metric learned" in capsys.readouterr().err
    assert main([*arguments, "--metric", "learned", "--jobs", "1"]) == 0
    header = (tmp_path / "study" / "clip" / "forces.csv").read_text().splitlines()[0].split(",")
    assert header.index("digastric_sd") == header.index("digastric") + 1


@pytest.mark.slow
def test_the_trial_of_asymmetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., None]) -> None:
    config = partial(SimulationConfig, coarse_vertices=300)
    monkeypatch.setattr(asymmetry_trial, "SimulationConfig", config)
    monkeypatch.setattr(asymmetry_trial, "HARDNESS", (1.0,))
    out = tmp_path / "trial"
    command = ["experiment", "asymmetry", "--rig", "builtin:1000", "--out", str(out), "--people"]
    assert main([*command, "16"]) == 0
    scores = json.loads((out / "asymmetry.json").read_text())["scores"]
    assert [score["group"] for score in scores[::4]] == list(asymmetry_trial.GROUPS)
    for score in scores:
        assert score["even"] + score["weak"] == 16
        assert (score["r"] > 0.8, score["error"] < 0.25) == (True, True)
        assert (score["method"] == "true forces") == (score["error"] == 0)
    assert "| second, hardness 1 |" in (out / "asymmetry.md").read_text()
    fails(*command, "1", words="--people must be at least 2")
    fails(*command, "2", words="2 people of group package are too few: 0 have a weak side")
