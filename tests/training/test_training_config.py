"""The options of a training: their ranges, and their way through JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from biomechau.training import TrainingConfig


@pytest.mark.parametrize(
    "config",
    [TrainingConfig(), TrainingConfig.paper(), TrainingConfig(stride=8, patience=3, neutral=5, precision="64-true")],
)
def test_json_and_back(config: TrainingConfig) -> None:
    assert TrainingConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_run_of_before_an_option_existed_is_read_with_its_value() -> None:
    stored = TrainingConfig().to_json()
    del stored["balance_labels"], stored["detector"]["physics"]["force_unit"]
    found = TrainingConfig.from_json(stored)
    assert found.balance_labels
    assert found.detector.physics.force_unit == "expression"
    del stored["epochs"]
    with pytest.raises(ValueError, match=r"missing \['epochs'\]"):
        TrainingConfig.from_json(stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_frames": 1}, "num_frames must be an integer of at least 2, got 1"),
        ({"epochs": 2.0}, "epochs must be an integer"),
        ({"batch_size": True}, "batch_size must be an integer"),
        ({"patience": 0}, "patience must be an integer of at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0, got 0.0"),
        ({"gradient_clip": float("inf")}, "gradient_clip must be"),
        ({"weight_decay": -1e-4}, "weight_decay must be"),
        ({"precision": "16-mixed"}, "one of 32-true, 64-true, got '16-mixed': the kernels compute in float32 and"),
        ({"neutral": 101.0}, r"neutral must be a finite number in \[0, 100\] or None, got 101.0"),
        ({"batch_size": 9, "devices": 2}, "multiple of the 2 processes, got 9"),
    ],
)
def test_numbers_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**change)


def test_parts_of_another_type() -> None:
    with pytest.raises(TypeError, match="losses must be a LossWeights, got dict"):
        replace(TrainingConfig(), losses={})  # type: ignore[arg-type]


def test_unknown_and_missing_fields() -> None:
    values = TrainingConfig().to_json()
    with pytest.raises(ValueError, match=r"missing \['seed'\], unknown \['speed'\]"):
        TrainingConfig.from_json({**{name: v for name, v in values.items() if name != "seed"}, "speed": 1})
    with pytest.raises(ValueError, match="LossWeights has 9 fields: missing"):
        TrainingConfig.from_json({**values, "losses": {"unknown": 1}})
