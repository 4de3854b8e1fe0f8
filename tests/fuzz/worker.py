"""Reads mutated inputs, one after the other, under a limit of memory and time; a process of its own.

Each input is known by its reader and its number: the same two give the same bytes.
"""

from __future__ import annotations

import faulthandler
import json
import random
import resource
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from fuzz.mutations import mutated
from fuzz.seeds import Reader, readers

MEMORY = 2 << 30  # bytes beyond what the libraries themselves take
SECONDS = 120  # for one input, on a busy machine
LONGEST_MESSAGE = 400


def main(start: int, count: int, names: list[str]) -> None:
    """Read ``count`` inputs of each reader, from number ``start``; print what is wrong, then a summary."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    table = readers()
    for name in names or table:
        # Valid as they are, also before the limit: what is loaded when it is needed is loaded now.
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            _write(Path(folder), table[name].files)
            table[name].read(Path(folder))
    held = _held()
    resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY, held + MEMORY))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for name in names or table:
            right = 0
            for number in range(start, start + count):
                print(f"at {name} {number}", file=sys.stderr)
                right += _try(Path(folder) / "case", name, table[name], number)
            print(json.dumps({"reader": name, "inputs": count, "right": right}), flush=True)


def _try(folder: Path, name: str, reader: Reader, number: int) -> bool:
    """Whether an input is read; prints it where it is neither right nor refused by name."""
    chance = random.Random(f"{name} {number}")
    files = dict(reader.files)
    changed = chance.choice(reader.mutable or list(files))
    files[changed] = mutated(changed, files[changed], chance)
    reader.mend(files)
    if chance.random() < 0.02:
        del files[changed]
    elif chance.random() < 0.03:
        files[_renamed(changed, chance)] = files.pop(changed)
    _write(folder, files)
    if changed not in files and chance.random() < 0.3:
        _replaced(folder / changed, chance)
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    fault = ""
    try:
        reader.read(folder)
        return True
    except (ValueError, OSError) as error:
        message = str(error)
        if str(folder) not in message:
            fault = f"no file is named: {type(error).__name__}: {message}"
        elif len(message.replace(str(folder), "")) > LONGEST_MESSAGE:
            fault = f"{len(message)} characters: {message}"
    except BaseException as error:
        fault = f"{type(error).__name__}: {error}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    if fault:
        print(json.dumps({"reader": name, "number": number, "file": changed, "fault": fault[:600]}), flush=True)
    return False


def _renamed(name: str, chance: random.Random) -> str:
    stem, dot, ending = name.rpartition(".")
    other = chance.choice(("9" * 30, "99999999999", "0", "x", "-1", "000", "f\u0663"))
    return f"{stem.rpartition('/')[0]}/{other}{dot}{ending}".lstrip("/")


def _replaced(path: Path, chance: random.Random) -> None:
    """A folder, or what is no regular file, where a file was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if chance.random() < 0.5:
        path.mkdir(exist_ok=True)
    elif not path.exists():
        path.symlink_to("/dev/null")


def _write(folder: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _held() -> int:
    """Bytes of this process that count against the limit."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
