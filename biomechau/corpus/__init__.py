"""Recordings: one sequence in memory, the readers of the files people have, and corpora of labelled sequences."""

from biomechau.corpus.action_unit_series import (
    ActionUnitSeries as ActionUnitSeries,
    read_action_units as read_action_units,
)
from biomechau.corpus.blendshape_table import read_blendshape_table as read_blendshape_table
from biomechau.corpus.channel_table import ChannelTable as ChannelTable
from biomechau.corpus.corpus import Corpus as Corpus
from biomechau.corpus.corpus_sequence import CorpusSequence as CorpusSequence
from biomechau.corpus.corpus_writer import CorpusWriter as CorpusWriter
from biomechau.corpus.face_sequence import FaceSequence as FaceSequence
from biomechau.corpus.feature_cache import FeatureCache as FeatureCache
from biomechau.corpus.fold import Fold as Fold
from biomechau.corpus.folds import (
    bp4d_folds as bp4d_folds,
    check_folds as check_folds,
    corpus_folds as corpus_folds,
    disfa_folds as disfa_folds,
    protocol_of as protocol_of,
    require_positives as require_positives,
    subject_folds as subject_folds,
)
from biomechau.corpus.image_features import BackboneCard as BackboneCard, ImageFeatures as ImageFeatures
from biomechau.corpus.json_sequence import read_json_sequence as read_json_sequence
from biomechau.corpus.labelled_corpus import LabelledCorpus as LabelledCorpus
from biomechau.corpus.mesh_sequence import read_mesh_sequence as read_mesh_sequence
from biomechau.corpus.npz_sequence import read_npz as read_npz
from biomechau.corpus.protocols import BP4D as BP4D, DISFA as DISFA, Protocol as Protocol
from biomechau.corpus.reading import read_sequence as read_sequence
from biomechau.corpus.resampled_corpus import ResampledCorpus as ResampledCorpus
from biomechau.corpus.windows import Windows as Windows
