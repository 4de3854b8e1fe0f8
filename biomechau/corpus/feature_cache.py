"""FeatureCache: all cached image features of a corpus."""

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
        sets: the features of each backbone, possibly not yet of all sequences.
    """

    corpus: Path
    ids: tuple[str, ...]
    sets: tuple[ImageFeatures, ...] = ()

    @classmethod
    def open(cls, corpus: Path, corpus_sha256: str, ids: Iterable[str]) -> FeatureCache:
        """Read the descriptions of the image features of a corpus; the cache is empty if there are none.

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
        """D, number of image features per frame, the same for all folds; 0 without any."""
        return self.sets[0].card.size if self.sets else 0

    def of_all_subjects(self) -> ImageFeatures | None:
        """The features of a backbone that was not trained on subjects of the corpus, if all sequences have them."""
        whole = (features for features in self.sets if features.for_all_subjects and not features.missing(self.ids))
        return next(whole, None)

    def of_fold(self, fold: Fold) -> ImageFeatures:
        """The features that the training of a fold may use.

        Features of a backbone that was not trained on subjects of the corpus are used for every fold. A backbone that
        was trained on some of them is used for the fold with exactly these training and validation subjects.

        Raises:
            ValueError: there are no features, none for this fold, or not yet those of all sequences.
        """
        self._require()
        if (features := self.of_all_subjects()) is not None:
            return features
        seen = {*fold.train, *fold.validation}
        for features in self.sets:
            if features.own_subjects == seen:
                return features
        raise ValueError(
            f"{self.corpus / FEATURES} has image features of backbones trained on other subjects than those of this "
            'fold: use the same fold options as for "biomechau corpus train-features"'
        )

    def of_backbone(self, card: BackboneCard | None) -> ImageFeatures:
        """The features of one backbone.

        Raises:
            ValueError: there are none, or not yet those of all sequences.
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
                    "missing; the command that computes them continues with these"
                )
