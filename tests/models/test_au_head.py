"""AUHead: every subset of its input."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from biomechau.models import AUHead

SIZES = {"forces": 8, "coefficients": 5, "latents": 7, "image_features": 6}


def make(*names: str, **options) -> AUHead:
    torch.manual_seed(0)
    return AUHead(3, **{f"num_{name}": SIZES[name] for name in names}, **options)


def inputs(*names: str, lead: tuple[int, ...] = (2, 9)) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(*lead, SIZES[name], generator=generator) for name in names}


@pytest.mark.parametrize("names", [n for r in range(1, 5) for n in itertools.combinations(SIZES, r)])
def test_every_subset(names: tuple[str, ...]) -> None:
    head = make(*names)
    given = {name: tensor.requires_grad_() for name, tensor in inputs(*names).items()}
    logits = head(**given)
    assert logits.shape == (2, 9, 3)
    (logits * torch.randn(2, 9, 3)).sum().backward()
    for name, tensor in (*given.items(), *head.named_parameters()):
        grad = tensor.grad
        assert grad is not None, name
        assert grad.abs().max() > 0, name


@pytest.mark.parametrize("lead", [(9,), (2, 9), (2, 2, 9)])
def test_leading_axes(lead: tuple[int, ...]) -> None:
    head = make("forces", "coefficients").eval()
    given = inputs("forces", "coefficients", lead=lead)
    logits = head(**given)
    assert logits.shape == (*lead, 3)
    first = {name: tensor.reshape(-1, 9, SIZES[name])[0] for name, tensor in given.items()}
    torch.testing.assert_close(head(**first), logits.reshape(-1, 9, 3)[0])


def test_vector_forces_are_flattened() -> None:
    head = AUHead(3, num_forces=24).eval()
    forces = torch.randn(2, 9, 8, 3)
    assert torch.equal(head(forces=forces), head(forces=forces.flatten(-2)))


def test_forces_are_normalised_by_the_batch() -> None:
    head = make("forces", dropout=0.0)
    given = inputs("forces")["forces"]
    torch.testing.assert_close(head(forces=given), head(forces=1000 * given + 5), rtol=1e-3, atol=1e-3)


def test_context_sees_neighbours() -> None:
    x = inputs("coefficients", lead=(20,))["coefficients"].requires_grad_()
    for context in (0, 4):
        x.grad = None
        make("coefficients", context=context).eval()(coefficients=x)[10].sum().backward()
        assert x.grad is not None
        assert x.grad.abs().sum(1).nonzero()[:, 0].tolist() == list(range(10 - context, 11 + context))


def test_image_dropout_drops_image_features_alone() -> None:
    head = make("coefficients", "image_features", dropout=0.0, image_dropout=0.8)
    given = inputs("coefficients", "image_features", lead=(50, 20))
    seen: list[Tensor] = []
    head.layers.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    head(**given)
    head.eval()(**given)
    (coefficients, images), (_, all_images) = (joined.split([5, 6], -1) for joined in seen)
    assert torch.equal(coefficients, given["coefficients"])
    assert (images == 0).float().mean() == pytest.approx(0.8, abs=0.02)
    assert not (all_images == 0).any()
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\), got 1"):
        make("image_features", image_dropout=1.0)


def test_dropout_and_seed() -> None:
    given = inputs("coefficients")
    head = make("coefficients")
    torch.manual_seed(3)
    first, other = head(**given), head(**given)
    torch.manual_seed(3)
    assert torch.equal(head(**given), first)
    assert not torch.equal(other, first)
    head.eval()
    assert torch.equal(head(**given), head(**given))


def test_overfits_a_tiny_batch() -> None:
    head = make("forces", "coefficients", dropout=0.0)
    given = inputs("forces", "coefficients")
    labels = (torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(2)) > 0).float()
    optimiser = torch.optim.Adam(head.parameters(), 1e-2)
    losses = []
    for _ in range(200):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(**given), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 10


def test_errors() -> None:
    with pytest.raises(ValueError, match="at least one input"):
        AUHead(3)
    with pytest.raises(ValueError, match="at least one input and no negative size"):
        AUHead(3, num_forces=-1, num_coefficients=3)
    with pytest.raises(ValueError, match="num_action_units must be at least 1"):
        AUHead(0, num_forces=3)
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\), got 1"):
        AUHead(3, num_forces=3, dropout=1.0)
    head = make("forces", "coefficients")
    with pytest.raises(ValueError, match="the head takes forces, coefficients, got forces"):
        head(**inputs("forces"))
    with pytest.raises(ValueError, match="takes forces, coefficients, got .* latents"):
        head(**inputs("forces", "coefficients", "latents"))
    with pytest.raises(ValueError, match=r"coefficients must have shape \(2, 9\) \+ \(5,\), got \(2, 8, 5\)"):
        head(forces=torch.zeros(2, 9, 8), coefficients=torch.zeros(2, 8, 5))
    with pytest.raises(ValueError, match=r"forces must have shape \(..., T, 8\), got \(2, 9, 7\)"):
        head(forces=torch.zeros(2, 9, 7), coefficients=torch.zeros(2, 9, 5))
