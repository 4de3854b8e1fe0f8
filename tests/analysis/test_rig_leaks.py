"""What a muscle that moves alone lends to others: within the goals on every rig."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from readme_figures import LEAKS, LEAKS_BEFORE, LEAKS_OF_RATES, printed

from biomechau.analysis import force_leaks
from biomechau.physics import FaceDynamics, InverseOptions, PhysicsConfig
from biomechau.reports.output import to_json
from biomechau.rig import Distribution, FaceRig, Muscles

MOST_SLOW, MOST_FAST = 0.1, 0.2
BEFORE = PhysicsConfig(damping="mass", fibre_area="muscle", edge_fraction=0.15)


def dynamics_of(rig: FaceRig, config: PhysicsConfig | None = None) -> FaceDynamics:
    muscles = Muscles.facs().match(rig.names).muscles
    return FaceDynamics(rig, Distribution.from_rig(rig, muscles), config, torch.float64)


def largest(shares: np.ndarray) -> float:
    return float((shares - np.diag(np.diag(shares))).max())


@pytest.mark.parametrize("fps", [25.0, 60.0])
@pytest.mark.parametrize("rig_name", ["tiny_rig", "builtin", "ict_rig"])
def test_leaks_are_small(request: pytest.FixtureRequest, rig_name: str, fps: float) -> None:
    rig = FaceRig.builtin(1500) if rig_name == "builtin" else request.getfixturevalue(rig_name)
    leaks = force_leaks(dynamics_of(rig, PhysicsConfig(fps=fps)))
    assert largest(leaks.slow) <= MOST_SLOW
    assert largest(leaks.fast) <= MOST_FAST
    for shares in (leaks.slow, leaks.fast):
        assert np.array_equal(shares.diagonal(), np.ones(len(leaks.names)))


def test_leaks_are_those_that_the_readme_prints(ict_rig: FaceRig) -> None:
    found = [force_leaks(dynamics_of(rig)) for rig in (FaceRig.builtin(), ict_rig)]
    assert [largest(leaks.slow) for leaks in found] == [0, 0]
    assert printed(LEAKS) == {tuple(f"{largest(leaks.fast):.2f}" for leaks in found)}
    rates = [
        f"{largest(force_leaks(dynamics_of(rig, PhysicsConfig(fps=fps))).fast):.2f}"
        for fps in (60.0, 240.0)
        for rig in (FaceRig.builtin(), ict_rig)
    ]
    assert printed(LEAKS_OF_RATES) == {tuple(rates)}
    then = force_leaks(dynamics_of(FaceRig.builtin(), BEFORE))
    assert printed(LEAKS_BEFORE) == {(f"{largest(then.slow):.2f}", f"{largest(then.fast):.2f}")}


def test_what_the_physics_of_before_lent(tiny_rig: FaceRig) -> None:
    """A force cut off at the edge of the muscle's area, and damping with other modes than the stiffness, both leak."""
    plain = InverseOptions(sparsity=0)
    then, now = (force_leaks(dynamics_of(tiny_rig, config), plain) for config in (BEFORE, None))
    assert largest(now.slow) < 0.1 * largest(then.slow)
    assert largest(now.fast) < 0.5 * largest(then.fast)
    moving, other, share = then.worst(then.fast, 1)[0]
    assert share == largest(then.fast)
    assert moving != other


def test_a_shape_that_two_muscles_share_moves_both(tiny_rig: FaceRig) -> None:
    table = [m for m in Muscles.facs().match(tiny_rig.names).muscles if m.name in ("zygomaticus_major", "digastric")]
    both = Muscles([*table, type(table[0])("levator", "both", "sheet", (), ("mouthSmile_L", "mouthPucker"))])
    leaks = force_leaks(FaceDynamics(tiny_rig, Distribution.from_rig(tiny_rig, both), dtype=torch.float64))
    left, levator = (leaks.names.index(name) for name in ("zygomaticus_major_left", "levator"))
    assert leaks.slow[left, levator] == leaks.fast[levator, left] == 0
    described = leaks.to_json()
    assert json.loads(to_json(described)) == described
    assert described["fast"]["worst"]["share"] == largest(leaks.fast)


def test_a_muscle_without_force_is_named(tiny_rig: FaceRig) -> None:
    with pytest.raises(ValueError, match="muscle frontalis_medialis_left moves alone and gets no force"):
        force_leaks(dynamics_of(tiny_rig), InverseOptions(sparsity=1000))
