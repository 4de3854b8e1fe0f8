"""What is recorded of a detector gives what it gives, for other motions and longer ones."""

from __future__ import annotations

import dataclasses
import io

import pytest
import torch
from models.test_detector import SMALL
from torch import Tensor, nn

from biomechau.models import Detector
from biomechau.rig import Distribution, FaceRig

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    # That the parts look at sizes of constants.
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


class _Outputs(nn.Module):
    """The detector's tensors, as torch.jit and torch.export want them."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, c: Tensor) -> tuple[Tensor, ...]:
        output = self.detector({"coefficients": c})
        return tuple(x for x in (output.logits, output.forces, output.coefficients, output.mass) if x is not None)


@pytest.fixture(
    params=[{}, {"source": "both"}, {"mass": "spd"}, {"mass": "region"}, {"head": "position_temporal"}], ids=str
)
def model(
    request: pytest.FixtureRequest, tiny_rig: FaceRig, tiny_distribution: Distribution, tiny_batch: dict[str, Tensor]
) -> _Outputs:
    torch.manual_seed(0)
    detector = Detector(tiny_rig, tiny_distribution, dataclasses.replace(SMALL, **request.param))
    detector.fit_statistics(tiny_batch["coefficients"])
    return _Outputs(detector).eval()


@pytest.mark.parametrize("grad", [False, True])
def test_jit_trace(model: _Outputs, tiny_batch: dict[str, Tensor], grad: bool) -> None:
    c = tiny_batch["coefficients"]
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(model, c)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    other = 0.7 * torch.cat([c, c.flip(-2)], -2)[:3]
    for graph in (traced, torch.jit.load(file)):
        for one, two in zip(graph(other), model(other), strict=True):
            torch.testing.assert_close(one, two)


@pytest.mark.parametrize("strict", [pytest.param(True, marks=pytest.mark.slow), False])
def test_export(model: _Outputs, tiny_batch: dict[str, Tensor], strict: bool) -> None:
    c = tiny_batch["coefficients"]
    program = torch.export.export(model, (c,), strict=strict)
    for one, two in zip(program.module()(0.7 * c), model(0.7 * c), strict=True):
        torch.testing.assert_close(one, two)
