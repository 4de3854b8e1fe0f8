"""Every op against its peers and the machine's limits.

    python benchmarks/run.py [--only PATTERN] [--rig FaceXModel] [--out benchmarks/results] [--threads 2]
    python benchmarks/run.py --scaling [--only PATTERN] [--out benchmarks/results]

Prints the table; with --out also writes <name>.md, again after every case. --scaling instead looks at how our time
grows with each size and with threads, and at torch and the kernels side by side. The rig is ICT-FaceKit where --rig (a
FaceXModel folder, or a rig file of all its vertices) or BIOMECHAU_TEST_DATA names it, else the built-in face of the
same sizes. The exit status is 1 where an op of this package is wrong or fails; a peer that does is a row of the table.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from pathlib import Path

import torch
from cases import CASES, Case, chosen_cases, matches
from faces import face, rig_path
from machine import OtherLoad, copy_rate, description, keep_freed_memory, limit_threads, product_rate
from measure import MODES, Entry, as_row, interleave, memory, prepare, time_on_gpu
from peers import Peer
from report import OURS, Result, details, markdown, write
from scaling import STUDIES, scaling_report

from biomechau import _core

NOTES = [
    "f: forward; f+b: forward and backward. Medians of interleaved rounds, float32. The best peer is the fastest "
    "formulation that is not this package's; the usual one what people write first. Operators that do not change are "
    "made before the clock starts, ours and theirs: packed blendshapes, pair tables, step matrices, normal modes.",
    "Freed memory stays with the process as far as its allocator keeps it: new pages cost more than many an op.",
    "Floor: the larger of least arithmetic over the product ceiling (large matrices, by the faster of torch and JAX) "
    "and least traffic over the copy ceiling at that traffic. Extra memory: peak growth of the process in one call, "
    "outputs and gradients taken off; Warp's arrays are made beforehand and do not show. Where other processes kept "
    "the machine busy there are no ratios.",
]
GPU_NOTE = (
    "On the GPU: the time of a replay of the call as a CUDA graph between two events; flushed: after the L2 cache was "
    "overwritten. The other times are the host's clock around the Python calls."
)


def main() -> None:
    """The command line."""
    arguments = parsed()
    limit_threads(arguments.threads)
    keep_freed_memory()
    if arguments.instruction_set:
        _core.select_isa(arguments.instruction_set)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take most of a GPU's memory
    device = torch.device(arguments.device)
    path = arguments.rig if arguments.small else rig_path(arguments.rig)
    command = shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]])
    if arguments.scaling:
        studies = [study for study in STUDIES if matches(study.name, arguments.only)]
        text = scaling_report(studies, device, path, command)
        print(text)
        if arguments.out:
            print("written:", write(arguments.out, arguments.name or f"{device.type}-scaling", text))
        return
    wanted = chosen_cases(arguments.only, device.type == "cuda", arguments.small)
    if not wanted:
        sys.exit(f"no case matches {arguments.only!r}; there are: {', '.join(case.name for case in CASES)}")
    load = OtherLoad()
    say("measuring the machine's ceilings")
    rate = product_rate(device)
    header = {
        "command": command,
        **description(device),
        "product ceiling": f"{rate / 1e9:.0f} GFLOP/s",
        "copy ceiling": ", ".join(f"{copy_rate(device, mb * 1e6) / 1e9:.0f} GB/s at {mb} MB" for mb in (1, 8, 256)),
    }
    if load.busy():
        rate = None
        header |= dict.fromkeys(("product ceiling", "copy ceiling"), "not known, the machine was busy")
    for name, value in header.items():
        print(f"{name}: {value}")
    results: list[Result] = []
    notes = [*NOTES, GPU_NOTE] if device.type == "cuda" else NOTES
    for number, case in enumerate(wanted, 1):
        say(f"case {number} of {len(wanted)}: {case.name}")
        results.append(measured(case, path, device, rate, arguments))
        print("\n" + "\n".join(details(results[-1])), flush=True)
        header["other processes"] = str(load)
        header["face"] = "; ".join(dict.fromkeys(result.face for result in results if result.face))
        text = markdown(header, notes, results)
        if arguments.out:
            write(arguments.out, arguments.name or device.type, text)
    print(text.split("## Every peer")[0])
    if arguments.out:
        print("written:", arguments.out / f"{arguments.name or device.type}.md")
    if failed := [result.case.name for result in results if result.entries[0].failed]:
        sys.exit(f"ours is wrong or failed: {', '.join(failed)}")


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    several = "whose name contains this; several separated by commas, with a minus before what to leave out"
    parser.add_argument("--only", default="", help=f"cases {several}")
    parser.add_argument("--peers", default="", help=f"peers beside ours {several}; none for ours alone")
    parser.add_argument("--compiled", action="store_true", help="torch-compiled peers too, which takes minutes a case")
    parser.add_argument("--rig", type=Path, help="FaceXModel folder or rig file of ICT-FaceKit")
    parser.add_argument("--out", type=Path, help="folder for the results, such as benchmarks/results")
    parser.add_argument("--name", help="of the result file, the device if not given")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the processor")
    parser.add_argument("--seconds", type=float, default=6.0, help="to spend on the timing of a case")
    parser.add_argument("--scaling", action="store_true", help="growth with sizes and threads instead of peers")
    parser.add_argument("--small", action="store_true", help="every case at its smallest, to try things out")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--instruction-set", choices=_core.supported_isas(), help="of our CPU kernels, the newest if not given"
    )
    return parser.parse_args()


def measured(
    case: Case, path: Path | None, device: torch.device, rate: float | None, arguments: argparse.Namespace
) -> Result:
    """A case on this machine, of which the product rate is known or not.

    Ours is the first entry, also where the case itself could not be made.
    """

    def wanted(peer: Peer) -> bool:
        return peer.name == OURS or (matches(peer.name, arguments.peers) and (arguments.compiled or not peer.compiled))

    failed = Entry(OURS)
    with as_row(failed):
        problem = case.problem(path).to(device)
        source = str(face(case.num_vertices, path))
        entries = prepare(case.op, problem, wanted, say)
        load = OtherLoad()
        interleave(entries, device, arguments.seconds, say=say)
        work = {mode: getattr(problem, mode) for mode in MODES}
        floors = {m: max(w.flops / rate, w.bytes / copy_rate(device, w.bytes)) for m, w in work.items()} if rate else {}
        busy = load.busy()
        say("GPU time and memory" if device.type == "cuda" else "memory")
        for entry in entries:
            if device.type == "cuda":
                time_on_gpu(entry)
            if entry.runnable:
                with contextlib.suppress(RuntimeError):  # out of memory: the times remain
                    memory(entry, device)
            entry.runnable = None  # its tensors
        return Result(case, floors, entries, busy, source)
    return Result(case, {}, [failed])


def say(what: str) -> None:
    """Progress, apart from the tables."""
    print(f"  {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
