"""The check on a machine with a GPU, as far as a CPU can try it; ``--dry-run`` runs the steps themselves."""

from __future__ import annotations

import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

if not (Path(__file__).parents[1] / "benchmarks" / "gpu_check.py").is_file():
    pytest.skip("benchmarks are not here (they are not part of the package)", allow_module_level=True)

import gpu_check
import gpu_steps
from gpu_check import TOTAL, Report
from gpu_steps import PARTS, Settings, Step, building, missing, preparation
from gpu_times import graph_times


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "out").mkdir()
    (tmp_path / "work").mkdir()
    return Settings(tmp_path / "out", tmp_path / "work", wheels=tmp_path)


@pytest.fixture
def report(settings: Settings) -> Report:
    return Report(settings, "gpu_check", time.monotonic())


def python(name: str, code: str, **fields: Any) -> Step:
    return Step(name, fields.pop("limit", 60), [sys.executable, "-c", code], **fields)


@pytest.mark.parametrize("part", PARTS)
def test_the_limits_add_up_to_less_than_all_time(part: str, settings: Settings) -> None:
    steps = [*preparation(settings), *building(settings, "90"), *PARTS[part](settings)]
    assert len({step.name for step in steps}) == len(steps)
    assert sum(step.limit for step in steps) <= TOTAL - 20


def test_the_build_is_for_this_gpu(settings: Settings) -> None:
    build, _ = building(settings, "90")
    assert "-Ccmake.define.CMAKE_CUDA_ARCHITECTURES=90" in build.command
    assert "-Ccmake.define.BIOMECHAU_CUDA=ON" in build.command


def test_every_sanitizer_watches_the_kernels_of_this_package(settings: Settings) -> None:
    steps = {step.name: step for step in PARTS["check"](settings) if step.command[0] == "compute-sanitizer"}
    assert set(steps) == {"memcheck", "racecheck", "synccheck", "initcheck"}
    for name, step in steps.items():
        assert step.command[1:3] == ["--tool", name]
        assert ("kns=biomechau" in step.command) == ("--error-exitcode" in step.command) == (name != "initcheck")
    found = "========= Uninitialized __global__ memory read\n=========     at void biomechau::cuda::term_kernel<float>"
    assert gpu_check._result(0, 1, steps["initcheck"], found).startswith("FAILED")
    assert gpu_check._result(0, 1, steps["initcheck"], found.replace("biomechau", "at::native")) == "passed"


def test_skipped_tests_are_no_success_on_a_gpu(settings: Settings) -> None:
    [tests] = [step for step in PARTS["check"](settings) if step.name == "tests"]
    assert gpu_check._result(0, 1, tests, "679 skipped in 3 s") == r"FAILED, its log has no '\\d+ passed'"
    assert gpu_check._result(0, 1, tests, "679 passed in 30 s") == "passed"


def test_a_step_that_fails_is_a_line_and_every_log_is_in_the_archive(report: Report, settings: Settings) -> None:
    (settings.out / "cuda.md").write_text("a table")
    assert report.run(python("good", "print('3 passed')", expects=r"\d passed"))
    assert not report.run(python("bad one", "raise ValueError('no | good')"))
    assert not report.run(Step("absent", 60, ["no-such-tool"]))
    assert report.failed
    lines = (settings.out / "gpu_check.md").read_text().splitlines()
    assert lines[-3].startswith("| good | passed | ")
    assert lines[-3].endswith("| 3 passed |")
    assert lines[-2].startswith("| bad one | FAILED (1) | ")
    assert lines[-2].endswith("| ValueError: no / good |")
    assert lines[-1].startswith("| absent | not run: there is no no-such-tool | ")
    with tarfile.open(settings.out / "gpu_check.tar.gz") as tar:
        assert tar.getnames() == [
            f"gpu_check/{name}" for name in ("bad-one.log", "cuda.md", "good.log", "gpu_check.md")
        ]
    assert not list(settings.out.glob(".*"))


def test_a_step_that_hangs_is_interrupted(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "_LEAST", 0)
    hanging = python("hanging", "import signal; print('begun', flush=True); signal.pause()", limit=3)
    assert not report.run(hanging)
    assert report.lines[-1].startswith("| hanging | FAILED, stopped after 3 s | ")
    assert "KeyboardInterrupt" in report.log(hanging).read_text()


def test_no_step_begins_when_time_is_up(settings: Settings) -> None:
    report = Report(settings, "gpu_check", time.monotonic() - TOTAL + 12)
    assert not report.run(python("late", "print('ran')"))
    assert report.lines[-1].startswith("| late | not run: no time left | ")
    assert not report.log(python("late", "")).exists()


