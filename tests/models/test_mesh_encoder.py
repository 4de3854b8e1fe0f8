"""MeshEncoder and Normalisation."""

from __future__ import annotations

import pytest
import torch

from biomechau.models import MeshEncoder, MeshHierarchy, Normalisation
from biomechau.rig import FaceRig


@pytest.fixture(scope="module")
def hierarchy() -> MeshHierarchy:
    return MeshHierarchy.from_rig(FaceRig.builtin(1000), num_input_vertices=300)


def make(hierarchy: MeshHierarchy, **options) -> MeshEncoder:
    torch.manual_seed(0)
    return MeshEncoder(hierarchy, **options)


@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes(hierarchy: MeshHierarchy, lead: tuple[int, ...], dtype: torch.dtype) -> None:
    encoder = make(hierarchy, latent_size=7).to(dtype)
    u = torch.randn(*lead, 1000, 3, dtype=dtype)
    z = encoder(u)
    assert z.shape == (*lead, 7)
    assert z.dtype == dtype
    # The rig's vertices and the encoder's own give the same.
    assert torch.equal(encoder(u[..., encoder.vertices, :]), z)


def test_equals_its_parts(hierarchy: MeshHierarchy) -> None:
    """Convolution, ReLU and selection by a 0/1 matrix, level by level."""
    encoder = make(hierarchy)
    x = torch.randn(2, 300, 3)
    expected = x
    for convolution, level in zip(encoder.convolutions, hierarchy.levels[1:], strict=True):
        selection = torch.zeros(level.num_vertices, expected.shape[1])
        selection[torch.arange(level.num_vertices), level.kept] = 1
        expected = selection @ convolution(expected).relu()
    torch.testing.assert_close(encoder(x), encoder.latent(expected.flatten(1)))


def test_linear_path(hierarchy: MeshHierarchy) -> None:
    """The linear map of the components of what the normalisation gives is added to the latent."""
    plain, encoder = make(hierarchy), make(hierarchy, linear_path=True)
    u = torch.randn(40, 300, 3)
    assert torch.equal(encoder(u), plain(u))  # nothing is known of the meshes yet
    encoder.fit_normalisation(u)
    plain.fit_normalisation(u)
    assert encoder.linear_path is not None
    assert encoder.components is not None
    straight = encoder.linear_path(encoder.components(encoder.normalisation(u).flatten(1)))
    assert straight.abs().max() > 0
    torch.testing.assert_close(encoder(u), plain(u) + straight)


def test_components_of_the_meshes_with_what_augmentation_adds(hierarchy: MeshHierarchy) -> None:
    """Their covariance is diagonal over data and modes together, whatever pieces the data come in, and shrunk."""
    encoder, pieces = make(hierarchy, linear_path=True), make(hierarchy, linear_path=True)
    u = torch.randn(30, 12).matmul(torch.randn(12, 900)).view(30, 300, 3)
    modes = 0.3 * torch.randn(5, 300, 3)
    encoder.fit_normalisation(u, modes)
    pieces.fit_normalisation(u.split(7), modes)
    assert encoder.components is not None
    assert pieces.components is not None
    normal = encoder.normalisation(u).flatten(1)
    centred, scaled = normal - normal.mean(0), (modes / encoder.normalisation.scale).flatten(1)
    features, added = encoder.components(centred), encoder.components(scaled)
    covariance = features.mT @ features / 30 + added.mT @ added
    data = torch.cat([centred / 30**0.5, scaled])
    variance = torch.linalg.svdvals(data)[:17].square()  # 12 of the data and 5 modes; there is no more
    expected = torch.zeros(256)
    expected[:17] = variance / (variance + 0.03 * variance[0])
    torch.testing.assert_close(covariance, expected.diag(), atol=1e-4, rtol=0)
    torch.testing.assert_close(pieces.components(normal), encoder.components(normal), atol=1e-3, rtol=0)


def test_gradients_reach_every_parameter(hierarchy: MeshHierarchy) -> None:
    encoder = make(hierarchy, linear_path=True)
    u = torch.randn(3, 300, 3, requires_grad=True)
    encoder.fit_normalisation(torch.randn(8, 300, 3))
    encoder(u).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert u.grad is not None
    assert u.grad.abs().max() > 0


def test_latent_relu(hierarchy: MeshHierarchy) -> None:
    x = torch.randn(8, 300, 3)
    plain, clipped = make(hierarchy)(x), make(hierarchy, latent_relu=True)(x)
    assert plain.min() < 0
    assert torch.equal(clipped, plain.relu())


def test_normalisation_per_vertex_and_axis(hierarchy: MeshHierarchy) -> None:
    encoder = make(hierarchy)
    u = 3 + torch.randn(50, 1000, 3) * torch.rand(1000, 3)
    encoder.fit_normalisation(u)
    chosen = u[:, encoder.vertices]
    torch.testing.assert_close(encoder.normalisation.mean, chosen.mean(0))
    torch.testing.assert_close(encoder.normalisation.scale, chosen.std(0, correction=0) + 0.02)
    # The same from pieces, and it changes what the encoder sees.
    pieces = make(hierarchy)
    before = pieces(u)
    pieces.fit_normalisation(iter(u.split(13)))
    torch.testing.assert_close(pieces.normalisation.scale, encoder.normalisation.scale)
    assert not torch.allclose(pieces(u), before)


def test_normalisation_with_a_large_mean() -> None:
    normalisation = Normalisation((1,))
    normalisation.fit(torch.tensor([[1e7 - 1], [1e7 + 1]], dtype=torch.float64))
    torch.testing.assert_close(normalisation.scale, torch.ones(1))


def test_overfits_a_tiny_batch(hierarchy: MeshHierarchy) -> None:
    encoder = make(hierarchy, latent_size=4)
    u, target = torch.randn(6, 300, 3), torch.randn(6, 4)
    optimiser = torch.optim.Adam(encoder.parameters(), 3e-3)
    losses = []
    for _ in range(150):
        loss = (encoder(u) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 10


def test_errors(hierarchy: MeshHierarchy) -> None:
    with pytest.raises(ValueError, match="one per pooling, got 2 for 4"):
        MeshEncoder(hierarchy, filters=(16, 16))
    with pytest.raises(ValueError, match="latent_size must be at least 1"):
        MeshEncoder(hierarchy, latent_size=0)
    with pytest.raises(ValueError, match=r"\(..., 1000, 3\), or \(..., 300, 3\) .* got \(2, 999, 3\)"):
        make(hierarchy)(torch.zeros(2, 999, 3))
    normalisation = Normalisation((3,))
    with pytest.raises(ValueError, match=r"samples must have shape \(..., 3\), got \(4, 2\)"):
        normalisation.fit(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="no samples"):
        normalisation.fit([])
    with pytest.raises(ValueError, match="std must be positive"):
        normalisation.fit(torch.ones(4, 3))
    with pytest.raises(ValueError, match="mean must be finite"):
        normalisation.fit(torch.full((4, 3), torch.nan))
    with pytest.raises(ValueError, match="floor must be at least 0"):
        Normalisation((3,), -1)
    with pytest.raises(ValueError, match=r"std must have shape \(3,\)"):
        normalisation.set(torch.zeros(3), torch.ones(2))
