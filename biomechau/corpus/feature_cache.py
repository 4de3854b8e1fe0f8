"""FeatureCache: all the image features that lie beside the sequences of a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from biomechau.corpus.fold import Fold
from biomechau.corpus.image_features import DESCRIPTION, FEATURES, BackboneCard, ImageFeatures


@dataclass(frozen=True, eq=False)
class FeatureCache:
    """Image features of one backbone for all subjects, or of a backbone for each fold.

    Attributes:
        corpus: folder of the corpus.
        ids: of its sequences.
        sets: the features of each backbone, perhaps not yet of all sequences.
    """

    corpus: Path
    ids: tuple[str, ...]
    sets: tuple[ImageFeatures, ...] = ()

    @classmethod
    def open(cls, corpus: Path, corpus_sha256: str, ids: Iterable[str]) -> FeatureCache:
        """Read the descriptions in the folder of image features of a corpus; nothing where there is none.

        Raises:
            ValueError: not image features of this version, or those of another corpus; the message names the file.
            OSError: a file cannot be read.
        """
        folder = corpus / FEATURES
        below = [folder] if (folder / DESCRIPTION).is_file() or not folder.is_dir() else sorted(folder.iterdir())
        found = (ImageFeatures.open(path, corpus_sha256) for path in below if (path / DESCRIPTION).is_file())
        return cls(corpus, tuple(ids), tuple(found))

    @property
    def size(self) -> int:
        """D, number of image features of a frame; 0 without any. Backbones of different folds have as many."""
        return self.sets[0].card.size if self.sets else 0

    def of_all_subjects(self) -> ImageFeatures | None:
        """Those of a backbone that knows nobody of the corpus, if there are such of all sequences."""
        whole = (features for features in self.sets if features.for_all_subjects and not features.missing(self.ids))
        return next(whole, None)

    def of_fold(self, fold: Fold) -> ImageFeatures:
        """Those that the training of a fold may see.

        Features of a backbone that knows nobody of the corpus serve every fold. A backbone that was trained on subjects
        of it serves the fold that trains on, and chooses by, the very same ones.

        Raises:
            ValueError: there are none at all, none for this fold, or not yet those of all sequences.
        """
        self._require()
        if (features := self.of_all_subjects()) is not None:
            return features
        seen = {*fold.train, *fold.validation}
        for features in self.sets:
            if features.own_subjects == seen:
                return features
        raise ValueError(
            f"{self.corpus / FEATURES} holds image features of backbones trained on other subjects than those of this "
            'fold: give the fold options that "biomechau corpus train-features" was given'
        )

    def of_backbone(self, card: BackboneCard | None) -> ImageFeatures:
        """Those of one backbone.

        Raises:
            ValueError: there are none of it, or not yet those of all sequences.
        """
        self._require()
        for features in self.sets:
            if features.card == card:
                return features
        found = ", ".join(str(features.card) for features in self.sets)
        wanted = "features in the sequence files" if card is None else f"those of {card}"
        raise ValueError(
            f"{self.corpus} has no image features of the backbone that the detector was trained with: expected "
            f"{wanted}, found {found}"
        )

    def _require(self) -> None:
        if not self.sets:
            raise ValueError(
                f'{self.corpus} has no image features; "biomechau corpus features" computes them from pictures'
            )
        for features in self.sets:
            if missing := features.missing(self.ids):
                raise ValueError(
                    f"{features.folder}: the image features of {len(missing)} of {len(self.ids)} sequences are "
                    "missing; the command that computes them goes on with them"
                )
