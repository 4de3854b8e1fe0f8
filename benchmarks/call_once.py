"""Every case of our ops once, forward and backward: what compute-sanitizer and Nsight Compute watch.

    python benchmarks/call_once.py [--only PATTERN] [--rig FaceXModel] [--device cuda] [--small]

A first call of each warms up; the profiler is switched on for the second alone.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

import torch
from cases import chosen_cases
from faces import rig_path
from machine import synchronize
from peers import PEERS
from report import OURS


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this, as for run.py")
    parser.add_argument("--rig", type=Path, help="FaceXModel folder or rig file of ICT-FaceKit")
    parser.add_argument("--small", action="store_true", help="every case at its smallest")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    path = arguments.rig if arguments.small else rig_path(arguments.rig)
    for case in chosen_cases(arguments.only, True, arguments.small):
        [ours] = [peer for peer in PEERS[case.op] if peer.name == OURS]
        runnable = ours.prepare(case.problem(path).to(device))
        runnable.both()
        synchronize(device)
        with torch.cuda.profiler.profile() if device.type == "cuda" else nullcontext():
            runnable.both()
            synchronize(device)
        print(case.name, flush=True)


if __name__ == "__main__":
    main()
