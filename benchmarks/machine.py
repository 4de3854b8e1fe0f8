"""What the benchmarks run on: names, versions, and the ceilings that the machine reaches."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import biomechau
from biomechau import ops

_PACKAGES = ("torch", "torchdiffeq", "jax", "warp-lang", "torch-geometric")
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # options of mallopt
# Share of the processors' time that others may take before ratios of times mean nothing.
_BUSY = 0.1
_PRODUCT_SIZE = {"cpu": 2048, "cuda": 8192}


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def limit_threads(count: int) -> None:
    """Gives this process ``count`` processors, and torch as many threads. Before JAX is imported."""
    if hasattr(os, "sched_setaffinity"):
        available = sorted(os.sched_getaffinity(0))
        if len(available) < count:
            raise ValueError(f"there are {len(available)} processors, {count} threads were asked for")
        os.sched_setaffinity(0, available[:count])
    torch.set_num_threads(count)


def keep_freed_memory() -> None:
    """Has this process keep the memory that it frees, where it runs with glibc.

    Otherwise tensors of more than 32 MB are mapped anew in every call, and the time to touch their pages, which
    programs with another allocator or a pool do not spend, would decide between peers.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)  # never give memory back: a limit of 2 GB would be passed by some peers


def commit() -> str:
    """The git commit of the benchmarks, with a plus where files differ from it; a copy without git has none."""
    if shutil.which("git") is None:
        return "unknown"
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty=+",
        "--exclude=*",
        "--abbrev=12",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def description(device: torch.device) -> dict[str, str]:
    """Machine, versions, date and commit."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    compiled = ", ".join(ops.backends()["compiled"])
    return {
        "processor": f"{processor()}, {os.cpu_count()} logical processors",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        **versions,
        "biomechau": f"{biomechau.__version__} ({ops.backends()['instruction_set']}, compiled for {compiled})",
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


class OtherLoad:
    """The share of the processors' time that other processes took since this was made (Linux only)."""

    def __init__(self) -> None:
        self._start = self._ticks()

    def __str__(self) -> str:
        share = self.share()
        return "unknown" if share is None else f"{share:.0%} of the processors' time meanwhile"

    def share(self) -> float | None:
        """From 0 to 1, or None where the system does not tell."""
        now = self._ticks()
        if self._start is None or now is None:
            return None
        whole, busy, own = (end - start for end, start in zip(now, self._start, strict=True))
        return max(0.0, busy - own) / max(whole, 1.0)

    def busy(self) -> bool:
        """Whether others took so much that times cannot be compared."""
        return (self.share() or 0.0) > _BUSY

    @staticmethod
    def _ticks() -> tuple[float, float, float] | None:
        """Of all processors, of all processes and of this one."""
        stat = Path("/proc/stat")
        if not stat.exists():
            return None
        # user, nice, system, idle, iowait, irq, softirq, steal
        fields = [float(text) for text in stat.read_text().split("\n", 1)[0].split()[1:9]]
        own = os.times()
        ticks = os.sysconf("SC_CLK_TCK") * (own.user + own.system + own.children_user + own.children_system)
        return sum(fields), sum(fields) - fields[3] - fields[4], ticks


def product_rate(device: torch.device) -> float:
    """Floating-point operations a second of a large float32 matrix product.

    On a CPU by torch or JAX, the faster: torch's library does not use AVX-512 on every processor that has it.
    """
    size = _PRODUCT_SIZE[device.type]
    a, b = torch.rand(2, size, size, device=device)
    out = torch.empty_like(a)
    fewest = _time(lambda: torch.mm(a, b, out=out), device)
    if device.type == "cpu" and importlib.util.find_spec("jax"):
        import jax

        multiply, left, right = jax.jit(jax.numpy.matmul), jax.numpy.asarray(a.numpy()), jax.numpy.asarray(b.numpy())
        fewest = min(fewest, _time(lambda: jax.block_until_ready(multiply(left, right)), device))
    return 2 * size**3 / fewest


def copy_rate(device: torch.device, traffic: float) -> float:
    """Bytes read and written a second by a copy that moves ``traffic`` bytes, again and again.

    What fits a cache stays there, as the data of an op in a warm loop does.
    """
    count = max(int(traffic) // 8, 4096)
    source, target = torch.rand(2, count, device=device)
    return 8 * count / _time(lambda: target.copy_(source), device)


def _time(function: object, device: torch.device, rounds: int = 40, seconds: float = 0.005) -> float:
    """Fewest seconds of one call among rounds of many: a ceiling is what the machine reaches undisturbed."""
    assert callable(function)
    function()
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    calls = max(1, int(seconds / max(time.perf_counter() - start, 1e-7)))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        synchronize(device)
        times.append((time.perf_counter() - start) / calls)
    return min(times)
