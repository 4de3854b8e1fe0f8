"""Every op against its peers and the machine's limits.

    python benchmarks/run.py [--only PATTERN] [--rig FaceXModel] [--out benchmarks/results] [--threads 2]
    python benchmarks/run.py --scaling [--only PATTERN] [--out benchmarks/results]

Prints the table; with --out also writes <name>.md and <name>.json. --scaling instead looks at how our time grows with
each size and with threads, and at torch and the kernels side by side. The rig is ICT-FaceKit where --rig (a FaceXModel
folder, or a rig file of all its vertices) or BIOMECHAU_TEST_DATA names it, else the built-in face of the same sizes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

import torch
from cases import CASES, Case
from faces import face, rig_path
from machine import OtherLoad, copy_rate, description, keep_freed_memory, limit_threads, product_rate
from measure import MODES, interleave, memory, prepare
from report import OURS, Result, as_json, details, markdown, write
from scaling import STUDIES, scaling_report

NOTES = [
    "f: forward; f+b: forward and backward. Medians of interleaved rounds, float32. The best peer is the fastest "
    "formulation that is not this package's; the usual one what people write first. Operators that do not change are "
    "made before the clock starts, ours and theirs: packed blendshapes, pair tables, step matrices, normal modes.",
    "Freed memory stays with the process, so that nobody pays for new pages in every call.",
    "Floor: the larger of least arithmetic over the product ceiling and least traffic over the copy ceiling at that "
    "traffic. Extra memory: peak growth of the process in one call, outputs and gradients taken off; Warp's arrays are "
    "made beforehand and do not show.",
]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    several = "whose name contains this; several separated by commas, with a minus before what to leave out"
    parser.add_argument("--only", default="", help=f"cases {several}")
    parser.add_argument("--peers", default="", help=f"peers beside ours {several}, such as --peers=-compiled")
    parser.add_argument("--rig", type=Path, help="FaceXModel folder or rig file of ICT-FaceKit")
    parser.add_argument("--out", type=Path, help="folder for the results, such as benchmarks/results")
    parser.add_argument("--name", help="of the result files, the device if not given")
    parser.add_argument("--threads", type=int, default=len(_processors()), help="of the processor")
    parser.add_argument("--seconds", type=float, default=6.0, help="to spend on the timing of a case")
    parser.add_argument("--scaling", action="store_true", help="growth with sizes and threads instead of peers")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()

    limit_threads(arguments.threads)
    keep_freed_memory()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take most of a GPU's memory
    device = torch.device(arguments.device)
    path = rig_path(arguments.rig)
    if arguments.scaling:
        chosen = [study for study in STUDIES if _matches(study.name, arguments.only)]
        text, data = scaling_report(chosen, device, path)
        print(text)
        if arguments.out:
            texts = {"md": text, "json": data}
            print("written:", *write(arguments.out, arguments.name or f"{device.type}-scaling", texts))
        return
    wanted = [case for case in CASES if _matches(case.name, arguments.only) and (device.type == "cuda" or not case.gpu)]
    if not wanted:
        parser.error(f"no case matches {arguments.only!r}; there are: {', '.join(case.name for case in CASES)}")
    load = OtherLoad()
    rate = product_rate(device)
    header = {
        "command": shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]]),
        **description(device),
        "product ceiling": f"{rate / 1e9:.0f} GFLOP/s",
        "copy ceiling": ", ".join(f"{copy_rate(device, mb * 1e6) / 1e9:.0f} GB/s at {mb} MB" for mb in (1, 8, 256)),
    }
    for name, value in header.items():
        print(f"{name}: {value}")
    results = []
    for case in wanted:
        results.append(measured(case, path, device, rate, arguments.seconds, arguments.peers))
        print("\n" + "\n".join(details(results[-1])), flush=True)
    header["other processes"] = str(load)
    header["face"] = "; ".join(str(face(size, path)) for size in sorted({case.num_vertices for case in wanted}))
    text = markdown(header, NOTES, results)
    print(text.split("## Every peer")[0])
    if arguments.out:
        texts = {"md": text, "json": as_json(header, results)}
        print("written:", *write(arguments.out, arguments.name or device.type, texts))


def measured(case: Case, path: Path | None, device: torch.device, rate: float, seconds: float, peers: str) -> Result:
    """A case on this machine."""
    problem = case.problem(path).to(device)
    entries = prepare(case.op, problem, lambda peer: peer.name == OURS or _matches(peer.name, peers))
    interleave(entries, device, seconds)
    for entry in entries:
        if entry.runnable:
            memory(entry, device)
    work = {mode: getattr(problem, "forward" if mode == "forward" else "both") for mode in MODES}
    floors = {mode: max(w.flops / rate, w.bytes / copy_rate(device, w.bytes)) for mode, w in work.items()}
    for entry in entries:
        entry.runnable = None  # its tensors
    return Result(case, floors, entries)


def _matches(name: str, patterns: str) -> bool:
    """Whether a name contains one of the patterns, if there are any, and none of those with a minus."""
    parts = [part.strip() for part in patterns.split(",") if part.strip()]
    unwanted = [part[1:] for part in parts if part.startswith("-")]
    chosen = [part for part in parts if not part.startswith("-")]
    return not any(part in name for part in unwanted) and (not chosen or any(part in name for part in chosen))


def _processors() -> range:
    return range(torch.get_num_threads())


if __name__ == "__main__":
    main()
