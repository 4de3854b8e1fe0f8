"""Recordings and their readers, and corpora of labelled sequences."""

from typing import TYPE_CHECKING

from biomechau._lazy import lazy_names

if TYPE_CHECKING:
    from biomechau.corpus.action_unit_series import ActionUnitSeries, read_action_units
    from biomechau.corpus.blendshape_table import read_blendshape_table
    from biomechau.corpus.channel_table import ChannelTable
    from biomechau.corpus.corpus import Corpus
    from biomechau.corpus.corpus_sequence import CorpusSequence
    from biomechau.corpus.corpus_writer import CorpusWriter
    from biomechau.corpus.driven_corpus import DrivenCorpus
    from biomechau.corpus.face_sequence import FaceSequence
    from biomechau.corpus.feature_cache import FeatureCache
    from biomechau.corpus.fold import Fold
    from biomechau.corpus.folds import (
        bp4d_folds,
        check_folds,
        corpus_folds,
        disfa_folds,
        protocol_of,
        require_positives,
        subject_folds,
    )
    from biomechau.corpus.image_features import BackboneCard, ImageFeatures
    from biomechau.corpus.json_sequence import read_json_sequence
    from biomechau.corpus.label_table import LabelTable, read_labels
    from biomechau.corpus.labelled_corpus import LabelledCorpus
    from biomechau.corpus.mesh_sequence import read_mesh_sequence
    from biomechau.corpus.npz_sequence import read_npz
    from biomechau.corpus.protocols import BP4D, DISFA, Protocol
    from biomechau.corpus.reading import read_sequence
    from biomechau.corpus.resampled_corpus import ResampledCorpus
    from biomechau.corpus.windows import Windows

__all__ = [
    "BP4D",
    "DISFA",
    "ActionUnitSeries",
    "BackboneCard",
    "ChannelTable",
    "Corpus",
    "CorpusSequence",
    "CorpusWriter",
    "DrivenCorpus",
    "FaceSequence",
    "FeatureCache",
    "Fold",
    "ImageFeatures",
    "LabelTable",
    "LabelledCorpus",
    "Protocol",
    "ResampledCorpus",
    "Windows",
    "bp4d_folds",
    "check_folds",
    "corpus_folds",
    "disfa_folds",
    "protocol_of",
    "read_action_units",
    "read_blendshape_table",
    "read_json_sequence",
    "read_labels",
    "read_mesh_sequence",
    "read_npz",
    "read_sequence",
    "require_positives",
    "subject_folds",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "action_unit_series": ("ActionUnitSeries", "read_action_units"),
        "blendshape_table": ("read_blendshape_table",),
        "channel_table": ("ChannelTable",),
        "corpus": ("Corpus",),
        "corpus_sequence": ("CorpusSequence",),
        "corpus_writer": ("CorpusWriter",),
        "driven_corpus": ("DrivenCorpus",),
        "face_sequence": ("FaceSequence",),
        "feature_cache": ("FeatureCache",),
        "fold": ("Fold",),
        "folds": (
            "bp4d_folds",
            "check_folds",
            "corpus_folds",
            "disfa_folds",
            "protocol_of",
            "require_positives",
            "subject_folds",
        ),
        "image_features": ("BackboneCard", "ImageFeatures"),
        "json_sequence": ("read_json_sequence",),
        "label_table": ("LabelTable", "read_labels"),
        "labelled_corpus": ("LabelledCorpus",),
        "mesh_sequence": ("read_mesh_sequence",),
        "npz_sequence": ("read_npz",),
        "protocols": ("BP4D", "DISFA", "Protocol"),
        "reading": ("read_sequence",),
        "resampled_corpus": ("ResampledCorpus",),
        "windows": ("Windows",),
    },
)
