"""A corpus made with another rig, in the shapes of a given one."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from biomechau.corpus.corpus_sequence import CorpusSequence
from biomechau.corpus.labelled_corpus import DerivedCorpus, LabelledCorpus
from biomechau.corpus.manifest import SequenceEntry
from biomechau.rig import FaceRig
from biomechau.rig.names import shortened

_MESHES = "vertices_residual"


class DrivenCorpus(DerivedCorpus):
    """A corpus whose coefficients are mapped by name to the shapes of another rig when they are read, as the channels
    of a recording are. Meshes are left out: they belong to the rig of the corpus.

    Args:
        corpus: to map.
        rig: to whose shapes.

    Attributes:
        channels: how the shapes of the corpus drive those of the rig.

    Raises:
        ValueError: no shape of the corpus drives a shape of the rig.
    """

    def __init__(self, corpus: LabelledCorpus, rig: FaceRig) -> None:
        self._rig = rig
        self.channels = rig.map_channels(corpus.shapes)
        if not self.channels.matrix.any():
            raise ValueError(
                f"{corpus.path}: none of the shapes of its rig drives a shape of the other; "
                f"they are {shortened(corpus.shapes)} and {shortened(rig.names)}"
            )
        layout = {name: entry for name, entry in corpus.manifest.tensors.items() if name != _MESHES}
        layout["coefficients"] = layout["coefficients"]._replace(shape=(len(rig.names),))
        manifest = replace(corpus.manifest, shapes=rig.names, tensors=layout)
        super().__init__(corpus, manifest)

    def __getitem__(self, id: str) -> CorpusSequence:
        """Read one sequence and map its coefficients.

        Raises:
            KeyError, ValueError, OSError: see :class:`biomechau.corpus.Corpus`.
        """
        recorded = self.recorded[id]
        driven = recorded.coefficients @ self.channels.matrix
        return replace(recorded, coefficients=driven, vertices_residual=None)

    @property
    def rig(self) -> FaceRig:
        return self._rig

    def _labels(self, entry: SequenceEntry) -> tuple[Tensor, Tensor]:
        sequence = self.recorded[entry.id]
        return sequence.labels, sequence.valid
