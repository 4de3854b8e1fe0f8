"""The state of FaceDynamics: what it holds, what it is loaded into and what refuses it."""

from __future__ import annotations

import copy
import dataclasses
import io
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_model, save, save_model

from biomechau.physics import FaceDynamics, PhysicsConfig
from biomechau.rig import Distribution, FaceRig


@pytest.fixture
def dynamics(tiny_rig: FaceRig, tiny_distribution: Distribution) -> FaceDynamics:
    return FaceDynamics(tiny_rig, tiny_distribution)


def test_a_state_goes_into_the_same_model(
    dynamics: FaceDynamics, tiny_rig: FaceRig, tiny_distribution: Distribution
) -> None:
    tensors = {"mass", "stiffness", "damping", "projection", "force_scale", "blendshapes"}
    assert set(dynamics.state_dict()) == {*tensors, "_extra_state"}
    again = FaceDynamics(tiny_rig, tiny_distribution)
    again.load_state_dict(dynamics.state_dict())
    assert all(torch.equal(getattr(again, name), getattr(dynamics, name)) for name in (*tensors, "compliance"))
    generator = torch.Generator().manual_seed(0)
    force, zero = torch.rand(5, again.num_muscles, generator=generator), torch.zeros(again.num_shapes)
    for actual, expected in zip(again.rollout(force, zero, zero), dynamics.rollout(force, zero, zero), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fps": 30.0}, "fps 25.0, this one of 30.0"),
        ({"f0": 2.0}, "f0 3.0, this one of 2.0"),
        ({"zeta": 0.5}, "zeta 1.0, this one of 0.5"),
        ({"edge_fraction": 0.5}, "edge_fraction 0.07, this one of 0.5"),
        ({"damping": "mass"}, "damping stiffness, this one of None"),
        ({"fibre_area": "muscle"}, "fibre_area face, this one of None"),
        ({"mass_scale": 0.5}, "mass_scale 1.0, this one of 0.5"),
        ({"total_mass": 2.0}, "total_mass 1.0, this one of 2.0"),
        ({"law": "newton"}, "law elastic, this one of newton"),
        ({"scheme": "explicit"}, "scheme implicit, this one of explicit"),
        ({"force": "vector"}, "force fibre, this one of vector"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_state_of_another_configuration_is_refused(
    dynamics: FaceDynamics,
    tiny_rig: FaceRig,
    tiny_distribution: Distribution,
    change: dict[str, Any],
    words: str,
    strict: bool,
) -> None:
    other = FaceDynamics(tiny_rig, tiny_distribution, dataclasses.replace(PhysicsConfig(), **change))
    before = {name: tensor.clone() for name, tensor in other.named_buffers()}
    with pytest.raises(RuntimeError, match=f"FaceDynamics: the state is of {words}"):
        other.load_state_dict(dynamics.state_dict(), strict=strict)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.named_buffers())


def test_a_state_of_another_face_is_refused(
    dynamics: FaceDynamics, tiny_rig: FaceRig, tiny_distribution: Distribution
) -> None:
    state = dynamics.state_dict()
    larger = dataclasses.replace(tiny_rig, neutral=1.1 * tiny_rig.neutral, blendshapes=1.1 * tiny_rig.blendshapes)
    weaker = tiny_distribution.with_values(tiny_distribution.val.clone().index_fill(0, torch.tensor([0]), 0.0))
    fewer = Distribution.from_rig(tiny_rig, type(tiny_distribution.muscles)(list(tiny_distribution.muscles)[1:]))
    renamed = dataclasses.replace(tiny_rig, names=("cheekPuff", *tiny_rig.names[1:]))
    for other, words in (
        (FaceDynamics(larger, tiny_distribution), "blendshapes differs|mass differs|stiffness differs"),
        (FaceDynamics(tiny_rig, fewer), f"the state is of muscles {tiny_distribution.muscles.names[0]}, this one of"),
        (FaceDynamics(renamed, fewer), "the state is of shapes browInnerUp_L, this one of cheekPuff; muscles"),
    ):
        with pytest.raises(RuntimeError, match=words):
            other.load_state_dict(state)
    in_area = PhysicsConfig(fibre_area="muscle")
    state = FaceDynamics(tiny_rig, tiny_distribution, in_area).state_dict()
    with pytest.raises(RuntimeError, match="projection differs from that of this rig and distribution"):
        FaceDynamics(tiny_rig, weaker, in_area).load_state_dict(state)


def test_a_model_of_before_an_option_existed_keeps_its_physics(
    tiny_rig: FaceRig, tiny_distribution: Distribution
) -> None:
    """Its file and its state do not name the option; the defaults of today are others."""
    older = PhysicsConfig(damping="mass", fibre_area="muscle")
    stored = {name: value for name, value in older.to_json().items() if name not in PhysicsConfig.BEFORE}
    assert PhysicsConfig.from_json(stored) == older
    model = FaceDynamics(tiny_rig, tiny_distribution, older)
    assert stored.items() <= model.configuration().items()
    assert model.configuration().keys().isdisjoint(PhysicsConfig.BEFORE)
    torch.testing.assert_close(model.damping, 2 * older.zeta * older.omega * model.mass)


def test_a_state_that_says_nothing_is_refused(
    dynamics: FaceDynamics, tiny_rig: FaceRig, tiny_distribution: Distribution
) -> None:
    old = {name: tensor for name, tensor in dynamics.state_dict().items() if name != "_extra_state"}
    for other in (dynamics, FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig(fps=60))):
        for strict in (True, False):
            with pytest.raises(
                RuntimeError, match="the state contains no configuration .* add the _extra_state of this"
            ):
                other.load_state_dict(old, strict=strict)
    own = dynamics.state_dict()["_extra_state"]
    dynamics.load_state_dict({**old, "_extra_state": own})
    stiffer = FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig(f0=5))
    with pytest.raises(RuntimeError, match="stiffness differs from that of this rig and distribution"):
        stiffer.load_state_dict({**old, "_extra_state": stiffer.state_dict()["_extra_state"]})
    for broken in (torch.zeros(3), torch.tensor([91, 93, 255], dtype=torch.uint8), "fps"):
        with pytest.raises(RuntimeError, match="_extra_state is not a configuration"):
            dynamics.load_state_dict({**old, "_extra_state": broken})


