"""What ``rig info`` finds in a rig."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from biomechau.analysis import describe_rig
from biomechau.reports.output import to_json
from biomechau.rig import FaceRig


def test_description_of_the_tiny_rig(tiny_rig: FaceRig) -> None:
    description = describe_rig(tiny_rig)
    assert json.loads(to_json(description)) == description
    assert description["vertices"] == 99
    assert description["shapes"] == list(tiny_rig.names)
    assert description["identity_modes"] == 2
    assert description["extent_cm"][:2] == [16.0, 20.0]
    assert description["muscles"]["found"][-1] == "digastric"
    assert len(description["muscles"]["found"]) == 8
    assert description["muscles"]["missing"]["levator_palpebrae_left"] == ["eyeWide_L"]
    assert 0 < description["coverage"]["uncovered"] < 1
    assert set(description["coverage"]["share"]) == set(description["muscles"]["found"])
    assert description["overlap"][0]["cosine"] >= description["overlap"][1]["cosine"]
    assert description["mass_condition"] > 1
    assert description["problems"] == []


def test_a_rig_without_muscles_is_described_all_the_same(tiny_rig: FaceRig) -> None:
    description = describe_rig(replace(tiny_rig, names=tuple(f"shape{i}" for i in range(8))))
    assert description["muscles"]["found"] == []
    assert description["coverage"] is None
    assert description["mass_condition"] is None
    assert "none of the muscles" in description["problems"][0]


def test_dependent_shapes_are_a_problem_with_names(tiny_rig: FaceRig) -> None:
    twice = torch.cat([tiny_rig.blendshapes, tiny_rig.blendshapes[-1:]])
    description = describe_rig(replace(tiny_rig, blendshapes=twice, names=(*tiny_rig.names, "jawAgain")))
    assert description["coverage"] is not None
    assert description["mass_condition"] is None
    assert "jawOpen" in description["problems"][0]
    assert "jawAgain" in description["problems"][0]


@pytest.mark.filterwarnings("error")
def test_nothing_is_warned_about(tiny_rig: FaceRig) -> None:
    describe_rig(tiny_rig)
