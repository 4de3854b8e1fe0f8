"""Tables 1, 2 and 3: what the head sees, and how that compares with what others published."""

from __future__ import annotations

from typing import Any

from biomechau.corpus import Corpus, Protocol, protocol_of
from biomechau.corpus.protocols import BP4D, DISFA
from biomechau.training.experiments.experiment import Experiment, Row, Setup
from biomechau.training.experiments.published import published_rows

_HEADINGS = {
    "geometry": "3D geometry",
    "force": "3D force",
    "position": "3D position",
    "position_temporal": "3D position, temporal",
    "physics": "3D physics",
    "image": "2D image",
    "physics_image": "physics + image",
}


def table1(setup: Setup) -> Experiment:
    """The paper's Table 1, with the baseline without physics that sees neighbouring frames too."""
    (corpus,) = setup.corpora
    return Experiment(
        "table1",
        "What the head sees",
        tuple(_row(head, corpus) for head in _HEADINGS),
        notes=(_meshes(corpus),),
    )


def table2(setup: Setup) -> Experiment:
    """The paper's Table 2: ours beside what was published on BP4D."""
    return _literature("table2", setup, BP4D)


def table3(setup: Setup) -> Experiment:
    """The paper's Table 3: ours beside what was published on DISFA."""
    return _literature("table3", setup, DISFA)


def _row(head: str, corpus: Corpus) -> Row:
    changes: dict[str, Any] = {"detector.head": head}
    missing = ""
    if "image" in head:
        changes["detector.num_image_features"] = corpus.num_image_features
        if not corpus.num_image_features:
            missing = "the corpus has no image features"
    return Row(head, _HEADINGS[head], changes, missing=missing)


def _meshes(corpus: Corpus) -> str:
    if "vertices_residual" in corpus.tensor_names:
        return "geometry reads the corpus's own meshes"
    return "geometry reads meshes that are exactly linear in the coefficients: the corpus has none of its own"


def _literature(name: str, setup: Setup, protocol: Protocol) -> Experiment:
    (corpus,) = setup.corpora
    source = corpus.provenance.get("source")
    if source != protocol.name or protocol_of(corpus) is not protocol:
        odd = "some of its subjects are missing, or others" if source == protocol.name else f"it is from {source!r}"
        raise ValueError(
            f"{corpus.path}: {name} sets results beside those published on {protocol.name}, which only its own "
            f"{sum(map(len, protocol.subject_sets.values()))} subjects can be compared with; {odd}"
        )
    if setup.units(corpus) != protocol.action_units:
        raise ValueError(
            f"{corpus.path}: {name} needs the action units of {protocol.name}, "
            f"{', '.join(map(str, protocol.action_units))}; found {', '.join(map(str, setup.units(corpus)))}"
        )
    return Experiment(
        name,
        f"F1 on {protocol.name} beside published results",
        tuple(_row(head, corpus) for head in ("position_temporal", "physics", "image", "physics_image")),
        published=published_rows(protocol),
        notes=(
            "published rows are carried over as printed but for what is marked *; most of them chose their weights on "
            "the test subjects, see the selection of ours",
            _meshes(corpus),
        ),
    )
