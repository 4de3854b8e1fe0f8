"""The benchmark cases at small sizes: every peer that is installed computes what the op computes.

Compiled peers are left out, because compiling takes minutes; the runner checks them before it times them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

if not (Path(__file__).parents[1] / "benchmarks" / "cases.py").is_file():
    pytest.skip("benchmarks are not here (they are not part of the package)", allow_module_level=True)

from cases import CASES, Case
from measure import MODES, Entry, interleave, memory, prepare
from peers import PEERS, Peer
from report import OURS, Result, as_json, markdown, write
from scaling import STUDIES, exponent

CPU = torch.device("cpu")


def small(case: Case) -> Case:
    """On the smallest built-in face."""
    sizes = {name: min(value, 4) for name, value in case.sizes.items() if name in ("num_sequences", "num_frames")}
    return case.at(1000, **sizes)


def eager(peer: Peer) -> bool:
    return "compiled" not in peer.name


SMALL = {small(case).name: small(case) for case in CASES}


# Peers warn of their own doings: deprecations in torch_geometric and Warp.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", SMALL)
def test_every_installed_peer_agrees_with_the_op(name: str) -> None:
    entries = prepare(SMALL[name].op, SMALL[name].problem(), eager)
    assert entries[0].name == OURS
    assert entries[0].runnable is not None
    assert sum(entry.runnable is not None for entry in entries) >= 3


def test_a_peer_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = SMALL["generalized_mass N=1000 S=1"]
    problem = case.problem()
    wrong = case.problem()
    wrong.tensors["mass"] = 1.001 * wrong.tensors["mass"]
    ours = PEERS[case.op][0]
    peer = Peer("wrong", lambda _: ours.prepare(wrong))
    monkeypatch.setitem(PEERS, case.op, (peer,))
    with pytest.raises(ValueError, match="'wrong' is off by"):
        prepare(case.op, problem)


def test_usual_peers_exist_and_cases_are_told_apart() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.usual in {peer.name for peer in PEERS[case.op]}


def test_a_peer_that_is_not_installed_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    case = SMALL["generalized_mass N=1000 S=1"]
    ours = PEERS[case.op][0]
    absent = Peer("elsewhere", ours.prepare, requires="a_package_that_nobody_has")
    monkeypatch.setitem(PEERS, case.op, (ours, absent))
    result = _measured(case)
    assert [entry.why_not for entry in result.entries] == [None, "not installed"]
    assert "| elsewhere | not installed |" in markdown({}, [], [result])


def test_the_report_holds_ratios_and_every_sample(tmp_path: Path) -> None:
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
    paths = write(tmp_path / "results", "cpu", {"md": text, "json": as_json({"command": "x"}, [result])})
    assert paths[0].read_text() == text
    peers = {peer["name"]: peer for peer in json.loads(paths[1].read_text())["cases"][0]["peers"]}
    assert peers[OURS]["samples"] == {mode: ours.times[mode].samples for mode in MODES}


def test_the_exponent_is_that_of_the_power_law() -> None:
    sizes = (3, 7, 20, 50)
    assert exponent(sizes, [1e-6 * size**1.5 for size in sizes]) == pytest.approx(1.5)


def test_every_op_is_in_the_scaling_study() -> None:
    assert {study.case.op for study in STUDIES} == set(PEERS)
    for study in STUDIES:
        assert len({case.name for case in study.cases()}) == 4


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
