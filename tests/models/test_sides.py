"""Left and right: a mirrored motion gives the mirrored result, and either side alone is enough for a unit."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings, strategies as st
from models.test_detector import SMALL
from torch import Tensor

from biomechau.models import Detector, DetectorConfig, LossWeights
from biomechau.models._sides import noisy_or, paired_units
from biomechau.models.losses import action_unit_loss, side_loss
from biomechau.physics import PhysicsConfig
from biomechau.rig import Distribution, FaceRig, Muscles
from biomechau.rig.mirrored_mesh import mirror_vertices
from biomechau.rig.names import mirror_order

MIRROR_X = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def symmetric_rig(tiny_rig: FaceRig) -> FaceRig:
    """The tiny rig, each shape the mirror image of its counterpart."""
    shapes = tiny_rig.blendshapes
    other = shapes[mirror_order(tiny_rig.names)][:, mirror_vertices(tiny_rig)] * MIRROR_X
    return dataclasses.replace(tiny_rig, blendshapes=(shapes + other) / 2)


def make(rig: FaceRig, batch: dict[str, Tensor], trained: bool, **options) -> Detector:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, action_units=(1, 12, 26), intensity_units=(12, 26), **options)
    distribution = Distribution.from_rig(rig, Muscles.facs().match(rig.names).muscles)
    detector = Detector(rig, distribution, config, dtype=torch.float64)
    detector.fit_statistics(batch["coefficients"])
    if trained:
        optimiser = torch.optim.Adam(detector.parameters(), 2e-2)
        for _ in range(15):
            total, _ = detector.loss(batch, detector(batch))
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
    return detector.eval()


@pytest.mark.parametrize("trained", [False, True], ids=["untrained", "trained"])
@pytest.mark.parametrize("given", ["coefficients", "meshes"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"source": "mesh"},
        {"source": "both", "mass": "spd"},
        {"head": "geometry"},
        {"head": "position_temporal"},
        {"head": "physics_image"},
        {"mass": "free", "physics": PhysicsConfig.paper()},
    ],
    ids=str,
)
def test_a_mirrored_motion_gives_the_mirrored_result(
    symmetric_rig: FaceRig, tiny_batch: dict[str, Tensor], options: dict, given: str, trained: bool
) -> None:
    """For coefficients, and for meshes that are more than these, to the rounding of float64."""
    rig = symmetric_rig
    batch = {name: x.double() if x.dtype == torch.float32 else x for name, x in tiny_batch.items()}
    detector = make(rig, batch, trained, **options)
    order, vertices = mirror_order(rig.names), mirror_vertices(rig)
    mirrored = {**batch, "coefficients": batch["coefficients"][..., order]}
    if given == "meshes":
        u = torch.tensordot(batch["coefficients"], rig.blendshapes.double(), 1)
        u = u + 0.1 * torch.randn(u.shape, dtype=u.dtype)
        batch["displacements"], mirrored["displacements"] = u, u[..., vertices, :] * MIRROR_X
    first, second = detector(batch), detector(mirrored)

    def same(one: Tensor, two: Tensor) -> None:
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)

    same(second.logits, first.logits)
    assert first.side_logits is not None
    assert first.side_intensities is not None
    assert second.side_logits is not None
    same(second.side_logits, first.side_logits.flip(-1))
    same(second.intensities, first.intensities)
    same(second.side_intensities, first.side_intensities.flip(-1))
    assert (first.side_logits[..., 0] - first.side_logits[..., 1]).abs().amax((0, 1))[:2].min() > 1e-3
    if first.forces is None or second.forces is None:
        return
    assert detector.sides is not None
    muscles = detector.sides.muscles
    if first.forces.ndim == 4:
        same(second.forces, first.forces[..., muscles, :] * MIRROR_X)
    else:
        same(second.forces, first.forces[..., muscles])
    if first.slack is not None:
        same(second.slack, first.slack[..., order])
    if first.mass is not None:
        same(second.mass, first.mass[..., order, :][..., order])


@given(a=st.floats(-80, 80), b=st.floats(-80, 80))
@settings(max_examples=200, deadline=None)
def test_noisy_or(a: float, b: float) -> None:
    """The odds of either are those of the product of the odds plus one, also where p rounds to 0 or 1."""
    x, y = torch.tensor([a, b], requires_grad=True)
    found = noisy_or(x, y)
    exact = torch.tensor([a, b], dtype=torch.float64)
    expected = torch.log(exact[0].exp() + exact[1].exp() + exact.sum().exp())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    p = 1 - (1 - x.sigmoid()) * (1 - y.sigmoid())
    torch.testing.assert_close(found.sigmoid(), p, rtol=0, atol=1e-6)
    assert all(grad.isfinite() for grad in torch.autograd.grad(found, (x, y)))


def test_units_with_sides() -> None:
    """Those of muscles of one side each; the chin, the lips' ring and the open mouth have none."""
    arkit = Muscles.facs().match(FaceRig.builtin(1000).names).muscles
    assert paired_units(arkit) == {1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 20, 43, 45}


