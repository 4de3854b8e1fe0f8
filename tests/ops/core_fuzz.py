"""Calls of the compiled module with arguments changed by chance: each must run or raise; a crash ends the process.

Run as ``python -m ops.core_fuzz SEED COUNT [ISA]``; the last line that is printed is the call that ended it.
"""

from __future__ import annotations

import random
import signal
import sys
from collections import Counter
from typing import Any, NamedTuple

import torch
from ops.cases import results_of
from ops.kernel_cases import kernel_cases
from torch import Tensor

from biomechau import _core

_OBJECTS = ("DistributionIndex", "PackedBlendshapes", "SortedEntries", "Graph", "RolloutOperators", "ModalSizes")
_SECONDS = 20  # of one call; sanitizers are slow
_NUMBERS = [-1, 0, 1, 2, 63, 2**16, 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**40, 2**58, 2**62, 2**63 - 1, -(2**63), 2**64]
_FLOATS = [0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf"), None, "x"]


class Call(NamedTuple):
    """A function or class of the module with its arguments, some of which are calls that make an object."""

    name: str
    args: tuple[Any, ...]

    def run(self) -> Any:
        return getattr(_core, self.name)(*(arg.run() if isinstance(arg, Call) else arg for arg in self.args))

    def leaves(self) -> list[tuple[int, ...]]:
        """Where its arguments are: the path to each."""
        found = []
        for i, arg in enumerate(self.args):
            found += [(i, *path) for path in arg.leaves()] if isinstance(arg, Call) else [(i,)]
        return found

    def at(self, path: tuple[int, ...]) -> Any:
        arg = self.args[path[0]]
        return arg.at(path[1:]) if len(path) > 1 else arg

    def with_leaf(self, path: tuple[int, ...], value: Any) -> Call:
        args = list(self.args)
        args[path[0]] = args[path[0]].with_leaf(path[1:], value) if len(path) > 1 else value
        return Call(self.name, tuple(args))


def record(dtype: torch.dtype) -> tuple[list[Call], dict[int, Tensor]]:
    """Every distinct call that the ops make, and the tensors behind the addresses."""
    made: dict[int, tuple[Any, Call]] = {}
    calls: dict[str, Call] = {}
    tensors: dict[int, Tensor] = {}
    originals = {name: value for name, value in vars(_core).items() if name in _OBJECTS or name.endswith(_KERNELS)}

    def known_as(arg: Any) -> Any:
        if isinstance(arg, Tensor):  # which outlives its call
            arg = arg.contiguous()
            tensors[arg.data_ptr()] = arg
            return arg.data_ptr(), arg.numel(), _core.dtypes.index(str(arg.dtype).removeprefix("torch."))
        return made[id(arg)][1] if id(arg) in made else arg

    def recording(name: str, original: Any) -> Any:
        def call(*args: Any) -> Any:
            known = Call(name, tuple(map(known_as, args)))
            result = original(*args)
            if name in _OBJECTS:
                made[id(result)] = result, known
            else:
                kinds = [type(known.at(path)).__name__ for path in known.leaves()]
                calls.setdefault(f"{name} {kinds}", known)
            return result

        return call

    try:
        for name, original in originals.items():
            setattr(_core, name, recording(name, original))
        for function, inputs in kernel_cases(dtype).values():
            results_of(function, inputs)
    finally:
        for name, original in originals.items():
            setattr(_core, name, original)
    return list(calls.values()), tensors


_KERNELS = ("_fwd", "_bwd", "_workspace")


def changed(value: Any, rng: random.Random) -> Any:
    """Another value where the one given was; an address is never made to lie elsewhere in memory."""
    if isinstance(value, bool):
        return rng.choice([not value, None, 2])
    if isinstance(value, float):
        return rng.choice(_FLOATS)
    if isinstance(value, int):
        return rng.choice([*_NUMBERS, value + 1, value - 1, 2 * value, 100_000, None, "x", 1.5])
    if value is None:
        return rng.choice([(0, 0, 0), (0, 0, 2), (0, 5, 0), (64, 0, 0), (0, 1, 1), (0, 2**62, 3)])
    address, numel, dtype = value
    return rng.choice(
        [
            None,
            (0, numel, dtype),
            (0, 0, dtype),
            (address + 1, numel, dtype),
            (-1, numel, dtype),
            (2**64, numel, dtype),
            (address, numel, rng.choice([*range(-1, 5), 2**32 + dtype])),
            (address, rng.choice([numel + 1, numel - 1, 2 * numel, 0, -1, 2**61, 2**62, 2**63 - 1, 2**63]), dtype),
            (address, numel),
            (address, numel, dtype, 0),
            [address, numel, dtype],
            (address, float(numel), dtype),
            "x",
        ]
    )


def outcome(call: Call) -> str:
    signal.alarm(_SECONDS)  # its default action ends the process, also out of an endless loop in a kernel
    try:
        call.run()
    except (ValueError, TypeError, MemoryError) as error:
        return type(error).__name__
    finally:
        signal.alarm(0)
    return "ran"


def fuzz(seed: int, count: int) -> Counter[str]:
    rng = random.Random(seed)
    calls: list[Call] = []
    tensors: dict[int, Tensor] = {}
    for dtype in (torch.float32, torch.float64):
        more, kept = record(dtype)
        calls += more
        tensors |= kept
    outcomes = Counter(outcome(call) for call in calls)
    assert set(outcomes) == {"ran"}, outcomes
    for _ in range(count):
        call = rng.choice(calls)
        paths = call.leaves()
        buffers = [path for path in paths if isinstance(call.at(path), tuple)]
        indices = [call.at(path) for path in buffers if call.at(path)[2] >= 2 and call.at(path)[1] > 0]
        kind = rng.choice(["argument", "sizes", "index"])
        if kind == "index" and indices:
            index = tensors[rng.choice(indices)[0]].view(-1)
            at, most = rng.randrange(len(index)), 2 ** (31 if index.dtype == torch.int32 else 63)
            before = int(index[at])
            index[at] = rng.choice([-1, -most, most - 1, before + 1, before - 1, 10**6, 2**31 - 1])
            print(call.name, "index", index.tolist(), flush=True)
            outcomes[outcome(call)] += 1
            index[at] = before
            continue
        if kind == "sizes":
            for path in paths:
                if type(call.at(path)) is int and rng.random() < 0.7:
                    call = call.with_leaf(path, rng.choice([*_NUMBERS[1:13], 0, 0]))
            if rng.random() < 0.3:
                for path in buffers:
                    call = call.with_leaf(path, None)
        else:
            path = rng.choice(paths)
            call = call.with_leaf(path, changed(call.at(path), rng))
        print(call, flush=True)
        outcomes[outcome(call)] += 1
    return outcomes


if __name__ == "__main__":
    if len(sys.argv) > 3:
        _core.select_isa(sys.argv[3])
    print("done", dict(fuzz(int(sys.argv[1]), int(sys.argv[2]))))
