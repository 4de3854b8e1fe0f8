"""``biomechau corpus``: inspect and check corpora."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from tyro.conf import Positional, arg

from biomechau.commands.command import Command, Switch
from biomechau.commands.terminal import print_lines, print_tables, progress_bar

if TYPE_CHECKING:
    from biomechau.corpus import Corpus


@dataclass(frozen=True)
class CorpusInfo(Command):
    """Show the contents of a corpus: subjects, frames, rig, tensors, and how often each action unit is on."""

    folder: Annotated[Path, Positional, arg(metavar="CORPUS", help="Corpus folder.")]
    json: Annotated[Switch, arg(help="Print JSON.")] = False

    def run(self) -> None:
        """Print the tables, or JSON."""
        from biomechau.corpus import Corpus
        from biomechau.reports.output import to_json

        description = describe_corpus(Corpus.open(self.folder))
        if self.json:
            print(to_json({"folder": str(self.folder), **description}))
        else:
            print_tables(*corpus_tables(str(self.folder), description))


@dataclass(frozen=True)
class CorpusCheck(Command):
    """Read and check every value of a corpus; stop at the first invalid one."""

    folder: Annotated[Path, Positional, arg(metavar="CORPUS", help="Corpus folder.")]

    def run(self) -> None:
        """Read the rig and all sequences."""
        from biomechau.corpus import Corpus

        corpus = Corpus.open(self.folder)
        with progress_bar("reading sequences") as progress:
            corpus.rig  # noqa: B018, reading it checks it
            for done, _ in enumerate(corpus, 1):
                progress(done, len(corpus))
        print_lines(f"{self.folder}: {len(corpus)} sequences, {sum(corpus.frames.values()):,} frames, no faults")


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """The contents of ``corpus info``, as JSON values.

    Frames of an action unit are masked if its label is unknown or the frame is not valid; its rate is the share of the
    other frames in which it is on, None if there are none.
    """
    positive, known = (counts.tolist() for counts in corpus.label_counts())
    frames = sum(corpus.frames.values())
    return {
        "subjects": corpus.frames,
        "tasks": sorted({entry.task for entry in corpus.manifest.sequences}),
        "sequences": len(corpus),
        "frames": frames,
        "fps": corpus.fps,
        "duration": frames / corpus.fps,
        "rig_sha256": corpus.rig_sha256,
        "shapes": list(corpus.shapes),
        "muscles": list(corpus.muscles),
        "tensors": {name: layout._asdict() for name, layout in corpus.manifest.tensors.items()},
        "image_features": {
            features.folder.name: {
                **features.card.to_json(),
                "sequences": len(corpus) - len(features.missing(corpus.ids)),
            }
            for features in corpus.feature_cache.sets
        },
        "action_units": {
            f"AU{unit:02d}": {"on": on, "known": of, "masked": frames - of, "rate": on / of if of else None}
            for unit, on, of in zip(corpus.action_units, positive, known, strict=True)
        },
        "provenance": dict(corpus.provenance),
    }


def corpus_tables(title: str, description: dict[str, Any]) -> list[Table]:
    """Two tables of a description: the corpus, and its action units."""
    from biomechau.corpus.image_features import FEATURES

    about = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_header=False)
    about.add_column("what", style="bold")
    about.add_column("value")
    subjects = description["subjects"]
    tensors = (f"{name} {tensor['dtype']}" for name, tensor in description["tensors"].items())
    rows = {
        "subjects": f"{len(subjects)}: {', '.join(subjects)}",
        "tasks": ", ".join(filter(None, description["tasks"])),
        "sequences": f"{description['sequences']:,}",
        "frames": f"{description['frames']:,} at {description['fps']:g} fps, {description['duration']:,.0f} s",
        "rig": f"{len(description['shapes'])} shapes, SHA-256 {description['rig_sha256'][:12]}...",
        "muscles": f"{len(description['muscles'])} with known forces" if description["muscles"] else "",
        "tensors": ", ".join(tensors),
        **{
            folder if folder == FEATURES else f"{FEATURES} of {folder}": f"{row['size']} by {row['name']}, of "
            f"{row['sequences']} sequences"
            for folder, row in description["image_features"].items()
        },
        **{f"provenance: {key}": _words(value) for key, value in description["provenance"].items()},
    }
    for what, value in rows.items():
        if value:
            about.add_row(what, value)
    units = Table(title="Action units", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    units.add_column("")
    for heading in ("on", "known", "masked", "rate"):
        units.add_column(heading, justify="right")
    for name, row in description["action_units"].items():
        counts = (f"{row[key]:,}" for key in ("on", "known", "masked"))
        units.add_row(name, *counts, "" if row["rate"] is None else f"{row['rate']:.1%}")
    return [about, units]


def _words(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)}, with their properties in corpus.json"
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
