"""On a machine with an NVIDIA GPU: builds for that GPU, measures, runs the GPU tests, looks for errors in every kernel.

    python benchmarks/gpu_check.py [--out FOLDER] [--wheels FOLDER] [--rig FILE] [--part check|compare] [--only PATTERN]
    python benchmarks/gpu_check.py --dry-run --out FOLDER

The part "check" builds the package, times our ops alone and a training step, runs the tests marked cuda and the four
tools of compute-sanitizer, and times the peers in torch. The part "compare" builds, times JAX, Warp and the compiled
peers, and profiles every kernel with Nsight Compute. Each takes less than ten minutes and needs no network.

It needs an interpreter with torch (CUDA), numpy, scipy, safetensors and pytest; for the build pip, scikit-build-core,
pybind11, ninja, CMake and nvcc, found on PATH, by CUDACXX or below /usr/local/cuda. What a machine lacks may lie in
--wheels. --out gets gpu_check.md with a line a step, the tables as far as they are measured, and one archive with the
log of every step; all three grow with each step, so that what is stopped early leaves what it has.

--dry-run does all of it without a GPU: a stand-in for the device query, a build with kernels where there is nvcc,
small sizes on the CPU, tests that are collected and skipped, and stand-ins for NVIDIA's tools that run what they are
given. It may take twenty times as long.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gpu_steps import PARTS, TOP, Settings, Step, building, missing, preparation

TOTAL = 600  # seconds that all steps may take together
_DRY = 20  # how many times as long a dry run may take, on the few cores of a machine without a GPU
_KILL = 10  # seconds from the interrupt of a step that is too slow to its end
_LEAST = 5  # seconds below which no step begins
# In a dry run, for compute-sanitizer and ncu: drops their options and runs the program.
_STAND_IN_TOOL = """#!/bin/sh
while [ $# -gt 0 ] && [ "$1" != "{python}" ]; do shift; done
"$@" && echo "stand-in: ERROR SUMMARY: 0 errors"
"""


class Report:
    """Runs steps and keeps their lines, their logs and the archive."""

    def __init__(self, settings: Settings, name: str, begin: float) -> None:
        self.settings, self.name, self.begin = settings, name, begin
        self.started = time.time()
        self.logs = settings.work / "logs"
        self.logs.mkdir()
        self.lines = [f"Command: `python benchmarks/gpu_check.py {' '.join(sys.argv[1:])}`, {time.strftime('%F')}", ""]
        self.failed = False

    def say(self, *lines: str) -> None:
        """Adds lines to the report, on the terminal and in the files."""
        print(*lines, sep="\n", flush=True)
        self.lines += lines
        text = "\n".join(self.lines) + "\n"
        out = self.settings.out
        _replace(out / f"{self.name}.md", lambda path: path.write_text(text))
        _replace(out / f"{self.name}.tar.gz", self._pack)

    def _pack(self, path: Path) -> None:
        tables = [file for file in self.settings.out.glob("*.md") if file.stat().st_mtime >= self.started]
        with tarfile.open(path, "w:gz") as tar:
            for file in sorted([*self.logs.iterdir(), *tables], key=lambda file: file.name):
                tar.add(file, f"{self.name}/{file.name}")

    def run(self, step: Step, rest: bool = False) -> bool:
        """Runs a step within what is left of all time, to its end if it is the ``rest``; whether it went well."""
        begin = time.monotonic()
        times = _DRY if self.settings.dry_run else 1
        left = int(self.begin + times * TOTAL - begin) - _KILL
        limit = left if rest else min(times * step.limit, left)
        log = self.log(step)
        if limit < _LEAST:
            result, well = "not run: no time left", False
        elif self.settings.find(step.command[0]) is None:
            result, well = f"not run: there is no {step.command[0]}", False
        else:
            command = ["timeout", "-s", "INT", "-k", str(_KILL), str(limit), *step.command]
            env = {**self.settings.environment(), **step.env}
            with log.open("w") as file:
                done = subprocess.run(
                    command, cwd=self.settings.work, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file
                )
            result = _result(done.returncode, limit, step, log.read_text(errors="replace"))
            well = result == "passed"
        self.failed |= not well
        words = _last_words(log.read_text(errors="replace")) if log.exists() else ""
        self.say(f"| {step.name} | {result} | {time.monotonic() - begin:.1f} s of {limit} | {words} |")
        return well

    def log(self, step: Step) -> Path:
        """Where a step's output goes."""
        return self.logs / f"{step.name.replace(' ', '-')}.log"


def _result(code: int, limit: int, step: Step, log: str) -> str:
    if code in (124, 128 + signal.SIGKILL, -signal.SIGKILL):
        return f"FAILED, stopped after {limit} s"
    if code != 0:
        return f"FAILED ({code})"
    if step.expects and not re.search(step.expects, log):
        return f"FAILED, its log has no {step.expects!r}"
    if step.refuses and re.search(step.refuses, log):
        return f"FAILED, its log has {step.refuses!r}"
    return "passed"


def _last_words(log: str) -> str:
    """The last line that says how it went, else the last line."""
    lines = [line for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\d (passed|failed|skipped)|SUMMARY|[Ee]rror|^written|wrong", line)]
    return (telling or lines or [""])[-1].strip().replace("|", "/")[:120]


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside and renames, so that a run that is killed leaves whole files."""
    partial = path.with_name(f".{path.name}")
    write(partial)
    partial.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 if every step went well."""
    begin = time.monotonic()
    # Whoever starts this in the background ignores interrupts, and so would the steps: then none could be stopped.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = vars(_options(arguments))
    part = options.pop("part")
    options["out"].mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        settings = Settings(work=Path(work), **options)
        report = Report(settings, "gpu_check" if part == "check" else f"gpu_check-{part}", begin)
        report.say("| step | result | time | last words |", "|---|---|---|---|")
        first = preparation(settings)
        if not all(report.run(step) for step in first):
            return 1
        if lacking := missing(settings):
            report.say("", f"Missing here: {', '.join(lacking)}. Install them, or put wheels of them in --wheels.")
            return 1
        if settings.dry_run:
            _make_stand_ins(settings.work / "tools")
        machine = report.log(first[-1]).read_text()
        architecture = re.search(r"sm_(\d+)", machine)
        assert architecture is not None, machine
        steps = [*building(settings, architecture[1]), *PARTS[part](settings)]
        for step in steps:
            if not report.run(step, rest=step is steps[-1]) and step.needed:
                break
        report.say("", f"Machine: {machine.strip()}", f"Whole: {time.monotonic() - begin:.0f} s")
        return int(report.failed)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    env = {name: Path(value) for name in ("OUT", "WHEELS", "RIG") if (value := os.environ.get(name))}
    parser.add_argument("--out", type=Path, default=env.get("OUT"), help="$OUT, benchmarks/results if not given")
    parser.add_argument(
        "--wheels", type=Path, default=env.get("WHEELS"), help="$WHEELS: packages that are missing here"
    )
    parser.add_argument("--rig", type=Path, default=env.get("RIG"), help="$RIG: a rig file of all of ICT-FaceKit")
    parser.add_argument(
        "--part", choices=PARTS, default="check", help="check: ours; compare: other peers and a profile"
    )
    parser.add_argument("--only", default="", help="benchmark the cases whose name contains this")
    parser.add_argument("--dry-run", action="store_true", help="without a GPU")
    parser.add_argument("--installed", action="store_true", help="use the package that is installed, build none")
    parser.add_argument("--architectures", help="to build for, such as 80;90, or all; this GPU's if not given")
    options = parser.parse_args(arguments)
    if options.dry_run and options.out is None:
        parser.error("a dry run needs --out")
    options.out = (options.out or TOP / "benchmarks" / "results").resolve()
    for name in ("wheels", "rig"):
        path = getattr(options, name)
        if path is not None and not path.exists():
            parser.error(f"--{name}: there is no {path}")
        setattr(options, name, path and path.resolve())  # the steps run in another folder
    if options.wheels and not list(options.wheels.glob("*.whl")):
        parser.error(f"--wheels: there are no wheels in {options.wheels}")
    return options


def _make_stand_ins(folder: Path) -> None:
    folder.mkdir()
    for name in ("compute-sanitizer", "ncu"):
        tool = folder / name
        tool.write_text(_STAND_IN_TOOL.format(python=sys.executable))
        tool.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
