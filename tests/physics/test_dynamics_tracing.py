"""What is recorded of FaceDynamics gives what it gives, for other motions and longer ones."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor, nn

from biomechau.physics import FaceDynamics, PhysicsConfig, required_force
from biomechau.rig import Distribution, FaceRig

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def _inputs(dynamics: FaceDynamics, num_frames: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(2, *shape, generator=generator)

    return {
        "force": randn(num_frames, *dynamics.force_shape),
        "c": randn(num_frames, dynamics.num_shapes),
        "c0": randn(dynamics.num_shapes),
        "v0": randn(dynamics.num_shapes),
    }


@pytest.mark.parametrize("config", [PhysicsConfig(), PhysicsConfig.paper()], ids=["default", "paper"])
@pytest.mark.parametrize("grad", [False, True])
def test_jit_trace(tiny_rig: FaceRig, tiny_distribution: Distribution, config: PhysicsConfig, grad: bool) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution, config)
    methods = {
        "rollout": ("force", "c0", "v0"),
        "integrate": ("c", "c0", "v0"),
        "generalized_force": ("force",),
        "initial_state": ("c",),
        "deform": ("c",),
    }
    example = {name: value.requires_grad_(grad) for name, value in _inputs(dynamics, 6, seed=0).items()}
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace_module(
            dynamics, {method: tuple(example[name] for name in names) for method, names in methods.items()}
        )
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    others = _inputs(dynamics, 9, seed=1)
    for graph in (traced, torch.jit.load(file)):
        for method, names in methods.items():
            inputs = [others[name] for name in names]
            actual, expected = getattr(graph, method)(*inputs), getattr(dynamics, method)(*inputs)
            for one, other in zip(actual, expected, strict=True):
                assert torch.equal(one, other), method


def test_jit_trace_with_a_mass(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution)
    example, other = _inputs(dynamics, 6, seed=0), _inputs(dynamics, 9, seed=1)
    with torch.no_grad():
        traced = torch.jit.trace(
            lambda *args: dynamics.rollout(*args), (example["force"], example["c0"], example["v0"], dynamics.mass)
        )
    inputs = other["force"], other["c0"], other["v0"], 2 * dynamics.mass
    for one, two in zip(traced(*inputs), dynamics.rollout(*inputs), strict=True):
        assert torch.equal(one, two)


def test_jit_trace_of_the_inverse(tiny_rig: FaceRig, tiny_distribution: Distribution) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution)
    example, other = (_inputs(dynamics, num, seed)["c"] for num, seed in ((6, 0), (9, 1)))
    traced = torch.jit.trace(lambda c: required_force(dynamics, c), example)
    assert torch.equal(traced(other), required_force(dynamics, other))
    with pytest.raises(RuntimeError, match="cannot record inverse_dynamics: it iterates"):
        torch.jit.trace(lambda c: dynamics.inverse(c), example)
    with pytest.raises(RuntimeError, match="cannot record the construction of"):
        torch.jit.trace(lambda c: FaceDynamics(tiny_rig, tiny_distribution).deform(c), example)


class _Rollout(nn.Module):
    def __init__(self, dynamics: FaceDynamics) -> None:
        super().__init__()
        self.dynamics = dynamics

    def forward(self, force: Tensor, c0: Tensor, v0: Tensor) -> tuple[Tensor, Tensor]:
        return self.dynamics.rollout(force, c0, v0)


@pytest.mark.parametrize("strict", [True, False])
def test_export_for_any_length(tiny_rig: FaceRig, tiny_distribution: Distribution, strict: bool) -> None:
    dynamics = FaceDynamics(tiny_rig, tiny_distribution)
    example, other = _inputs(dynamics, 6, seed=0), _inputs(dynamics, 9, seed=1)
    names = ("force", "c0", "v0")
    shapes = {"force": {1: torch.export.Dim("num_frames", min=2)}, "c0": None, "v0": None}
    program = torch.export.export(
        _Rollout(dynamics), tuple(example[name] for name in names), dynamic_shapes=shapes, strict=strict
    )
    inputs = [other[name] for name in names]
    for one, two in zip(program.module()(*inputs), dynamics.rollout(*inputs), strict=True):
        assert torch.equal(one, two)
