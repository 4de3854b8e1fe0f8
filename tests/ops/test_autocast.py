"""Under autocast every op computes in float32, whatever a layer before it was rounded to."""

from __future__ import annotations

import pytest
import torch
from ops.cases import force_problem, modal_problem, rollout_problem
from ops.convolutions import convolution_problem
from torch import Tensor

from biomechau import ops
from biomechau.ops import reference

MODULES = [ops, reference]


def results(module, half: torch.dtype | None) -> dict[str, Tensor]:
    """A result of every op; with ``half`` the tensors that a layer could compute are of that dtype."""

    def rounded(x: Tensor) -> Tensor:
        x = x.to(torch.bfloat16).float()  # representable in both
        return x if half is None else x.to(half)

    force, roll = force_problem(dtype=torch.float32), rollout_problem(dtype=torch.float32)
    conv, (system, modal) = convolution_problem(dtype=torch.float32), modal_problem(dtype=torch.float32)
    masses = torch.ones(force.blendshapes.shape[1])
    roll["force"], conv["x"], modal["force"] = map(rounded, (roll["force"], conv["x"], modal["force"]))
    return {
        "distribute_forces": module.distribute_forces(force.distribution, rounded(force.force)),
        "reduced_projection": module.reduced_projection(rounded(force.blendshapes), force.distribution),
        "force_projection": module.force_projection(force.blendshapes, force.distribution, rounded(force.force)),
        "generalized_mass": module.generalized_mass(force.blendshapes, rounded(masses)),
        "euler_rollout": module.euler_rollout(**roll)[0],
        "modal_rollout": module.modal_rollout(system, **modal)[0],
        "chebyshev_conv": module.chebyshev_conv(**conv),
    }


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_halves_become_float32(half: torch.dtype, module) -> None:
    expected = results(module, None)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(module, half)
    for name, value in expected.items():
        assert found[name].dtype == torch.float32, name
        assert torch.equal(found[name], value), name


def test_compiled() -> None:
    p = force_problem(dtype=torch.float32)

    def project(force: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return ops.force_projection(p.blendshapes, p.distribution, force)

    half = p.force.bfloat16()
    torch._dynamo.reset()
    compiled = torch.compile(project, fullgraph=True, backend="aot_eager")(half)
    assert torch.equal(compiled, ops.force_projection(p.blendshapes, p.distribution, half.float()))


def test_halves_are_refused_without_autocast() -> None:
    p = force_problem(dtype=torch.float32)
    with pytest.raises(TypeError, match=r"got torch.bfloat16; convert it with \.float\(\)"):
        ops.force_projection(p.blendshapes, p.distribution, p.force.bfloat16())
