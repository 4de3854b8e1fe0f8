"""BatchNorm alone and in two processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from biomechau.models._distributed import BatchNorm

_PROCESS = """
import sys
import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from biomechau.models._distributed import BatchNorm

rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
data = load_file(f"{folder}/data.safetensors")
part = slice(0, 5) if rank == 0 else slice(5, None)
x = data["x"][part].clone().requires_grad_()
layer = BatchNorm(3)
y = layer(x)
(y * data["probe"][part]).sum().backward()
layer.eval()
gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
save_file({"y": y.detach(), "x": x.grad, "later": layer(x).detach(), **gradients}, f"{folder}/{rank}.safetensors")
distributed.destroy_process_group()
"""


def test_alone_it_is_torch_s() -> None:
    x = torch.randn(7, 3)
    ours, theirs = BatchNorm(3), nn.BatchNorm1d(3)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    """Output, gradients and running statistics of 5 and 3 rows apart are those of the 8 rows together."""
    from safetensors.torch import load_file, save_file

    data: dict[str, Tensor] = {"x": 2 + torch.randn(8, 3), "probe": torch.randn(8, 3)}
    save_file(data, tmp_path / "data.safetensors")
    command = [sys.executable, "-c", _PROCESS]
    processes = [subprocess.Popen([*command, str(rank), str(tmp_path)], cwd=tmp_path) for rank in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))

    x = data["x"].clone().requires_grad_()
    layer = nn.BatchNorm1d(3)
    y = layer(x)
    (y * data["probe"]).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(torch.cat([first["y"], second["y"]]), y.detach())
    torch.testing.assert_close(torch.cat([first["x"], second["x"]]), x.grad)
    torch.testing.assert_close(torch.cat([first["later"], second["later"]]), layer.eval()(x).detach())
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(first[name] + second[name], parameter.grad)
