"""Detector folders: the same detector comes back, and nothing half-written does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from biomechau.models import Detector, DetectorConfig
from biomechau.models._detector_storage import DESCRIPTION, RIG, TENSORS
from biomechau.rig import Distribution, FaceRig


@pytest.fixture
def detector(tiny_rig: FaceRig, tiny_distribution: Distribution, tiny_batch: dict[str, Tensor]) -> Detector:
    config = DetectorConfig(
        action_units=(1, 4, 12),
        intensity_units=(1, 12),
        source="both",
        mass="region",
        filters=(4, 8),
        num_input_vertices=60,
    )
    detector = Detector(tiny_rig, tiny_distribution, config)
    detector.fit_statistics(tiny_batch["coefficients"])
    detector(tiny_batch)  # moves the running means of the batch normalisation
    return detector.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_is_exact(
    tmp_path: Path, detector: Detector, tiny_batch: dict[str, Tensor], dtype: torch.dtype
) -> None:
    detector = Detector(detector.rig, detector.distribution, detector.config, dtype=dtype).eval()
    batch = {"coefficients": tiny_batch["coefficients"].to(dtype)}
    detector.save(tmp_path / "run")
    loaded = Detector.load(tmp_path / "run")
    assert loaded.config == detector.config
    assert not loaded.training
    assert loaded.dynamics.muscles == detector.dynamics.muscles
    state, again = detector.state_dict(), loaded.state_dict()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)
    output, expected = loaded(batch), detector(batch)
    for field in dataclasses.fields(expected):
        assert torch.equal(getattr(output, field.name), getattr(expected, field.name)), field.name


def test_statistics_and_running_means_come_back(tmp_path: Path, detector: Detector, tiny_batch: dict) -> None:
    detector.save(tmp_path)
    assert torch.equal(Detector.load(tmp_path)(tiny_batch).logits, detector(tiny_batch).logits)


def test_saving_over_another_replaces_it(tmp_path: Path, detector: Detector, tiny_batch: dict) -> None:
    detector.save(tmp_path)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.01)
    detector.save(tmp_path)
    assert torch.equal(Detector.load(tmp_path)(tiny_batch).logits, detector(tiny_batch).logits)
    assert {path.name for path in tmp_path.iterdir()} == {DESCRIPTION, TENSORS, RIG}


def test_a_half_written_folder_is_refused(tmp_path: Path, detector: Detector) -> None:
    detector.save(tmp_path)
    description = (tmp_path / DESCRIPTION).read_bytes()
    with torch.no_grad():
        next(detector.head.parameters()).add_(1)
    detector.save(tmp_path)
    (tmp_path / DESCRIPTION).write_bytes(description)
    with pytest.raises(ValueError, match=f"{TENSORS}: its SHA-256 is not the one in .*{DESCRIPTION}"):
        Detector.load(tmp_path)
    detector.save(tmp_path)
    (tmp_path / RIG).write_bytes((tmp_path / RIG).read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{RIG}: its SHA-256"):
        Detector.load(tmp_path)
    (tmp_path / TENSORS).unlink()
    with pytest.raises(FileNotFoundError, match=TENSORS):
        Detector.load(tmp_path)


def test_bad_descriptions(tmp_path: Path, detector: Detector) -> None:
    with pytest.raises(FileNotFoundError, match=DESCRIPTION):
        Detector.load(tmp_path)
    detector.save(tmp_path)
    path = tmp_path / DESCRIPTION
    good = json.loads(path.read_text())

    def refused(text: str, message: str) -> None:
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as error:
            Detector.load(tmp_path)
        assert str(path) in str(error.value)

    refused("{", "not JSON")
    refused("[]", "lacks format 'biomechau-detector'")
    refused(json.dumps({**good, "version": 2}), "version 1 expected, found 2")
    refused(json.dumps({**good, "sha256": None}), "digests of its files are missing")
    refused(json.dumps({**good, "config": {**good["config"], "depth": 3}}), r"unknown \['depth'\]")
    refused(
        json.dumps({**good, "config": {**good["config"], "hidden": 64}}), "the state is of hidden 128, this one of 64"
    )
    refused(
        json.dumps({**good, "config": {**good["config"], "physics": {**good["config"]["physics"], "law": "magic"}}}),
        "law must be one of",
    )
    refused(json.dumps({**good, "config": {**good["config"], "physics": 3}}), "PhysicsConfig must be an object")
    refused(json.dumps({**good, "dtype": "int8"}), "int8")
    refused(json.dumps({**good, "muscles": good["muscles"][:-1]}), "not a detector of this version")


def test_weights_that_are_not_finite(tmp_path: Path, detector: Detector) -> None:
    detector.save(tmp_path / "good")
    name, weight = next(iter(detector.named_parameters()))
    with torch.no_grad():
        weight.view(-1)[1] = torch.nan
    with pytest.raises(ValueError, match=f"tensor {name} is not finite: nan"):
        detector.save(tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
    # A file that was written before this was refused.
    path, description = tmp_path / "good" / TENSORS, tmp_path / "good" / DESCRIPTION
    tensors = load(path.read_bytes())
    tensors["state.statistics.mean"][0] = torch.inf
    path.write_bytes(save(tensors))
    values = json.loads(description.read_text())
    values["sha256"][TENSORS] = hashlib.sha256(path.read_bytes()).hexdigest()
    description.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"{TENSORS}: tensor state.statistics.mean is not finite: inf at \[0\]"):
        Detector.load(tmp_path / "good")