def test_units_of_the_middle_have_equal_sides(tiny_rig: FaceRig, tiny_batch: dict[str, Tensor]) -> None:
    batch = {"coefficients": tiny_batch["coefficients"].double()}
    output = make(tiny_rig, batch, trained=False)(batch)
    assert output.side_logits is not None
    assert torch.equal(output.side_logits[..., 2, 0], output.side_logits[..., 2, 1])
    assert torch.equal(output.logits[..., 2], output.side_logits[..., 2, 0])
    left, right = output.side_probabilities.unbind(-1)
    torch.testing.assert_close(output.probabilities[..., :2], (1 - (1 - left) * (1 - right))[..., :2])


def test_side_labels_count_where_they_are_known(tiny_rig: FaceRig, tiny_batch: dict[str, Tensor]) -> None:
    batch = {"coefficients": tiny_batch["coefficients"].double(), "labels": tiny_batch["labels"]}
    detector = make(tiny_rig, batch, trained=False)
    output = detector(batch)
    sides = torch.randint(0, 2, (4, 12, 3, 2), dtype=torch.int8)
    _, terms = detector.loss({**batch, "side_labels": sides}, output)
    torch.testing.assert_close(terms["sides"], action_unit_loss(output.side_logits.flatten(-2), sides.flatten(-2)))
    assert "sides" not in detector.loss(batch, output)[1]
    assert "sides" not in detector.loss({**batch, "side_labels": sides}, output, LossWeights(sides=0))[1]
    _, terms = detector.loss({**batch, "side_labels": torch.full_like(sides, -1)}, output)
    assert terms["sides"] == 0
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    weighted = side_loss(output.side_logits, sides, None, weights)
    swapped = side_loss(output.side_logits.flip(-1), sides.flip(-1), None, weights)
    torch.testing.assert_close(weighted, swapped)
    with pytest.raises(ValueError, match=r"side_labels must have shape \(4, 12, 3, 2\)"):
        side_loss(output.side_logits, sides[..., 0])


@pytest.mark.parametrize("sides", [True, False])
def test_intensities_of_some_units(tiny_rig: FaceRig, tiny_batch: dict[str, Tensor], sides: bool) -> None:
    """From 0 to 5, that of the stronger side, trained where they are known alone."""
    batch = {"coefficients": tiny_batch["coefficients"].double(), "labels": tiny_batch["labels"]}
    detector = make(tiny_rig, batch, trained=False, sides=sides)
    output = detector(batch)
    assert output.intensities is not None
    assert output.intensities.shape == (4, 12, 2)
    assert 0 <= output.intensities.min() <= output.intensities.max() <= 5
    coded = torch.randint(-1, 6, (4, 12, 2)).double()
    known = coded >= 0
    _, terms = detector.loss({**batch, "intensities": coded}, output)
    torch.testing.assert_close(terms["intensity"], (output.intensities - coded)[known].square().mean())
    assert "intensity" not in detector.loss(batch, output)[1]
    valid = torch.rand(4, 12) > 0.5
    _, terms = detector.loss({**batch, "intensities": coded, "valid": valid}, output)
    known &= valid[..., None]
    torch.testing.assert_close(terms["intensity"], (output.intensities - coded)[known].square().mean())
    if not sides:
        assert output.side_intensities is None
        return
    assert output.side_intensities is not None
    assert torch.equal(output.intensities, output.side_intensities.amax(-1))
    assert torch.equal(output.side_intensities[..., 1, 0], output.side_intensities[..., 1, 1])  # AU26 has no sides
    of_each = torch.randint(-1, 6, (4, 12, 2, 2)).double()
    _, terms = detector.loss({**batch, "intensities": coded, "side_intensities": of_each}, output)
    errors = [output.intensities - coded, output.side_intensities - of_each]
    errors = [error[truth >= 0] for error, truth in zip(errors, (coded, of_each), strict=True)]
    torch.testing.assert_close(terms["intensity"], torch.cat(errors).square().mean())


