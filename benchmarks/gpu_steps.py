"""The steps of gpu_check.py: what each runs, how long it may take, and what its log must say."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
MODULES = {name: name for name in ("torch", "numpy", "scipy", "safetensors", "pytest")}
BUILD_MODULES = {"pip": "pip", "scikit_build_core": "scikit-build-core", "pybind11": "pybind11"}
_QUERY = """
import platform, torch
p = torch.cuda.get_device_properties(0)
print(f"{p.name}, sm_{p.major}{p.minor}, {p.multi_processor_count} multiprocessors, "
      f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
"""
_STAND_IN_QUERY = """
import platform, torch
print(f"stand-in for a GPU, sm_90, 132 multiprocessors, Python {platform.python_version()}, torch {torch.__version__}")
"""
_IMPORT = """
import sys
import biomechau
from biomechau import ops
print(biomechau.__file__, ops.backends())
assert biomechau.__file__.startswith(sys.argv[1]), "another installation of biomechau comes first"
assert ops.backends()["runs"]["cuda"] in sys.argv[2], "the build has no CUDA kernels"
"""


@dataclass(frozen=True)
class Step:
    """A command with its limit [s].

    Attributes:
        name: of its line and its log.
        limit: seconds after which it is interrupted.
        command: program and arguments.
        env: what it has in its environment beside everyone's.
        needed: whether the steps after it make no sense without it.
        expects: a pattern that its log must contain.
        refuses: a pattern that its log must not contain.
    """

    name: str
    limit: int
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    needed: bool = False
    expects: str = ""
    refuses: str = ""


@dataclass(frozen=True)
class Settings:
    """Where things are, and whether this is a dry run.

    Attributes:
        out: where results go.
        work: a temporary folder; the package is installed in its folder ``site``.
        wheels: a folder of wheels to install first.
        rig: of the benchmarks, or None for the built-in face.
        only: which cases are benchmarked, as for run.py.
        dry_run: whether there is no GPU.
        installed: whether the package that is installed is used and none is built.
        architectures: what to build for, "all" for the build's own list, None for this GPU alone.
    """

    out: Path
    work: Path
    wheels: Path | None = None
    rig: Path | None = None
    only: str = ""
    dry_run: bool = False
    installed: bool = False
    architectures: str | None = None

    @property
    def site(self) -> Path:
        """Where the package and the wheels are installed."""
        return self.work / "site"

    @property
    def kernels(self) -> bool:
        """Whether CUDA kernels are built."""
        return not self.dry_run or self.architectures is not None or self.find("nvcc") is not None

    def find(self, program: str) -> str | None:
        """The path of a program."""
        if program == "nvcc" and "CUDACXX" in os.environ:
            return os.environ["CUDACXX"]
        return shutil.which(program, path=self.environment()["PATH"])

    def environment(self) -> dict[str, str]:
        """Everyone's environment, without what would change the build or hide the benchmarks' own modules."""
        env = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH" and not k.startswith("SKBUILD_")}
        paths = [self.work / "tools", self.site / "bin", env.get("PATH", ""), "/usr/local/cuda/bin"]
        return {
            **env,
            "PYTHONPATH": os.pathsep.join([str(self.site), *filter(None, [env.get("PYTHONPATH")])]),
            "PATH": os.pathsep.join(map(str, paths)),
            "PYTHONUNBUFFERED": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }

    def benchmark(self, script: str, *options: str) -> list[str]:
        """The command of a script beside this one, on this machine's device."""
        command = [sys.executable, str(TOP / "benchmarks" / script), *options]
        command += ["--device", "cpu", "--small"] if self.dry_run else ["--device", "cuda"]
        return command + (["--rig", str(self.rig)] if self.rig else [])

    def timing(self, seconds: float, name: str, *options: str) -> list[str]:
        """The command of run.py with seconds per case."""
        chosen = [f"--only={self.only}", "--seconds", "0" if self.dry_run else str(seconds)]
        return self.benchmark("run.py", *chosen, "--name", name, "--out", str(self.out), *options)


def preparation(settings: Settings) -> list[Step]:
    """What comes before anything is known of the machine."""
    steps = [Step("machine", 20, [sys.executable, "-c", _STAND_IN_QUERY if settings.dry_run else _QUERY], needed=True)]
    if settings.wheels:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        wheels = sorted(map(str, settings.wheels.glob("*.whl")))
        steps.insert(0, Step("wheels", 30, [*pip, "--target", str(settings.site), *wheels], needed=True))
    return steps


def building(settings: Settings, architecture: str) -> list[Step]:
    """The package for one architecture, and whether it can be imported."""
    if settings.installed:
        kernels = "kernels, reference" if settings.dry_run else "kernels"
        return [Step("import", 20, [sys.executable, "-c", _IMPORT, "", kernels], needed=True)]
    defines = [f"BIOMECHAU_CUDA={'ON' if settings.kernels else 'OFF'}", "CMAKE_CUDA_FLAGS=-lineinfo"]
    if settings.architectures != "all":
        defines.append(f"CMAKE_CUDA_ARCHITECTURES={settings.architectures or architecture}")
    options = [f"build-dir={settings.work / 'build'}", *(f"cmake.define.{define}" for define in defines)]
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "--upgrade"]
    pip += ["--target", str(settings.site), *(f"-C{option}" for option in options), str(TOP)]
    expected = [str(settings.site), "kernels" if settings.kernels else "reference"]
    return [
        Step("build", 100, pip, needed=True),
        Step("import", 20, [sys.executable, "-c", _IMPORT, *expected], needed=True),
    ]


