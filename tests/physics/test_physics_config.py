"""PhysicsConfig refuses what the model cannot mean."""

import dataclasses
import math
from typing import get_args

import pytest

from biomechau import ops
from biomechau.physics import PhysicsConfig
from biomechau.physics.physics_config import Scheme


def test_schemes_are_those_of_the_rollout() -> None:
    assert set(get_args(Scheme)) == set(ops.SCHEMES) == {"explicit", "semi_implicit", "implicit"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("law", "hooke", "law must be one of elastic, newton, got 'hooke'"),
        ("force", "scalar", "force must be one of fibre, vector"),
        ("scheme", "euler", "scheme must be one of implicit, semi_implicit, explicit"),
        ("fps", 0, "fps must be a finite number above 0, got 0"),
        ("fps", -25.0, "fps must be a finite number above 0"),
        ("fps", math.inf, "fps must be a finite number"),
        ("fps", "25", "fps must be a finite number above 0, got '25'"),
        ("f0", 0.0, "f0 must be a finite number above 0"),
        ("f0", math.nan, "f0 must be a finite number"),
        ("zeta", -0.1, r"zeta must be a finite number in \[0, 1e6\]"),
        ("edge_fraction", -0.1, r"edge_fraction must be a finite number in \[0, 1\]"),
        ("edge_fraction", 1.1, r"edge_fraction must be a finite number in \[0, 1\]"),
        ("mass_scale", 0.0, "mass_scale must be a finite number in"),
        ("total_mass", -1.0, "total_mass must be a finite number in"),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PhysicsConfig(), **{name: value})


def test_the_edges_of_the_ranges_are_allowed() -> None:
    PhysicsConfig(zeta=0, edge_fraction=0)
    PhysicsConfig(edge_fraction=1)


def test_the_paper_in_one_call() -> None:
    paper = PhysicsConfig.paper(fps=30)
    assert (paper.law, paper.force, paper.scheme, paper.mass_scale) == ("newton", "vector", "explicit", 0.5)
    assert paper.force_unit == "vertex"
    assert paper.dt == 1 / 30


def test_derived_constants_have_their_units() -> None:
    config = PhysicsConfig(fps=25, f0=3)
    assert config.dt == pytest.approx(0.04)
    assert config.omega == pytest.approx(18.8496, rel=1e-5)
