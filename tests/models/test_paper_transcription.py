"""The paper's setting against its equations, written out in plain torch: number by number, in float64."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from biomechau.models import Detector, DetectorConfig, DetectorOutput, LossWeights
from biomechau.rig import Distribution, FaceRig

_WEIGHTS = LossWeights.paper()
_EXACT = {"rtol": 1e-9, "atol": 1e-9}


def transcribed(model: Detector, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Eq. 1 to 17 for sequences c (S, T, K), with time in frames and the vertices' mean mass as unit."""
    state = model.state_dict()
    B, c, N = model.rig.blendshapes.double(), batch["coefficients"], model.rig.num_vertices
    m, P = N * model.rig.vertex_masses.double(), model.distribution.dense().double()
    # Eq. 3
    u = torch.einsum("stk,kna->stna", c, B)
    # Eq. 7: convolutions over the mesh by Chebyshev polynomials (reference 29), each followed by down-sampling
    x = (u[..., model.encoder.vertices, :] - state["encoder.normalisation.mean"]) / state["encoder.normalisation.scale"]
    for number, layer in enumerate(model.encoder.convolutions):
        laplacian, weight = layer.laplacian.dense().double(), state[f"encoder.convolutions.{number}.weight"]
        terms = [x, laplacian @ x]
        while len(terms) < len(weight):
            terms.append(2 * laplacian @ terms[-1] - terms[-2])
        x = sum(term @ w for term, w in zip(terms, weight, strict=True)) + state[f"encoder.convolutions.{number}.bias"]
        x = x[..., state_of(model.encoder, f"kept_{number}"), :].relu()
    z = linear(state, "encoder.latent", x.flatten(-2))
    # Eq. 8: a perceptron gives the muscle forces of each frame and the mass of the sequence
    hidden = linear(state, "regressor.layers.0.convolution", z).relu()
    hidden = linear(state, "regressor.layers.2", hidden).relu()
    F = linear(state, "regressor.forces", hidden).unflatten(-1, (-1, 3))
    p, K = linear(state, "regressor.mass_parameters", hidden.mean(1)), len(B)
    # Eq. 4, and the mass that is regressed: L0 X X^T L0^T, X = 1 before training
    M0 = 0.5 * torch.einsum("n,jna,kna->jk", m, B, B)
    X = torch.diag_embed(p[:, :K].exp())
    row, col = torch.tril_indices(K, K, -1)
    X[:, row, col] = p[:, K:] / K
    root = torch.linalg.cholesky(M0) @ X
    M = root @ root.mT
    # Eq. 1 and 9
    F_ext = torch.einsum("nm,stma->stna", P, F)
    Q = torch.einsum("kna,stna->stk", B, F_ext)
    # Eq. 5, 6 and 10: c(t+1) = c(t) + c'(t), c'(t+1) = c'(t) + M^-1 Q(t)
    moved, rate = [c[:, 0]], c[:, 1] - c[:, 0]
    for t in range(c.shape[1] - 1):
        moved.append(moved[-1] + rate)
        rate = rate + torch.linalg.solve(M, Q[:, t])
    c_tilde = torch.stack(moved, 1)
    # Eq. 11 and 12: image features are given; the head sees forces and coefficients beside them
    images = batch["image_features"]
    standard = (c - state["statistics.mean"]) / state["statistics.scale"]
    inputs = [batch_norm(state, "forces", F.flatten(-2)), standard, batch_norm(state, "image_features", images)]
    hidden = linear(state, "head.layers.1.convolution", torch.cat(inputs, -1)).relu()
    y_hat = linear(state, "head.layers.4", hidden).sigmoid()
    # Eq. 13 to 16; Eq. 14 with the minus sign that the print lacks
    y, T = batch["labels"].double(), c.shape[1]
    L = {
        "reconstruction": (c - c_tilde).square().sum(-1).sum(1) / T,
        "action_unit": -(y * y_hat.log() + (1 - y) * (1 - y_hat).log()).mean(-1).mean(1),
        "clean": F.abs().sum(-1).mean(-1).mean(1),
        "smooth": F.diff(dim=1).square().sum((-1, -2)).sum(1) / T,
    }
    return {"p": y_hat, "F": F, "M": M, "c": c_tilde, "Q": Q}, {name: term.mean() for name, term in L.items()}


def linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].flatten(1).T + state[f"{name}.bias"]


def batch_norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, variance, gain, bias = (
        state[f"head.normalisations.{name}.{of}"] for of in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * gain + bias


def state_of(module: torch.nn.Module, name: str) -> Tensor:
    return dict(module.named_buffers())[name]


@pytest.fixture
def model(tiny_rig: FaceRig, tiny_distribution: Distribution, tiny_batch: dict[str, Tensor]) -> Detector:
    """The paper's setting in small sizes, with random weights, in evaluation."""
    sizes = {"action_units": (1, 4, 12), "hidden": 16, "head_hidden": 16, "latent_size": 8, "filters": (4, 8)}
    config = dataclasses.replace(DetectorConfig.paper("physics_image", num_image_features=5), **sizes)
    torch.manual_seed(0)
    model = Detector(tiny_rig, tiny_distribution, config, dtype=torch.float64)
    model.fit_statistics(tiny_batch["coefficients"].double())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
            if name.endswith("weight") and parameter.ndim == 1:
                parameter.abs_().add_(0.5)
        for norm in model.head.normalisations.values():
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return model.eval()


def test_every_quantity_and_every_term(model: Detector, tiny_batch: dict[str, Tensor]) -> None:
    batch = {name: x.double() if x.is_floating_point() else x for name, x in tiny_batch.items()}
    batch["labels"], batch["valid"] = batch["labels"].clamp_min(0), torch.ones_like(batch["labels"][..., 0]).bool()
    output: DetectorOutput = model(batch)
    quantities, terms = transcribed(model, batch)
    frames = model.config.physics.fps
    # Seconds and a face of mass 1 inside the package, frames and vertices of mean mass 1 in the transcription.
    mass, force = 1 / model.rig.num_vertices, frames**2 / model.rig.num_vertices
    for found, name, unit in (
        (output.probabilities, "p", 1.0),
        (output.forces, "F", 1.0),
        (output.mass, "M", mass),
        (output.generalized_force, "Q", force),
        (output.coefficients, "c", 1.0),
    ):
        torch.testing.assert_close(found, quantities[name] * unit, **_EXACT, msg=lambda m, n=name: f"{n}: {m}")
    # Eq. 17
    total, found = model.loss(batch, output, _WEIGHTS)
    assert found.keys() == terms.keys()
    for name, term in terms.items():
        torch.testing.assert_close(found[name], term, **_EXACT, msg=lambda m, n=name: f"{n}: {m}")
    torch.testing.assert_close(total, sum(getattr(_WEIGHTS, name) * term for name, term in terms.items()))
