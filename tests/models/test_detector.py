"""Detector: every row of Table 1, its decoder, its losses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from biomechau.models import Detector, DetectorConfig, LossWeights
from biomechau.models.detector_config import HEAD_INPUTS
from biomechau.physics import PhysicsConfig, required_force
from biomechau.rig import Distribution, FaceRig

SMALL = DetectorConfig(
    action_units=(1, 4, 12),
    hidden=16,
    head_hidden=16,
    latent_size=8,
    filters=(4, 8),
    num_input_vertices=60,
    num_image_features=5,
    context=2,
)


@pytest.fixture
def make(tiny_rig: FaceRig, tiny_distribution: Distribution, tiny_batch: dict[str, Tensor]):
    def make(dtype: torch.dtype = torch.float32, **options) -> Detector:
        torch.manual_seed(0)
        detector = Detector(tiny_rig, tiny_distribution, dataclasses.replace(SMALL, **options), dtype=dtype)
        detector.fit_statistics(tiny_batch["coefficients"].to(dtype))
        return detector

    return make


@pytest.mark.parametrize("source", ["coefficients", "mesh", "both"])
@pytest.mark.parametrize("head", HEAD_INPUTS)
def test_every_row_and_source(make, tiny_batch: dict[str, Tensor], head: str, source: str) -> None:
    """Shapes of the output, and gradients of the default loss in every parameter."""
    detector = make(head=head, source=source)
    output = detector(tiny_batch)
    assert output.logits.shape == (4, 12, 3)
    if detector.config.uses_forces:
        assert output.forces.shape == output.coefficients.shape == output.slack.shape == (4, 12, 8)
    else:
        assert output.forces is None
        assert output.coefficients is None
    total, terms = detector.loss(tiny_batch, output)
    expected = {"action_unit"}
    if detector.config.uses_forces:
        expected |= {"reconstruction", "clean", "smooth", "slack", "inverse_dynamics"}
    assert set(terms) == expected
    weights = LossWeights()
    torch.testing.assert_close(total, sum(getattr(weights, name) * term for name, term in terms.items()))
    total.backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("mass", ["fixed", "region", "spd", "free"])
@pytest.mark.parametrize("physics", [PhysicsConfig(), PhysicsConfig.paper(), PhysicsConfig(scheme="semi_implicit")])
def test_masses_and_laws_train_every_parameter(
    make, tiny_batch: dict[str, Tensor], mass: str, physics: PhysicsConfig
) -> None:
    detector = make(mass=mass, physics=physics)
    output = detector(tiny_batch)
    assert output.mass is None if mass == "fixed" else output.mass.shape == (4, 8, 8)
    total, _ = detector.loss(tiny_batch, output)
    total.backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("lead", [(), (4,), (2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leading_axes_and_dtype(make, tiny_batch: dict[str, Tensor], lead: tuple[int, ...], dtype: torch.dtype) -> None:
    detector = make(dtype, head="physics_image", source="both", mass="spd").eval()
    count = torch.Size(lead).numel()
    batch = {
        name: tensor[:count].reshape(*lead, *tensor.shape[1:]).to(tensor.dtype if name == "labels" else dtype)
        for name, tensor in tiny_batch.items()
    }
    output = detector(batch)
    flat = detector({name: tensor.reshape(count, *tensor.shape[len(lead) :]) for name, tensor in batch.items()})
    for name in ("logits", "forces", "coefficients", "generalized_force", "slack", "mass"):
        value = getattr(output, name)
        assert value.dtype == dtype
        assert value.shape[: len(lead)] == lead
        torch.testing.assert_close(value.reshape(getattr(flat, name).shape), getattr(flat, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("physics", [PhysicsConfig(), PhysicsConfig.paper(), PhysicsConfig(scheme="semi_implicit")])
def test_decoder_returns_the_motion_whose_forces_it_is_given(
    make, tiny_batch: dict[str, Tensor], physics: PhysicsConfig
) -> None:
    detector = make(torch.float64, physics=physics, initial_frames=2)
    c = tiny_batch["coefficients"].double()
    force = required_force(detector.dynamics, c)
    torch.testing.assert_close(detector._reconstruct(c, force, None), c, rtol=0, atol=1e-9)


def test_slack_holds_coefficients_in_units_of_their_spread(make, tiny_batch: dict[str, Tensor]) -> None:
    """Without motion and muscles, a constant slack s brings the face to rest at s times the spread."""
    detector = make(torch.float64)
    physics = detector.regressor(detector.statistics(tiny_batch["coefficients"].double()))
    slack = torch.randn(8, dtype=torch.float64).expand(1, 200, 8)
    still = dataclasses.replace(physics, forces=torch.zeros_like(slack), slack=slack)
    rest = detector._reconstruct(torch.zeros_like(slack), detector._generalized_force(still), None)[0, -1]
    torch.testing.assert_close(rest, slack[0, 0] * detector.statistics.scale, rtol=1e-6, atol=1e-9)


def test_mesh_of_the_batch_or_of_the_coefficients(make, tiny_batch: dict[str, Tensor]) -> None:
    detector = make(source="mesh").eval()
    u = detector.dynamics.deform(tiny_batch["coefficients"])
    expected = detector(tiny_batch).logits
    torch.testing.assert_close(detector({**tiny_batch, "displacements": u}).logits, expected, rtol=1e-4, atol=1e-5)
    few = u[..., detector.encoder.vertices, :]
    torch.testing.assert_close(detector({**tiny_batch, "displacements": few}).logits, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(detector({**tiny_batch, "displacements": 0 * few}).logits, expected)


def test_detached_forces_do_not_learn_from_labels(make, tiny_batch: dict[str, Tensor]) -> None:
    only_labels = LossWeights(0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    for detach in (False, True):
        detector = make(detach_force=detach, slack=False)
        total, terms = detector.loss(tiny_batch, detector(tiny_batch), only_labels)
        assert set(terms) == {"action_unit"}
        total.backward()
        grads = [parameter.grad for parameter in detector.regressor.parameters()]
        assert all(grad is None or not grad.any() for grad in grads) == detach


def test_masked_frames_and_labels_do_not_count(make, tiny_batch: dict[str, Tensor]) -> None:
    detector = make().eval()
    valid = torch.rand(4, 12) > 0.3
    batch = {**tiny_batch, "valid": valid}
    total, terms = detector.loss(batch, detector(batch))
    other = {**batch, "labels": torch.where(valid[..., None], tiny_batch["labels"], 1 - tiny_batch["labels"])}
    assert torch.equal(detector.loss(other, detector(batch))[0], total)
    unknown = {**batch, "labels": torch.full_like(tiny_batch["labels"], -1)}
    without, rest = detector.loss(unknown, detector(batch))
    assert rest["action_unit"] == 0
    torch.testing.assert_close(without, total - 0.1 * terms["action_unit"])
    unlabelled = {name: tensor for name, tensor in batch.items() if name != "labels"}
    torch.testing.assert_close(detector.loss(unlabelled, detector(unlabelled))[0], without)


@pytest.mark.parametrize("source", ["coefficients", "mesh"])
def test_overfits_a_tiny_batch(make, tiny_batch: dict[str, Tensor], source: str) -> None:
    detector = make(source=source, dropout=0.0, hidden=64)
    optimiser = torch.optim.Adam(detector.parameters(), 5e-3)
    weights = LossWeights(clean=0.0, smooth=0.0, slack=0.01, inverse_dynamics=0.0, action_unit=1.0)
    totals = []
    for _ in range(300):
        total, _ = detector.loss(tiny_batch, detector(tiny_batch), weights)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < totals[0] / 10


def test_the_same_seed_gives_the_same_detector(make, tiny_batch: dict[str, Tensor]) -> None:
    first, second = make(source="both", mass="spd").eval(), make(source="both", mass="spd").eval()
    assert torch.equal(first(tiny_batch).logits, second(tiny_batch).logits)


def test_paper_setting(tiny_rig: FaceRig, tiny_distribution: Distribution, tiny_batch: dict[str, Tensor]) -> None:
    config = dataclasses.replace(DetectorConfig.paper(), action_units=(1, 4, 12), filters=(4, 8))
    detector = Detector(tiny_rig, tiny_distribution, config)
    output = detector(tiny_batch)
    assert detector.encoder is not None
    assert len(detector.encoder.vertices) == 99
    assert output.forces is not None
    assert output.forces.shape == (4, 12, 8, 3)
    assert output.slack is None
    c = tiny_batch["coefficients"]
    # Eq. 6: the second frame follows from the difference alone, whatever the forces.
    assert output.coefficients is not None
    torch.testing.assert_close(output.coefficients[:, 1], c[:, 1])
    _, terms = detector.loss(tiny_batch, output, LossWeights.paper())
    assert set(terms) == {"action_unit", "reconstruction", "clean", "smooth"}
    torch.testing.assert_close(terms["reconstruction"], (c - output.coefficients).square().sum(-1).mean())


def test_bad_batches(make, tiny_batch: dict[str, Tensor]) -> None:
    detector = make(head="physics_image")
    with pytest.raises(KeyError, match="image_features"):
        detector({"coefficients": tiny_batch["coefficients"]})
    with pytest.raises(ValueError, match=r"coefficients must have shape \(..., 8\), got \(4, 12, 7\)"):
        detector({**tiny_batch, "coefficients": tiny_batch["coefficients"][..., :7]})
    with pytest.raises(TypeError, match="coefficients must be torch.float32"):
        detector({**tiny_batch, "coefficients": tiny_batch["coefficients"].double()})
    with pytest.raises(ValueError, match="with T >= 2"):
        detector({**tiny_batch, "coefficients": tiny_batch["coefficients"][:, :1]})


@pytest.mark.parametrize("given", ["displacements", "coefficients"])
def test_other_identities_are_added_to_the_meshes_in_training_alone(
    make, tiny_batch: dict[str, Tensor], tiny_rig: FaceRig, given: str
) -> None:
    batch = dict(tiny_batch)
    if given == "displacements":
        batch[given] = torch.tensordot(batch["coefficients"], tiny_rig.blendshapes, 1)
    plain, augmented = make(head="geometry", identity_strength=0.0), make(head="geometry", identity_strength=0.5)
    assert plain.identity is None
    assert make(head="position").identity is None
    assert DetectorConfig.paper().identity_strength == 0
    seen = []
    augmented.encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    augmented(batch)
    augmented.eval()(batch)
    added = seen[0] - seen[1]
    assert (added.flatten(1).std(1) > 0).all()
    torch.testing.assert_close(added, added[:, :1].expand_as(added))
    # Statistics are of what is seen in training.
    variances = [(d.encoder.normalisation.scale - 0.02).square() for d in (plain, augmented)]
    of_both_views = augmented.encoder.views(augmented.identity.modes).square().sum(1).mean(0)
    torch.testing.assert_close(variances[1], variances[0] + of_both_views)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"head": "mouth"}, "head must be one of geometry"),
        ({"source": "video"}, "source must be one of coefficients, mesh, both, got 'video'"),
        ({"action_units": ()}, "action_units must be one or more"),
        ({"action_units": (1, 1)}, "action_units must be unique"),
        ({"action_units": (0,)}, "action_units must be an integer of at least 1, got 0"),
        ({"filters": ()}, "filters must be one or more"),
        ({"filters": (16, 0.5)}, "filters must be an integer of at least 1, got 0.5"),
        ({"context": -1}, "context must be an integer of at least 0"),
        ({"initial_frames": 1}, "initial_frames must be an integer of at least 2"),
        ({"hidden": 1.5}, "hidden must be an integer"),
        ({"dropout": 1.0}, r"dropout must be a finite number in \[0, 1\)"),
        ({"image_dropout": 1.0}, r"image_dropout must be a finite number in \[0, 1\)"),
        ({"identity_strength": -0.1}, r"identity_strength must be a finite number in \[0, 1e6\], got -0.1"),
    ],
)
def test_bad_configurations(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetectorConfig(**values)