def check(settings: Settings) -> list[Step]:
    """Ours alone, the tests, the sanitizers, the peers in torch."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    pytest += ["-c", str(TOP / "pyproject.toml"), "--rootdir", str(TOP), "-m", "cuda"]
    tests = [*pytest, str(TOP / "tests" / "ops"), str(TOP / "tests" / "physics")]
    once = [*pytest, str(TOP / "tests" / "ops" / "test_cuda_calls.py"), "-k", "every_kernel_once"]
    ran = r"\d+ skipped" if settings.dry_run else r"\d+ passed"
    training = ["--out", str(settings.out), "--seconds", "0" if settings.dry_run else "2"]
    return [
        Step("ours", 100, settings.timing(0.3, "cuda", "--peers", "none")),
        Step("training step", 30, settings.benchmark("training_step.py", *training)),
        Step("tests", 80, tests, expects=ran),
        *(_sanitized(tool, 35, once, "--kernel-name", "kns=biomechau", expects=ran) for tool in _FILTERED),
        # The poison in fresh memory of the tests would hide what is not written; and where torch's kernels are left
        # out, what they write counts as unwritten. So: other calls, all kernels, and the errors of ours alone.
        _sanitized("initcheck", 35, settings.benchmark("call_once.py", "--small"), refuses="at .*biomechau::"),
        Step("torch peers", 60, settings.timing(0.5, "cuda-torch", "--peers", "twin,torch,PyG")),
    ]


_FILTERED = ("memcheck", "racecheck", "synccheck")


def _sanitized(tool: str, limit: int, command: list[str], *options: str, expects: str = "", refuses: str = "") -> Step:
    """A command under compute-sanitizer, each tensor in memory of its own."""
    failing = [] if refuses else ["--error-exitcode", "9"]
    whole = ["compute-sanitizer", "--tool", tool, *failing, *options, *command]
    return Step(tool, limit, whole, {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}, expects=expects, refuses=refuses)


def compare(settings: Settings) -> list[Step]:
    """JAX, Warp and the compiled peers, and what Nsight Compute says of every kernel."""
    ncu = ["ncu", "--profile-from-start", "off", "--clock-control", "none", "--set", "detailed"]
    ncu += ["--kernel-name-base", "demangled", "--kernel-name", "regex:biomechau"]
    return [
        Step("JAX and Warp", 120, settings.timing(0.5, "cuda-jax-warp", "--peers", "JAX,Warp")),
        Step("profile", 120, [*ncu, *settings.benchmark("call_once.py", f"--only={settings.only}")]),
        Step("compiled peers", 160, settings.timing(0.5, "cuda-compiled", "--compiled", "--peers", "compiled")),
    ]


PARTS = {"check": check, "compare": compare}


def missing(settings: Settings) -> list[str]:
    """The packages and programs that are not here, by the names under which they are installed."""
    where = [str(settings.site), *sys.path]
    find = importlib.machinery.PathFinder.find_spec
    modules = {**MODULES, **({} if settings.installed else BUILD_MODULES)}
    programs = [] if settings.installed else ["cmake", "ninja", *(["nvcc"] if settings.kernels else [])]
    lacking = [package for module, package in modules.items() if find(module, where) is None]
    return lacking + [program for program in programs if settings.find(program) is None]
