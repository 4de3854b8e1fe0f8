"""The linear filter of the trial: it finds a linear response with a lag, whatever else moves."""

from __future__ import annotations

import torch

from biomechau.analysis._linear_filter import LinearFilter
from biomechau.analysis.learned_metric import SimulatedPerson


def person(seed: int) -> SimulatedPerson:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(2, 80, 3, generator=generator, dtype=torch.float64).square()
    late = torch.cat([truth[:, :1], truth[:, :-1]], 1)
    mixing = torch.tensor([[1.0, 0.2, 0.0, 0.1], [0.0, 1.0, 0.3, 0.0], [0.1, 0.0, 1.0, 0.5]], dtype=torch.float64)
    return SimulatedPerson(late @ mixing, truth, torch.ones(2, 80, dtype=torch.bool), 25.0)


def test_a_late_linear_response_is_undone() -> None:
    found = LinearFilter([person(seed) for seed in range(8)]).forces([person(100)])
    truth = person(100).forces
    assert found.shape == truth.shape
    assert float(found.min()) >= 0
    inner = slice(4, -4)
    for muscle in range(3):
        pair = torch.stack([x[:, inner, muscle].flatten() for x in (found, truth)])
        assert float(torch.corrcoef(pair)[0, 1]) > 0.97


def test_frames_that_were_not_recorded_teach_nothing() -> None:
    people = [person(seed) for seed in range(4)]
    spoilt = [
        SimulatedPerson(
            torch.cat([p.coefficients, torch.full_like(p.coefficients[:1], 50.0)]),
            torch.cat([p.forces, torch.full_like(p.forces[:1], -7.0)]),
            torch.cat([p.valid, torch.zeros_like(p.valid[:1])]),
            p.fps,
        )
        for p in people
    ]
    expected = LinearFilter(people).forces(people)
    assert torch.allclose(LinearFilter(spoilt).forces(people), expected, atol=1e-9)
