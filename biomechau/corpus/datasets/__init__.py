"""BP4D and DISFA as they are distributed, joined with tracked coefficients to a corpus."""

from biomechau.corpus.datasets.assemble import (
    Assembly as Assembly,
    assemble as assemble,
    write_assembly as write_assembly,
)
from biomechau.corpus.datasets.bp4d import BP4DFolder as BP4DFolder
from biomechau.corpus.datasets.disfa import DISFAFolder as DISFAFolder
from biomechau.corpus.datasets.exclusions import read_exclusions as read_exclusions
from biomechau.corpus.datasets.findings import Finding as Finding
from biomechau.corpus.datasets.folder import DataSetFolder as DataSetFolder, LabelledSequence as LabelledSequence
from biomechau.corpus.datasets.images import frame_images as frame_images

__all__ = [
    "Assembly",
    "BP4DFolder",
    "DISFAFolder",
    "DataSetFolder",
    "Finding",
    "LabelledSequence",
    "assemble",
    "frame_images",
    "read_exclusions",
    "write_assembly",
]