@pytest.mark.slow
def test_the_environment_of_the_user_does_not_hide_the_benchmarks(
    settings: Settings, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("SKBUILD_CMAKE_DEFINE", "BIOMECHAU_CUDA=OFF")
    assert "SKBUILD_CMAKE_DEFINE" not in settings.environment()
    assert report.run(Step("benchmarks", 300, [*settings.benchmark("run.py"), "--help"])), report.lines[-1]


def test_what_is_missing_is_one_line_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_steps, "_STAND_IN_QUERY", "print('sm_90')")
    monkeypatch.setitem(gpu_steps.MODULES, "a_module_nobody_has", "a-package")
    assert gpu_check.main(["--dry-run", "--out", str(tmp_path / "out")]) == 1
    [*_, last] = capsys.readouterr().out.splitlines()
    assert last.startswith("Missing here: a-package")
    assert last in (tmp_path / "out" / "gpu_check.md").read_text()
    with tarfile.open(tmp_path / "out" / "gpu_check.tar.gz") as tar:
        assert tar.getnames() == ["gpu_check/gpu_check.md", "gpu_check/machine.log"]


def test_a_program_from_a_wheel_is_not_missing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CUDACXX", raising=False)
    assert "ninja" in missing(settings)
    (settings.site / "bin").mkdir(parents=True)
    (settings.site / "bin" / "ninja").touch(0o755)
    assert "ninja" not in missing(settings)


def test_relative_paths_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").touch()
    (tmp_path / "rig.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHEELS", "wheels")
    monkeypatch.setenv("RIG", "rig.safetensors")
    options = gpu_check._options(["--out", "out"])
    assert (options.out, options.wheels, options.rig) == (
        tmp_path / "out",
        tmp_path / "wheels",
        tmp_path / "rig.safetensors",
    )
    steps = PARTS["check"](Settings(options.out, tmp_path, rig=options.rig))
    assert ["--rig", str(options.rig)] == steps[0].command[-2:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dry-run"], "a dry run needs --out"),
        (["--rig", "nowhere"], "--rig: there is no nowhere"),
        (["--wheels", "."], "--wheels: there are no wheels in"),
    ],
)
def test_bad_options(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OUT", "WHEELS", "RIG"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit):
        gpu_check._options(arguments)
    assert message in capsys.readouterr().err


class FakeCuda:
    """What ``graph_times`` uses of torch.cuda: a graph that takes 0.2 ms, and 0.5 ms after other memory was written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.cold, self.mode, self.calls = 0.0, False, 0, 0
        stream = SimpleNamespace(wait_stream=lambda other: None)
        fakes = {
            "Stream": lambda: stream,
            "current_stream": lambda: stream,
            "stream": lambda _: self,
            "graph": lambda _: self,
            "CUDAGraph": lambda: SimpleNamespace(replay=self.replay),
            "Event": lambda enable_timing: Event(self),
            "get_sync_debug_mode": lambda: self.mode,
            "set_sync_debug_mode": self.set_mode,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch, "empty", lambda *size, **options: SimpleNamespace(zero_=self.flush))

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def set_mode(self, mode: Any) -> None:
        self.mode = mode

    def flush(self) -> None:
        self.cold = True

    def replay(self) -> None:
        self.clock += 0.5 if self.cold else 0.2
        self.cold = False

    def call(self) -> None:
        self.calls += 1


class Event:
    """A moment of that clock [ms]."""

    def __init__(self, gpu: FakeCuda) -> None:
        self.gpu = gpu

    def record(self) -> None:
        self.moment = self.gpu.clock

    def synchronize(self) -> None: ...

    def elapsed_time(self, end: Event) -> float:
        return end.moment - self.moment


def test_times_on_the_gpu_are_those_of_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeCuda(monkeypatch)
    warm, flushed = graph_times(gpu.call)
    assert warm == pytest.approx([0.2e-3] * len(warm))
    assert flushed == pytest.approx([0.5e-3] * len(flushed))
    assert len(warm) == len(flushed) > 10
    assert gpu.mode == 0


def test_a_call_that_waits_is_refused_before_the_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeCuda(monkeypatch)
    monkeypatch.setattr(torch.cuda, "graph", lambda _: pytest.fail("captured"))

    def waits() -> None:
        if gpu.mode == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="synchronizing"):
        graph_times(waits)
    assert gpu.mode == 0
