"""Modal systems: what they keep, modes of one frequency, and how fast unstable steps grow."""

from __future__ import annotations

import pytest
import torch
from ops.cases import assert_close, spd

from biomechau import ops
from biomechau.ops import reference


def test_it_keeps_copies_of_its_matrices() -> None:
    mass, stiffness = spd(4), spd(4, seed=1)
    system = ops.ModalSystem(mass, 0.1, stiffness=stiffness, scheme="implicit")
    force, start = torch.rand(6, 4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    before = torch.cat(reference.modal_rollout(system, force, start, start))
    mass.mul_(4)
    stiffness.mul_(9)
    for module in (ops, reference):
        assert_close(torch.cat(module.modal_rollout(system, force, start, start)), before)


@pytest.mark.parametrize("scheme", ["semi_implicit", "implicit"])
@pytest.mark.parametrize("case", ["no stiffness", "zero stiffness", "one frequency", "pairs"])
def test_modes_of_one_frequency_are_chosen_for_the_damping(case: str, scheme: str) -> None:
    mass, damping = spd(6), 0.1 * spd(6, seed=1)
    stiffness: torch.Tensor | None = None
    if case == "zero stiffness":
        stiffness = torch.zeros_like(mass)
    elif case == "one frequency":
        stiffness = 3 * mass
    elif case == "pairs":  # three frequencies, each of two modes
        root = torch.linalg.cholesky(mass)
        modes = torch.linalg.qr(spd(6, seed=2))[0]
        squares = torch.tensor([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], dtype=torch.float64)
        stiffness = root @ (modes * squares) @ modes.mT @ root.mT
        damping = root @ (modes * torch.arange(6)) @ modes.mT @ root.mT / 10
    system = ops.ModalSystem(mass, 0.1, damping, stiffness, scheme)
    force, start = torch.rand(9, 6, dtype=torch.float64), torch.rand(6, dtype=torch.float64)
    expected = reference.euler_rollout(mass, force, start, start, 0.1, damping, stiffness, scheme)
    assert_close(torch.cat(ops.modal_rollout(system, force, start, start)), torch.cat(expected))


@pytest.mark.parametrize("scheme", ["explicit", "semi_implicit", "implicit"])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("damping", [0.0, 0.5, 30.0])
def test_growth_is_that_of_the_step(scheme: str, scale: float, damping: float) -> None:
    mass, stiffness = spd(4), scale * spd(4, seed=1)
    system = ops.ModalSystem(mass, 0.1, damping * mass, stiffness, scheme)
    rest, columns = torch.zeros(8, 1, 4, dtype=torch.float64), torch.eye(8, dtype=torch.float64)
    c, v = reference.modal_rollout(system, rest, columns[:, :4], columns[:, 4:])
    step = torch.cat([c, v], -1)[:, 0].mT
    largest = float(torch.linalg.eigvals(step).abs().max())
    if scheme == "implicit":
        assert system.growth == 1
        assert largest < 1
    else:
        assert system.growth == pytest.approx(largest, rel=1e-6)


def test_without_springs_nothing_grows() -> None:
    assert ops.ModalSystem(spd(4)).growth == 1
