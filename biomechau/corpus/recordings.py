"""Finds the recordings of a study among files and folders."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from biomechau.corpus.picture_file import PICTURE_ENDINGS
from biomechau.corpus.video import VIDEO_ENDINGS
from biomechau.rig.mesh_file import MESH_ENDINGS

Kind = Literal["capture", "meshes", "video"]

_CAPTURES = frozenset({".csv", ".json", ".npy", ".npz", ".tsv", ".zip"})
# The description that Live Link Face writes next to the CSV file and the video of a take.
_TAKE = "take.json"
# Names that folders of recordings must not have: files next to them, and relative paths.
_RESERVED = ("study.csv", "index.html", ".", "..")


@dataclass(frozen=True)
class Recording:
    """One recording of a study.

    Attributes:
        path: file or folder.
        kind: "capture" (coefficients in a file, or a take folder of Live Link Face), "meshes" (a folder of numbered
            OBJ or PLY files) or "video" (a file, or a folder of numbered pictures).
        name: unique among the recordings of a study; the name of a folder.
        folder: its folder relative to the input that contains it, with "/" between folders; empty for an input itself
            and for recordings directly in it. Recordings of one person usually share a folder.
    """

    path: Path
    kind: Kind
    name: str
    folder: str

    @property
    def person(self) -> Path:
        """The folder that it lies in; recordings that share it are taken for those of one person."""
        return self.path.absolute().parent

    def fingerprint(self) -> str:
        """A digest of the names, sizes and times of its files, which changes when one of them does.

        Raises:
            OSError: a file cannot be read.
        """
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        digest = hashlib.sha256()
        for file in files:
            about = file.stat()
            digest.update(f"{file.name}\0{about.st_size}\0{about.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()


def find_recordings(inputs: Iterable[str | Path], excluded: Iterable[str | Path] = ()) -> list[Recording]:
    """Find all recordings in files and folders, in order of their paths.

    A folder that is not a recording itself is searched recursively. Files of other kinds, and files and folders whose
    names begin with a dot, are ignored there.

    Args:
        inputs: files and folders.
        excluded: folders that are not searched.

    Raises:
        FileNotFoundError: an input does not exist.
        ValueError: an input is a file of another kind, or there are no recordings.
    """
    inputs, left_out = [Path(path) for path in inputs], {Path(path).resolve() for path in excluded}
    found: dict[Path, tuple[Path, Kind, str]] = {}
    for given in inputs:
        if not given.exists():
            raise FileNotFoundError(f"no such file or folder: {given}")
        if not given.is_dir() and recording_kind(given) is None:
            kinds = ", ".join(sorted(_CAPTURES | VIDEO_ENDINGS))
            raise ValueError(f"{given}: not a recording; expected a folder or one of {kinds}")
        for path, kind in _search(given, left_out):
            folder = "" if path == given else path.parent.relative_to(given).as_posix()
            found.setdefault(path.resolve(), (path, kind, "" if folder == "." else folder))
    if not found:
        raise ValueError(f"no recordings in {', '.join(map(str, inputs))}")
    names = _unique_names([path for path, _, _ in found.values()])
    return [
        Recording(path, kind, name, folder) for (path, kind, folder), name in zip(found.values(), names, strict=True)
    ]


def _search(path: Path, excluded: set[Path]) -> list[tuple[Path, Kind]]:
    kind = recording_kind(path)
    if kind is not None:
        return [(path, kind)]
    if not path.is_dir() or path.resolve() in excluded:
        return []
    inside = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    # A link to a folder may be circular.
    return [one for child in inside if not (child.is_symlink() and child.is_dir()) for one in _search(child, excluded)]


def recording_kind(path: Path) -> Kind | None:
    """The kind of recording that a file or folder is; None if it is not one."""
    if not path.is_dir():
        ending = path.suffix.lower()
        return "capture" if ending in _CAPTURES else "video" if ending in VIDEO_ENDINGS else None
    if (path / _TAKE).is_file():
        return "capture"
    endings = Counter(child.suffix.lower() for child in path.iterdir() if child.is_file())
    if any(endings[ending] > 1 for ending in MESH_ENDINGS):
        return "meshes"
    return "video" if any(endings[ending] > 1 for ending in PICTURE_ENDINGS) else None


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """The stem of each path, with as many parent folders in front as make it unique."""
    parts = [path.resolve().parts[1:-1] for path in paths]
    alike = Counter((folders, path.stem.lower()) for folders, path in zip(parts, paths, strict=True))
    stems = [
        path.stem if alike[folders, path.stem.lower()] == 1 else path.name.replace(".", "_")
        for folders, path in zip(parts, paths, strict=True)
    ]
    names = list(stems)
    for depth in range(1, 1 + max(map(len, parts))):
        for index in _repeated(names):
            names[index] = "_".join([*parts[index][-depth:], stems[index]])
    while again := _repeated(names):
        for number, index in enumerate(again):
            names[index] += f"_{number}"
    return names


def _repeated(names: Sequence[str]) -> list[int]:
    """Positions of names that appear more than once or are reserved; some file systems ignore case."""
    count = Counter([*(name.lower() for name in names), *_RESERVED])
    return [index for index, name in enumerate(names) if count[name.lower()] > 1]
