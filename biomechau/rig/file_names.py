"""What the names of files say: the shape, the version, the neutral, and what a tool has put around them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

from biomechau.rig.names import ARKIT_SHAPES, canonical

# "smile_v002", "smile.v2", "smileV2": the version of a file, not part of its name.
_VERSION = re.compile(r"(?P<name>.*[^\W_])(?:[\W_]+[vV]|(?<=[a-z])V)(?P<number>\d{1,9})")
_NUMBER = re.compile(r"^\d+[\W_]*|[\W_]*\d+$")
# Of what is tried as a prefix or suffix, in characters.
_LONGEST_AFFIX = 24
_LONGEST_KNOWN = 40
_MARKS = " _-."
# What programs call the face at rest, the surest first.
NEUTRALS = ("neutral", "basis", "base", "rest", "default")


def _known_names() -> frozenset[str]:
    names = {canonical(name) for name in ARKIT_SHAPES}
    names |= {re.sub("_[lr]$", "", name) for name in names}
    return frozenset(names | {f"{name}_{side}" for name in names for side in "lr"})


_KNOWN = _known_names()


def split_version(stem: str) -> tuple[str, int]:
    """The name without its version, and the version, -1 without one.

    >>> split_version("smile_v002"), split_version("browU2")
    (('smile', 2), ('browU2', -1))
    """
    found = _VERSION.fullmatch(stem)
    return (found["name"], int(found["number"])) if found else (stem, -1)


def newest_versions(paths: Iterable[Path]) -> tuple[dict[str, Path], list[Path]]:
    """The newest file of each name, without version and in any case, and the older ones.

    Raises:
        ValueError: two files of one name and version; the message names them.
    """
    newest: dict[str, Path] = {}
    older: list[Path] = []
    for path in paths:
        name, version = split_version(path.stem)
        other = newest.get(name.casefold())
        if other is not None:
            if split_version(other.stem)[1] == version:
                raise ValueError(f"{path}: there is also {other.name}; keep one of them")
            if split_version(other.stem)[1] > version:
                older.append(path)
                continue
            older.append(other)
        newest[name.casefold()] = path
    return {split_version(path.stem)[0]: path for path in newest.values()}, older


def find_neutral(names: Sequence[str]) -> list[str]:
    """The names that mean the face at rest, in the word of :data:`NEUTRALS` that is the surest; a name that is nothing
    else but this word goes before those that have more, as ``blendShape1.Neutral``."""
    for word in NEUTRALS:
        alone = [name for name in names if re.sub(r"[\W_]+", "", name).lower() == word]
        if found := alone or [name for name in names if word in re.split(r"[\W\d_]+", name.lower())]:
            return found
    return []


def plain_shape_names(names: Sequence[str]) -> tuple[str, ...]:
    """Shape names without what a program has put before or behind all of them, and without numbers at their ends.

    A namespace (``blendShape1.``) is always taken off. Anything else (``BS_``, ``07_``, ``_geo``) only where more
    names are known without it, and only where the names stay different from each other.

    >>> plain_shape_names(["blendShape1.01_jawOpen", "blendShape1.02_mouthSmileLeft"])
    ('jawOpen', 'mouthSmileLeft')
    """
    names = tuple(names)
    if len(names) > 1:
        namespace = max(names[0].rfind(mark, 0, _common(names)) for mark in ".:|") + 1
        names = tuple(name[namespace:] for name in names)
    best, most = names, _count_known(names)
    longest = [min(_common(side), _LONGEST_AFFIX) for side in (names, [name[::-1] for name in names])]
    for before in range(longest[0] + 1):
        for behind in range(longest[1] + 1):
            plain = tuple(_without_number(name[before : len(name) - behind].strip(_MARKS)) for name in names)
            if _count_known(plain) > most and len({canonical(name) for name in plain}) == len(plain):
                best, most = plain, _count_known(plain)
    return best


def _common(names: Sequence[str]) -> int:
    """How many characters several names begin with; 0 of a single one, of which it says nothing."""
    letters = takewhile(lambda letter: len(set(letter)) == 1, zip(*names, strict=False))
    return sum(1 for _ in letters) if len(names) > 1 else 0


def _without_number(name: str) -> str:
    """The name without numbers at its ends, if it is known without them."""
    plain = _NUMBER.sub("", name)
    return plain if _is_known(plain) else name


def _count_known(names: Iterable[str]) -> int:
    return sum(map(_is_known, names))


def _is_known(name: str) -> bool:
    return len(name) <= _LONGEST_KNOWN and canonical(name) in _KNOWN
