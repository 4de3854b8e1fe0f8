"""What the CUDA kernels take of a GPU, read from the compiler and the disassembler: no GPU is needed.

    python benchmarks/cuda_resources.py [--out FILE] [--architecture 90] [--nvdisasm PROGRAM] [csrc/OP/OP.cu ...]

Compiles each file of csrc with nvcc, one after the other, and reads the report of ptxas (registers, spills, stack,
static shared memory) and the SASS (the machine code): how many loads and stores are *generic*, that is, find out only
when they run whether an address lies in global, shared or local memory, and how many of these stand in *innermost
loops*, where they cost the most. Ends with an error where a kernel spills, or has a generic access in an innermost
loop.

It needs nvcc (CUDACXX, or on PATH) and nvdisasm (pip install nvidia-cuda-nvdisasm).
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
_NOTE = (
    "**No kernel has run on a GPU.** This is what the compiler and the disassembler say; no time was measured, and "
    "none is given. *Generic* accesses find out at run time in which memory an address lies. The instructions of an "
    "outer loop include those of its inner ones; a semicolon stands between the instances of a kernel."
)
_DTYPES = {"f": "float32", "d": "float64"}
_GENERIC = re.compile(r"(LD|ST|ATOM)(\.|$)")


@dataclass(frozen=True)
class Resources:
    """What one kernel takes.

    Attributes:
        registers: of a thread.
        spilled: bytes of registers that are stored to memory and loaded again.
        stack: bytes of a thread's stack.
        shared: bytes of static shared memory; what a launch asks for is not known here.
    """

    registers: int
    spilled: int
    stack: int
    shared: int


@dataclass(frozen=True)
class Accesses:
    """Instructions of one kernel.

    Attributes:
        instructions: all of them.
        generic: generic loads, stores and atomics.
        in_loops: those of them in innermost loops.
        loops: the instructions of each loop, in the order of their beginnings; an outer loop's include its inner ones'.
    """

    instructions: int
    generic: int
    in_loops: int
    loops: tuple[int, ...] = ()


def parse_ptxas(text: str) -> dict[str, Resources]:
    """The report of ``ptxas -v``, by the kernels' mangled names."""
    found: dict[str, Resources] = {}
    name, stack, spilled = "", 0, 0
    for line in text.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            name, stack, spilled = match[1], 0, 0
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack, spilled = int(match[1]), int(match[2]) + int(match[3])
        elif (match := re.search(r"Used (\d+) registers", line)) and name:
            shared = re.search(r"(\d+) bytes smem", line)
            found[name] = Resources(int(match[1]), spilled, stack, int(shared[1]) if shared else 0)
            name = ""
    return found


def parse_sass(text: str) -> dict[str, Accesses]:
    """The output of ``nvdisasm -c``, by the kernels' mangled names."""
    bodies: dict[str, list[str]] = {}
    body: list[str] = []
    for line in text.splitlines():
        if match := re.match(r"\.text\.(\w+):", line):
            body = bodies.setdefault(match[1], [])
        else:
            body.append(line)
    return {name: _accesses(lines) for name, lines in bodies.items()}


def _accesses(lines: Iterable[str]) -> Accesses:
    names: list[str] = []  # of the instructions
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    for line in lines:
        if match := re.match(r"\s*(\.L_x_\d+):", line):
            labels[match[1]] = len(names)
        elif match := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)", line):
            if target := re.search(r"BRA\S*.*`\((\.L_x_\d+)\)", line):
                jumps.append((len(names), target[1]))
            names.append(match[1])
    last: dict[int, int] = {}  # jump back to each beginning of a loop
    for at, target in jumps:
        if labels.get(target, at + 1) <= at:
            last[labels[target]] = at
    inner = [(begin, end) for begin, end in last.items() if not any(begin < other <= end for other in last)]
    generic = [place for place, name in enumerate(names) if _GENERIC.match(name)]
    within = [place for place in generic if any(begin <= place <= end for begin, end in inner)]
    loops = tuple(end - begin + 1 for begin, end in sorted(last.items()) if end > begin)
    return Accesses(len(names), len(generic), len(within), loops)


def short_name(mangled: str) -> tuple[str, str]:
    """A kernel's own name and its dtype ("" where it has none), from its mangled name."""
    match = re.search(r"(?<=\d)([a-z_]+_kernel)(.*)", mangled)
    if match is None:
        return mangled, ""
    dtype = re.match(r"I(?:Li\d+E)?(?:Lb\dE)?([fd])", match[2])
    return match[1], _DTYPES[dtype[1]] if dtype else ""