def test_a_module_without_values_says_so(dynamics: FaceDynamics) -> None:
    meta = copy.deepcopy(dynamics).to("meta")
    for assign in (True, False):
        with pytest.raises(RuntimeError, match="is on the device meta and has no tensors to compare with"):
            meta.load_state_dict(dynamics.state_dict(), assign=assign)
    emptied = copy.deepcopy(dynamics)
    emptied.mass.zero_()  # as after to_empty
    with pytest.raises(RuntimeError, match="mass differs from that of this rig and distribution"):
        emptied.load_state_dict(dynamics.state_dict())


def test_every_format_of_checkpoints_holds_it(
    dynamics: FaceDynamics, tiny_rig: FaceRig, tiny_distribution: Distribution, tmp_path
) -> None:
    file = io.BytesIO()
    torch.save(dynamics.state_dict(), file)
    file.seek(0)
    states = [torch.load(file, weights_only=True), load(save(dynamics.state_dict()))]
    save_model(dynamics, tmp_path / "model.safetensors")
    other = FaceDynamics(tiny_rig, tiny_distribution, PhysicsConfig(fps=60))
    same = FaceDynamics(tiny_rig, tiny_distribution)
    for state in states:
        same.load_state_dict(state)
        with pytest.raises(RuntimeError, match="fps 25.0, this one of 60.0"):
            other.load_state_dict(state)
    load_model(same, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match="fps 25.0, this one of 60.0"):
        load_model(other, tmp_path / "model.safetensors")


def test_a_float64_model_takes_the_state_of_a_float32_one(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    single = FaceDynamics(tiny_rig, tiny_distribution)
    double = FaceDynamics(tiny_rig, tiny_distribution, dtype=torch.float64)
    double.load_state_dict(single.state_dict())
    force = torch.rand(6, double.num_muscles, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rest = torch.zeros(double.num_shapes, dtype=torch.float64)
    # Rounding leaves a damping that is not quite diagonal in the modes; the general path does not mind.
    for modal, general in zip(
        double.rollout(force, rest, rest), double.rollout(force, rest, rest, mass=double.mass), strict=True
    ):
        torch.testing.assert_close(modal, general, rtol=0, atol=1e-5 * float(general.abs().max()))
