"""Dropout alone, and in two processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from biomechau.models._distributed import Dropout

_PROCESS = """
import sys
import torch
from safetensors.torch import save_file
from torch import distributed
from biomechau.models._distributed import Dropout

rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
torch.manual_seed(3)
x = torch.arange(1.0, 121.0).reshape(6, 4, 5)[rank::2]
save_file({"y": Dropout(0.5)(x)}, f"{folder}/{rank}.safetensors")
distributed.destroy_process_group()
"""


def test_it_drops_a_share_and_keeps_the_mean() -> None:
    y = Dropout(0.3)(torch.ones(40, 50, 20))
    assert float((y == 0).double().mean()) == pytest.approx(0.3, abs=0.01)
    assert torch.equal(y.unique(), torch.tensor([0.0, 1 / 0.7]))


def test_without_training_it_does_nothing() -> None:
    x = torch.rand(3, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_gradient_is_dropped_alike() -> None:
    x = torch.ones(5, 6, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())  # type: ignore[arg-type]


def test_a_share_out_of_range() -> None:
    with pytest.raises(ValueError, match="dropout must lie in"):
        Dropout(1.0)


@pytest.mark.slow
def test_two_processes_drop_what_one_does(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PROCESS]
    processes = [subprocess.Popen([*command, str(rank), str(tmp_path)], cwd=tmp_path) for rank in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    torch.manual_seed(3)
    y = Dropout(0.5)(torch.arange(1.0, 121.0).reshape(6, 4, 5))
    for rank in range(2):
        assert torch.equal(load_file(tmp_path / f"{rank}.safetensors")["y"], y[rank::2])
