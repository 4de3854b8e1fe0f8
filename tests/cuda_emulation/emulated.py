"""Builds the compiled core with the CUDA kernels emulated on the CPU (cuda_runtime.h beside this file)."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import torch

_HERE = Path(__file__).parent
_CORE = _HERE.parents[1] / "csrc"
# -fcf-protection and -U_FORTIFY_SOURCE: both watch over stacks and would take the fibers for an attack.
_FLAGS = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-fcf-protection=none", "-U_FORTIFY_SOURCE", "-w"]
_DEFINES = ["-DBIOMECHAU_CUDA"]
_ALIGNMENT = [
    "-fsanitize=alignment",
    "-fsanitize-undefined-trap-on-error",
]  # a misaligned access is an illegal instruction


def missing() -> str | None:
    """What is missing to build it, or None."""
    if _compiler() is None:
        return "no C++ compiler (set CXX)"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        return "no headers of Python"
    return None


def build(cache: Path) -> Path:
    """The module's file, built once for each state of the sources."""
    sources = sorted(path for path in [*_CORE.rglob("*"), *_HERE.glob("*.*")] if path.suffix in _SUFFIXES)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    state = hashlib.sha256(" ".join([*_FLAGS, *_ALIGNMENT, torch.__version__, suffix]).encode())
    for path in sources:
        state.update(path.read_bytes())
    folder = cache / state.hexdigest()[:16]
    module = folder / f"_core{suffix}"
    import fcntl  # not on Windows

    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process builds, the others wait
        if not module.is_file():
            with tempfile.TemporaryDirectory(dir=cache) as partial:
                _compile([path for path in sources if path.suffix in (".cpp", ".cu")], Path(partial), module.name)
                folder.mkdir(exist_ok=True)
                (Path(partial) / module.name).rename(module)  # beside and rename: no half-built module is ever loaded
    return module


def load(path: Path) -> ModuleType:
    """The module; its tensors lie on the CPU and its places are (device, stream)."""
    spec = importlib.util.spec_from_file_location("_core", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_SUFFIXES = (".cpp", ".cu", ".h", ".cuh")


def _compiler() -> str | None:
    return os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


def _compile(sources: list[Path], folder: Path, name: str) -> None:
    # pybind11 comes with torch; of the headers beside this file only cuda_runtime.h is looked for.
    pybind = Path(torch.__file__).parent / "include"
    include = [_HERE, _CORE, pybind, sysconfig.get_paths()["include"]]
    compiler = _compiler()
    assert compiler is not None
    command = [compiler, *_FLAGS, *_DEFINES, *(f"-I{path}" for path in include)]

    def compile_one(source: Path) -> str:
        out = folder / f"{source.parent.name}_{source.name}.o"
        is_cuda = source.suffix == ".cu"
        isa = "cuda" if is_cuda else "baseline"  # the CPU kernels only fill their table here
        level = ["-O2", *_ALIGNMENT] if is_cuda else ["-O0"]
        _run([*command, f"-DBIOMECHAU_ISA={isa}", *level, "-x", "c++", "-c", str(source), "-o", str(out)])
        return str(out)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    _run([compiler, "-shared", *objects, "-o", str(folder / name)])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