def test_which_units_can_have_intensities() -> None:
    with pytest.raises(ValueError, match=r"intensity_units must be some of the action_units \(1, 4, 12\), got \(6,\)"):
        dataclasses.replace(SMALL, intensity_units=(6,))
    with pytest.raises(ValueError, match="intensity_units must be some of"):
        dataclasses.replace(SMALL, intensity_units=(4, 4))
    assert DetectorConfig.from_json({n: x for n, x in SMALL.to_json().items() if n != "intensity_units"}) == SMALL


def test_as_many_parameters_as_without_sides(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    with_sides, without = (
        sum(p.numel() for p in Detector(tiny_rig, tiny_distribution, config).parameters())
        for config in (SMALL, dataclasses.replace(SMALL, sides=False))
    )
    assert with_sides == without
    assert not DetectorConfig.paper().sides


def test_shapes_and_meshes_that_have_no_mirror_image(tiny_rig: FaceRig) -> None:
    one_sided = tiny_rig.select([name for name in tiny_rig.names if name != "mouthSmile_R"])
    muscles = Muscles(m for m in Muscles.facs().match(one_sided.names).muscles if m.name != "zygomaticus_major")
    distribution = Distribution.from_rig(one_sided, muscles)
    with pytest.raises(ValueError, match=r"'mouthSmile_L' has no mirror image among the names, .*--no-sides"):
        Detector(one_sided, distribution, SMALL)
    Detector(one_sided, distribution, dataclasses.replace(SMALL, sides=False))
    bent = tiny_rig.neutral.clone()
    bent[0, 2] += 3
    crooked = dataclasses.replace(tiny_rig, neutral=bent)
    distribution = Distribution.from_rig(crooked, Muscles.facs().match(crooked.names).muscles)
    with pytest.raises(ValueError, match=r"not mirror symmetric: vertex 0 has no counterpart .*--no-sides"):
        Detector(crooked, distribution, dataclasses.replace(SMALL, source="mesh"))
    Detector(crooked, distribution, SMALL)  # reads no meshes


def test_one_sided_muscles(tiny_rig: FaceRig) -> None:
    muscles = Muscles(
        m for m in Muscles.facs().match(tiny_rig.names).muscles if m.identifier != "zygomaticus_major_left"
    )
    with pytest.raises(ValueError, match="muscle zygomaticus_major_right has no counterpart on the other side"):
        Detector(tiny_rig, Distribution.from_rig(tiny_rig, muscles), SMALL)


def test_vertices_on_the_other_side(tiny_rig: FaceRig) -> None:
    for rig in (tiny_rig, FaceRig.builtin(1000)):
        other = mirror_vertices(rig)
        torch.testing.assert_close(rig.neutral[other], rig.neutral * MIRROR_X)
        assert torch.equal(other[other], torch.arange(len(other)))
        # Turned and moved, the face has the same counterparts.
        turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        moved = dataclasses.replace(rig, neutral=rig.neutral @ turn.T + 5, blendshapes=rig.blendshapes @ turn.T)
        assert torch.equal(mirror_vertices(moved), other)
