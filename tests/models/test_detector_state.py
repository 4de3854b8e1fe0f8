"""A detector's state is loaded into a detector of the same configuration, and refused by any other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from models.test_detector import SMALL
from safetensors.torch import load_file, save_file

from biomechau.models import Detector, MeshEncoder, MeshHierarchy
from biomechau.physics import PhysicsConfig
from biomechau.rig import Distribution, FaceRig

BOTH = dataclasses.replace(SMALL, source="both")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"physics": PhysicsConfig(fps=30)}, r"dynamics \(FaceDynamics\): the state is of fps 25.0, this one of 30.0"),
        ({"action_units": (1, 4, 15)}, "Detector: the state is of action_units 12, this one of 15"),
        ({"initial_frames": 2}, "Detector: the state is of initial_frames 5, this one of 2"),
        ({"mass": "spd"}, "mass fixed, this one of spd"),
    ],
)
def test_another_configuration(
    tiny_rig: FaceRig, tiny_distribution: Distribution, change: dict[str, Any], words: str
) -> None:
    state = Detector(tiny_rig, tiny_distribution, BOTH).state_dict()
    Detector(tiny_rig, tiny_distribution, BOTH).load_state_dict(state)
    with pytest.raises(RuntimeError, match=words):
        Detector(tiny_rig, tiny_distribution, dataclasses.replace(BOTH, **change)).load_state_dict(state)


def test_what_only_training_depends_on_may_differ(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    state = Detector(tiny_rig, tiny_distribution, BOTH).state_dict()
    other = dataclasses.replace(BOTH, dropout=0.1, image_dropout=0.0, inverse_cutoff=None, detach_force=True)
    Detector(tiny_rig, tiny_distribution, other).load_state_dict(state)


def test_other_meshes(tiny_rig: FaceRig) -> None:
    one, two = (MeshHierarchy.from_rig(tiny_rig, 1, num_input_vertices=60) for _ in range(2))
    moved = dataclasses.replace(two.levels[0], kept=torch.arange(two.levels[0].num_vertices))
    two = dataclasses.replace(two, levels=(moved, *two.levels[1:]))
    state = MeshEncoder(one, 8, (4,)).state_dict()
    MeshEncoder(one, 8, (4,)).load_state_dict(state)
    with pytest.raises(RuntimeError, match="sha256 of the meshes"):
        MeshEncoder(two, 8, (4,)).load_state_dict(state)
    with pytest.raises(RuntimeError, match="latent_relu False, this one of True"):
        MeshEncoder(one, 8, (4,), latent_relu=True).load_state_dict(state)


class _Module(LightningModule):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector


@pytest.mark.filterwarnings("ignore")  # of Lightning, about a trainer that trains nothing
def test_checkpoints_of_lightning(tiny_rig: FaceRig, tiny_distribution: Distribution, tmp_path: Path) -> None:
    module = _Module(Detector(tiny_rig, tiny_distribution, SMALL))
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    state = torch.load(tmp_path / "one.ckpt", weights_only=True)["state_dict"]
    module.load_state_dict(state)
    other = dataclasses.replace(SMALL, physics=PhysicsConfig(zeta=0.5))
    with pytest.raises(RuntimeError, match="zeta 1.0, this one of 0.5"):
        _Module(Detector(tiny_rig, tiny_distribution, other)).load_state_dict(state)


def test_a_folder_whose_state_says_nothing_is_read_by_its_description(
    tiny_rig: FaceRig, tiny_distribution: Distribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As version 0.1.0 wrote them."""
    detector = Detector(tiny_rig, tiny_distribution, SMALL)
    whole = Detector.state_dict
    without = lambda self: {k: v for k, v in whole(self).items() if not k.endswith("_extra_state")}  # noqa: E731
    monkeypatch.setattr(Detector, "state_dict", without)
    detector.save(tmp_path / "old")
    monkeypatch.undo()
    assert not any("_extra_state" in name for name in load_file(tmp_path / "old" / "detector.safetensors"))
    again = Detector.load(tmp_path / "old").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in detector.state_dict().items())


def test_safetensors_hold_it(tiny_rig: FaceRig, tiny_distribution: Distribution, tmp_path: Path) -> None:
    detector = Detector(tiny_rig, tiny_distribution, SMALL)
    save_file(detector.state_dict(), tmp_path / "state.safetensors")
    detector.load_state_dict(load_file(tmp_path / "state.safetensors"))
