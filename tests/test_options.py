"""What the configuration dataclasses share: the check of their fields, and JSON and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from biomechau._options import Count, Interval, Options, Percentile
from biomechau.corpus.simulator import SimulationConfig
from biomechau.models import DetectorConfig, LossWeights
from biomechau.physics import InverseOptions, PhysicsConfig
from biomechau.training import ImageTrainingConfig, TrainingConfig


@dataclass(frozen=True)
class _Inner(Options):
    share: Annotated[float, Interval("[0, 1)")] = 0.5


@dataclass(frozen=True)
class _Outer(Options):
    kind: Literal["a", "b"] = "a"
    sizes: tuple[Count, ...] = (1, 2)
    percentile: Percentile | None = None
    flag: bool = False
    inner: _Inner = _Inner()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "c"}, ValueError, "kind must be one of a, b, got 'c'"),
        ({"sizes": (1, 0)}, ValueError, "sizes must be an integer of at least 1, got 0"),
        ({"sizes": ()}, ValueError, "sizes must be one or more values"),
        ({"sizes": (True,)}, ValueError, "sizes must be an integer"),
        ({"percentile": 100.5}, ValueError, r"percentile must be a finite number in \[0, 100\] or None, got 100.5"),
        ({"percentile": float("nan")}, ValueError, "percentile must be"),
        ({"flag": 1}, TypeError, "flag must be a bool, got int"),
        ({"inner": {"share": 0.1}}, TypeError, "inner must be a _Inner, got dict"),
    ],
)
def test_what_a_field_does_not_take(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _Outer(**change)


@pytest.mark.parametrize("share", [1, 1.0, -1e-9, "0.5", float("inf")])
def test_the_edges_of_an_interval(share: object) -> None:
    assert _Inner(0).share == 0
    with pytest.raises(ValueError, match=r"share must be a finite number in \[0, 1\)"):
        _Inner(share)  # type: ignore[arg-type]


def test_numbers_become_plain() -> None:
    found = _Outer(sizes=[np.int64(3)], percentile=np.float32(5))  # type: ignore[arg-type]
    assert (found.sizes, found.percentile) == ((3,), 5.0)
    assert (type(found.sizes[0]), type(found.percentile)) == (int, float)


@pytest.mark.parametrize(
    "kind",
    [
        _Outer,
        PhysicsConfig,
        InverseOptions,
        LossWeights,
        DetectorConfig,
        TrainingConfig,
        ImageTrainingConfig,
        SimulationConfig,
    ],
)
def test_json_and_back(kind: type[Options]) -> None:
    options = kind()
    assert kind.from_json(json.loads(json.dumps(options.to_json()))) == options
    with pytest.raises(ValueError, match=r"missing \[.*\], unknown \['speed'\]"):
        kind.from_json({"speed": 1})
    with pytest.raises(ValueError, match=f"{kind.__name__} must be an object of"):
        kind.from_json([])


def test_json_of_a_wrong_type_names_the_field() -> None:
    with pytest.raises(ValueError, match="not a _Outer: flag must be a bool"):
        _Outer.from_json({**_Outer().to_json(), "flag": "yes"})
    with pytest.raises(ValueError, match="_Inner must be an object of 1 fields, got None"):
        _Outer.from_json({**_Outer().to_json(), "inner": None})


def test_an_interval_is_written_as_in_mathematics() -> None:
    with pytest.raises(ValueError, match="an interval is written as"):
        Interval("0 to 1")
