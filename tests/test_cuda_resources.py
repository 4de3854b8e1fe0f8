"""What benchmarks/cuda_resources.py reads in the words of ptxas and nvdisasm."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

if not (Path(__file__).parents[1] / "benchmarks" / "cuda_resources.py").is_file():
    pytest.skip("benchmarks are not here (they are not part of the package)", allow_module_level=True)

import cuda_resources
from cuda_resources import Accesses, Resources, faults, parse_ptxas, parse_sass, short_name, table

_ADJOINT = "_ZN9biomechau4cuda55_GLOBAL__N__af26d599_16_modal_rollout_cu_a3fa058d_1416314adjoint_kernelIdEEvNS_1XEi"
_ROLLOUT = "_ZN9biomechau4cuda55_GLOBAL__N__af26d599_16_modal_rollout_cu_a3fa058d_1416314rollout_kernelIfEEvNS_1XEi"
_PTXAS = f"""\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{_ADJOINT}' for 'sm_90'
ptxas info    : Function properties for {_ADJOINT}
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 74 registers, used 1 barriers
ptxas info    : Compile time = 5331.145 ms
ptxas info    : Compiling entry function '{_ROLLOUT}' for 'sm_90'
ptxas info    : Function properties for {_ROLLOUT}
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 1024 bytes smem, 16 bytes cumulative stack size
"""
# An outer loop from .L_x_0 with an innermost one from .L_x_1: two of its accesses are generic, one outside is.
_SASS = f"""\
\t.section\t.text.{_ROLLOUT},"ax",@progbits
.text.{_ROLLOUT}:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/               @P0 LDG.E R2, desc[UR4][R4.64] ;
.L_x_0:
        /*0020*/                   LD.E R3, desc[UR4][R6.64] ;
.L_x_1:
        /*0030*/              @!P1 LD.E.64 R8, desc[UR4][R6.64] ;
        /*0040*/                   LDS R9, [R10] ;
        /*0050*/              @!P1 BRA `(.L_x_2) ;
        /*0060*/                   ST.E desc[UR4][R6.64], R8 ;
.L_x_2:
        /*0070*/                   STS [R10], R9 ;
        /*0080*/               @P0 BRA `(.L_x_1) ;
        /*0090*/              @UP0 BRA.U `(.L_x_0) ;
        /*00a0*/                   EXIT ;
.L_x_3:
        /*00b0*/                   BRA `(.L_x_3);
.text.{_ADJOINT}:
        /*0000*/                   EXIT ;
"""


def test_the_report_of_ptxas() -> None:
    assert parse_ptxas(_PTXAS) == {_ADJOINT: Resources(74, 0, 0, 0), _ROLLOUT: Resources(255, 20, 16, 1024)}


def test_accesses_and_loops_of_the_machine_code() -> None:
    assert parse_sass(_SASS) == {_ROLLOUT: Accesses(12, 3, 2, (8, 6)), _ADJOINT: Accesses(1, 0, 0)}


def test_names_of_kernels() -> None:
    assert short_name(_ADJOINT) == ("adjoint_kernel", "float64")
    assert short_name(_ROLLOUT) == ("rollout_kernel", "float32")
    assert short_name("_ZN4cuda16sum_pairs_kernelILi8EdEEvNS_14MassEPT0_") == ("sum_pairs_kernel", "float64")
    assert short_name("_ZN4cuda14product_kernelIfNS0_7StridedIfEES3_EEvv") == ("product_kernel", "float32")
    assert short_name("_ZN4cuda14nothing_kernelEv") == ("nothing_kernel", "")


def test_faults_are_spills_and_generic_accesses_in_innermost_loops() -> None:
    kernel = _ROLLOUT, Resources(255, 20, 16, 0), Accesses(12, 3, 2)
    assert faults("modal_rollout/modal_rollout.cu", {"rollout_kernel float32": kernel}) == [
        "modal_rollout/modal_rollout.cu: rollout_kernel float32 spills 20 bytes",
        "modal_rollout/modal_rollout.cu: rollout_kernel float32 has 2 generic accesses in innermost loops",
    ]
    assert not faults("modal_rollout/modal_rollout.cu", {"": (_ROLLOUT, Resources(64, 0, 0, 0), None)})


def test_the_table_shows_the_largest_of_the_instances() -> None:
    kernels = [
        ("_ZN14product_kernelIfNS_1AEEEvv", Resources(40, 0, 0, 10), Accesses(100, 1, 0, (30, 9))),
        ("_ZN14product_kernelIfNS_1BEEEvv", Resources(50, 0, 8, 0), Accesses(90, 0, 0, (7,))),
        ("_ZN14nothing_kernelEv", Resources(4, 0, 0, 0), None),
    ]
    assert table({"common/product.cu": kernels})[2:] == [
        "| common/product.cu | nothing_kernel |  | 1 | 4 | 0 | 0 | 0 |  |  |  |  |",
        "| common/product.cu | product_kernel | float32 | 2 | 50 | 0 | 8 | 10 | 100 | 1 | 0 | 30 9; 7 |",
    ]


def test_the_command_compiles_and_tells_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With stand-ins for the programs of NVIDIA."""
    for name, text in (("nvcc", _PTXAS), ("nvdisasm", _SASS)):
        (tmp_path / f"{name}.txt").write_text(text)
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo "release 13.0, V13.0.88" || cat {tmp_path}/{name}.txt\n'
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDACXX", str(tmp_path / "nvcc"))
    out, source = tmp_path / "table.md", cuda_resources.TOP / "csrc" / "modal_rollout" / "modal_rollout.cu"
    assert cuda_resources.main([str(source), "--out", str(out), "--nvdisasm", str(tmp_path / "nvdisasm")]) == 1
    text = out.read_text()
    assert "No kernel has run on a GPU" in text
    assert "nvcc 13.0.88, nvdisasm 13.0.88" in text
    row = "| modal_rollout/modal_rollout.cu | rollout_kernel | float32 | 1 | 255 | 20 | 16 | 1024 | 12 | 3 | 2 | 8 6 |"
    assert row in text
    assert "rollout_kernel float32 spills 20 bytes" in capsys.readouterr().err