Kernel = tuple[str, Resources, Accesses | None]


def faults(file: str, kernels: dict[str, Kernel]) -> list[str]:
    """What must not be, a line each."""
    found = []
    for name, (_, resources, accesses) in kernels.items():
        if resources.spilled:
            found.append(f"{file}: {name} spills {resources.spilled} bytes")
        if accesses and accesses.in_loops:
            found.append(f"{file}: {name} has {accesses.in_loops} generic accesses in innermost loops")
    return found


def table(kernels: dict[str, list[Kernel]]) -> list[str]:
    """Lines of a table: a row for each kernel and dtype of each file, the largest figures of its instances."""
    lines = [
        "| file | kernel | dtype | instances | registers | spilled [bytes] | stack [bytes] | static shared [bytes] "
        "| instructions | generic accesses | of these in innermost loops | loops [instructions] |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for file, found in kernels.items():
        groups: dict[tuple[str, str], list[Kernel]] = {}
        for kernel in found:
            groups.setdefault(short_name(kernel[0]), []).append(kernel)
        for (name, dtype), group in sorted(groups.items()):
            taken = [resources for _, resources, _ in group]
            read = [accesses for _, _, accesses in group if accesses is not None]
            figures = [
                len(group),
                *(max(getattr(one, of) for one in taken) for of in ("registers", "spilled", "stack", "shared")),
                *(
                    max((getattr(one, of) for one in read), default="")
                    for of in ("instructions", "generic", "in_loops")
                ),
            ]
            loops = "; ".join(" ".join(map(str, accesses.loops)) for accesses in read)
            lines.append(f"| {file} | {name} | {dtype} | {' | '.join(map(str, figures))} | {loops} |")
    return lines


def compiled(nvcc: str, nvdisasm: str | None, source: Path, architecture: str, folder: Path) -> list[Kernel]:
    """The kernels of a file."""
    cubin = folder / f"{source.stem}.cubin"
    command = [nvcc, "-std=c++17", "-O3", f"-arch=sm_{architecture}", f"-I{TOP / 'csrc'}", "-DBIOMECHAU_ISA=cuda"]
    command += ["-Xptxas", "-v", "-cubin", "-o", str(cubin), str(source)]
    resources = parse_ptxas(_output(command))
    accesses = parse_sass(_output([nvdisasm, "-c", str(cubin)])) if nvdisasm else {}
    return [(name, taken, accesses.get(name)) for name, taken in resources.items()]


def _output(command: list[str]) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed ({done.returncode}): {done.stdout[-500:]}")
    return done.stdout


def _version(program: str) -> str:
    release = re.search(r"V(\d+(\.\d+)+)", _output([program, "--version"]))
    return release[1] if release else "unknown"


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 if no kernel has a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="*", help="files to compile; all of csrc if not given")
    parser.add_argument("--out", type=Path, help="where the table goes; the terminal if not given")
    parser.add_argument("--architecture", default="90", help="of the GPU, such as 90")
    parser.add_argument("--nvdisasm", default=shutil.which("nvdisasm"), help="the disassembler; found on PATH")
    options = parser.parse_args(arguments)
    nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc")
    if nvcc is None:
        parser.error("there is no nvcc: put it on PATH, or set CUDACXX")
    if options.nvdisasm is None:
        print("no nvdisasm (pip install nvidia-cuda-nvdisasm): generic accesses are not counted", file=sys.stderr)
    sources = [path.resolve() for path in options.sources] or sorted((TOP / "csrc").rglob("*.cu"))
    kernels: dict[str, list[Kernel]] = {}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            found = compiled(nvcc, options.nvdisasm, source, options.architecture, Path(folder))
            file = str(source.relative_to(TOP / "csrc"))
            kernels[file] = found
            wrong += faults(file, {" ".join(short_name(kernel[0])).strip(): kernel for kernel in found})
    versions = f"nvcc {_version(nvcc)}"
    versions += f", nvdisasm {_version(options.nvdisasm)}" if options.nvdisasm else ""
    lines = [
        f"Command: `python benchmarks/cuda_resources.py {' '.join(sys.argv[1:])}`, {time.strftime('%F')}",
        "",
        f"Compiled for sm_{options.architecture} by {versions}, on {platform.machine()}.",
        "",
        _NOTE,
        "",
        *table(kernels),
        "",
        *(wrong or ["No kernel spills; none has a generic access in an innermost loop."]),
    ]
    text = "\n".join(lines) + "\n"
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text)
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
