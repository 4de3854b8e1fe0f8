"""The benchmark cases at small sizes: every peer that is installed computes what the op computes.

Compiled peers are left out, because compiling takes minutes; the runner checks them before it times them.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

if not (Path(__file__).parents[1] / "benchmarks" / "cases.py").is_file():
    pytest.skip("benchmarks are not here (they are not part of the package)", allow_module_level=True)

import machine
import run
from cases import CASES, Case, chosen_cases
from measure import MODES, Entry, Times, interleave, memory, prepare
from peers import PEERS, REFERENCES, Peer, Runnable, adapters
from problems import Problem
from report import OURS, Result, markdown, summary, write
from scaling import STUDIES, exponent

from biomechau import FaceRig, __version__, _core

CPU = torch.device("cpu")


def eager(peer: Peer) -> bool:
    return not peer.compiled


SMALL = {case.name: case for case in chosen_cases("", gpu=True, small=True)}


# Peers warn of their own doings: deprecations in torch_geometric and Warp.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", SMALL)
def test_every_installed_peer_agrees_with_the_op(name: str) -> None:
    entries = prepare(SMALL[name].op, SMALL[name].problem(), eager)
    assert entries[0].name == OURS
    assert entries[0].runnable is not None
    assert {entry.name: entry.why_not for entry in entries if entry.failed} == {}
    assert sum(entry.runnable is not None for entry in entries) >= 3


MASS = SMALL["generalized_mass N=1000 S=1"]


def add_peer(monkeypatch: pytest.MonkeyPatch, peer: Peer) -> None:
    """Beside ours, for ``MASS``."""
    monkeypatch.setitem(PEERS, MASS.op, (PEERS[MASS.op][0], peer))


def test_a_peer_that_computes_something_else_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = MASS.problem()
    wrong.tensors["mass"] = 1.001 * wrong.tensors["mass"]
    ours = PEERS[MASS.op][0]
    add_peer(monkeypatch, Peer("another", lambda _: ours.prepare(wrong)))
    result = _measured(MASS)
    assert not result.entries[0].failed
    assert result.entries[1].failed
    assert "| another | wrong by 1.0e-03, expected at most 2e-05 |" in markdown({}, [], [result])


@pytest.mark.parametrize("when", ["prepare", "forward", "timing"])
def test_a_peer_that_raises_is_a_row(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    ours = PEERS[MASS.op][0]
    calls = iter(range(1_000_000))

    def fail(at: str, good: Any = None) -> Any:
        if when == at or (when == "timing" and at == "forward" and next(calls) > 3):
            raise torch.cuda.OutOfMemoryError("no | memory\nfor this")
        return good

    def prepared(problem: Problem) -> Runnable:
        fail("prepare")
        runnable = ours.prepare(problem)
        return runnable._replace(forward=lambda: fail("forward", runnable.forward()))

    add_peer(monkeypatch, Peer("greedy", prepared))
    result = _measured(MASS)
    assert result.entry(OURS) is not None
    assert "| greedy | OutOfMemoryError: no / memory for this |" in markdown({}, [], [result])


def test_jax_multiplies_in_float32() -> None:
    pytest.importorskip("jax")
    assert adapters._jax().config.jax_default_matmul_precision == "highest"


def test_a_reference_that_fails_leaves_nothing_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Problem) -> Runnable:
        raise torch.cuda.OutOfMemoryError("too large")

    monkeypatch.setitem(REFERENCES, MASS.op, fail)
    reasons = {entry.why_not for entry in _measured(MASS).entries}
    assert reasons == {"not checked, the reference in float64 failed: OutOfMemoryError: too large"}


def test_usual_peers_exist_and_cases_are_told_apart() -> None:
    assert len({case.name for case in CASES}) == len(CASES) == len({case.id for case in CASES})
    for case in CASES:
        assert case.usual in {peer.name for peer in PEERS[case.op]}


def test_a_peer_that_is_not_installed_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    add_peer(monkeypatch, Peer("elsewhere", PEERS[MASS.op][0].prepare, requires="a_package_that_nobody_has"))
    result = _measured(MASS)
    assert [entry.why_not for entry in result.entries] == [None, "not installed"]
    assert "| elsewhere | not installed |" in markdown({}, [], [result])


def test_ids_can_be_chosen_by_k() -> None:
    assert CASES[0].id == "force_projection-N9409-S8-T32-learnedP"
    assert all(re.fullmatch(r"[\w+-]+", case.id) for case in CASES)


def test_the_report_holds_ratios_and_medians(tmp_path: Path) -> None:
    case = SMALL["decoder N=1000 S=4 T=4"]
    result = _measured(case)
    ours, best, usual = result.entry(OURS), result.best("both"), result.entry(case.usual)
    assert ours is not None
    assert best is not None
    assert usual is not None
    assert usual.times["both"].median >= best.times["both"].median
    text = markdown({"command": "x"}, ["note"], [result])
    ratio = best.times["both"].median / ours.times["both"].median
    assert f"({best.name}) | {ratio:.2f} |" in text
    assert write(tmp_path / "results", "cpu", text).read_text() == text


def test_no_ratio_of_a_busy_machine() -> None:
    times = {mode: Times([2e-3] * 3) for mode in MODES}
    entries = [Entry(OURS, error=0.0, times=times), Entry(MASS.usual, error=0.0, times=times)]
    for result in (Result(MASS, dict.fromkeys(MODES, 1e-3), entries, busy=True), Result(MASS, {}, entries)):
        [*_, row] = summary([result])
        assert row.count("machine busy") == (5 if result.busy else 3)
        assert "%" not in row
    [*_, row] = summary([Result(MASS, dict.fromkeys(MODES, 1e-3), entries)])
    assert "| 1.00 | 1 | 2.0 | 50% |" in row


def test_busy_is_what_others_take(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([(0.0, 0.0, 0.0), (100.0, 90.0, 85.0), (0.0, 0.0, 0.0), (100.0, 90.0, 70.0)])
    monkeypatch.setattr(machine.OtherLoad, "_ticks", staticmethod(lambda: next(ticks)))
    assert [machine.OtherLoad().busy(), machine.OtherLoad().busy()] == [False, True]


def test_a_machine_without_git_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine.description(CPU)["commit"] == "unknown"


def leave_the_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No change of this whole process, and no seconds of measuring what the machine reaches."""
    monkeypatch.setattr(run, "limit_threads", lambda count: None)
    monkeypatch.setattr(run, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(run, "product_rate", lambda device: 1e11)
    monkeypatch.setattr(run, "copy_rate", lambda device, size: 1e10)


@pytest.mark.slow
def test_run_writes_after_every_case_and_takes_a_rig_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FaceRig.builtin(1200).save(tmp_path / "rig.safetensors")
    written: list[int] = []
    monkeypatch.setattr(run, "write", lambda *args: written.append(args[2].count("### ")) or write(*args))
    leave_the_machine_alone(monkeypatch)
    options = ["--small", "--seconds=0", "--peers=none", "--only=rollout,decoder", f"--rig={tmp_path}/rig.safetensors"]
    monkeypatch.setattr(sys, "argv", ["run.py", *options, f"--out={tmp_path}", "--instruction-set=baseline"])
    before = _core.isa()
    try:
        run.main()
    finally:
        _core.select_isa(before)
    assert written == [1, 2, 3, 4]
    text = (tmp_path / "cpu.md").read_text()
    assert "face: ICT-FaceKit with N = 1000" in text
    assert f"biomechau: {__version__} (baseline, compiled for" in text
    progress = capsys.readouterr().err
    for step in ("case 2 of 4", "reference in float64", "ours: checking", "timing 1 peers, both"):
        assert step in progress


def test_run_fails_where_ours_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_the_machine_alone(monkeypatch)
    ours = PEERS["decoder"][0]
    halved = Peer(
        OURS,
        lambda problem: ours.prepare(replace(problem, tensors={**problem.tensors, "c0": problem.tensors["c0"] / 2})),
    )
    monkeypatch.setitem(PEERS, "decoder", (halved, *PEERS["decoder"][1:]))
    monkeypatch.setattr(sys, "argv", ["run.py", "--small", "--seconds=0", "--only=decoder", "--peers=twin"])
    with pytest.raises(SystemExit, match="ours is wrong or failed: decoder N=1000"):
        run.main()


def test_the_exponent_is_that_of_the_power_law() -> None:
    sizes = (3, 7, 20, 50)
    assert exponent(sizes, [1e-6 * size**1.5 for size in sizes]) == pytest.approx(1.5)


def test_every_op_is_in_the_scaling_study() -> None:
    assert {study.case.op for study in STUDIES} == set(PEERS)
    for study in STUDIES:
        assert len({case.name for case in study.cases()}) == 4


@pytest.mark.slow
def test_memory_sees_what_a_call_holds() -> None:
    case = SMALL["force_projection N=1000 S=4 T=4 learned=P"].at(num_frames=64)
    entries = prepare(case.op, case.problem(), lambda peer: peer.name in (OURS, "twin"))
    for entry in entries:
        memory(entry, CPU)
    ours, twin = (entry.memory["forward"] for entry in entries)
    if ours is None or twin is None:
        pytest.skip("this system does not tell the peak of the resident set")
    frames, nnz = 4 * 64, case.problem().constants["distribution"].nnz
    assert twin > 12 * frames * nnz > ours  # the twin's entries of every frame, (S, T, nnz, 3) float32


def _measured(case: Case) -> Result:
    entries: list[Entry] = prepare(case.op, case.problem(), eager)
    interleave(entries, CPU, seconds=0.0)
    return Result(case, dict.fromkeys(MODES, 1e-6), entries)
