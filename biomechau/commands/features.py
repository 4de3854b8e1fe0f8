"""``biomechau corpus features`` and ``corpus train-features``: image features of a corpus."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from biomechau.commands.command import Command, Switch
from biomechau.commands.terminal import print_lines, print_message, progress_bar
from biomechau.corpus.fold import Validation
from biomechau.training import ImageTrainingConfig

if TYPE_CHECKING:
    from biomechau.corpus import Corpus
    from biomechau.training.feature_computation import FeatureReport


@dataclass(frozen=True)
class CorpusFeatures(Command):
    """Compute the image features of a corpus once with a pretrained vision backbone, and cache them in the corpus.

    "biomechau train --head image" and "--head physics_image" use them. The backbone is not trained. The pictures of a
    sequence are IMAGES/ID/000123.png (or .jpg, .bmp; with or without zeros), or laid out as in BP4D
    (IMAGES/F001/T1/2440.jpg) or DISFA (the videos of the left camera, or IMAGES/SN001/1.png); they should be cropped
    to the face. After an interruption the same command continues.
    """

    corpus: Annotated[Path, Positional, arg(metavar="CORPUS", help="Corpus folder.")]
    images: Annotated[Path, arg(metavar="IMAGES", help="Folder of the pictures.")]
    backbone: Annotated[
        str,
        arg(
            metavar="NAME",
            help="Backbone on the Hugging Face Hub, or a local folder with config.json, preprocessor_config.json and "
            "model.safetensors, which needs no network.",
        ),
    ] = "microsoft/resnet-50"
    revision: Annotated[str | None, arg(metavar="REV", help="Branch, tag or commit on the Hub.")] = None
    device: Annotated[str, arg(help='Device of the backbone: "cpu", "cuda", ...')] = "cpu"
    batch_size: Annotated[int, arg(help="Pictures per forward pass.")] = 32
    skip_faulty: Annotated[
        Switch, arg(help="Mask labelled frames without a picture and broken pictures, instead of stopping.")
    ] = False
    replace: Annotated[Switch, arg(help="Discard existing image features.")] = False

    def run(self) -> None:
        """Load the backbone, compute, print."""
        from biomechau.corpus import Corpus

        corpus = Corpus.open(self.corpus)

        from biomechau.models import load_backbone
        from biomechau.training import compute_image_features

        backbone = load_backbone(self.backbone, self.revision, self.device, progress=True)
        with progress_bar("computing features") as progress:
            report = compute_image_features(
                corpus,
                self.images,
                backbone,
                batch_size=self.batch_size,
                skip_faulty=self.skip_faulty,
                replace=self.replace,
                progress=progress,
            )
        _print_report(report, corpus)


@dataclass(frozen=True)
class CorpusTrainFeatures(Command):
    """Train a small convolutional net on the pictures of each fold's training subjects, and cache its features.

    For pictures that no pretrained backbone suits, such as simulated ones. Each fold has its own net, which never sees
    the test subjects of the fold; use the same fold options for "biomechau train". For the layout of the pictures see
    "biomechau corpus features". After an interruption the same command continues.
    """

    corpus: Annotated[Path, Positional, arg(metavar="CORPUS", help="Corpus folder.")]
    images: Annotated[
        Path | None, arg(metavar="IMAGES", help="Folder of the pictures; CORPUS/images if not given.")
    ] = None
    num_folds: Annotated[int, arg(help='As for "biomechau train".')] = 3
    fold_seed: Annotated[int, arg(help='As for "biomechau train".')] = 0
    validation: Annotated[Validation, arg(help='As for "biomechau train".')] = "train"
    device: Annotated[str, arg(help='Device for training and features: "cpu", "cuda", ...')] = "cpu"
    skip_faulty: Annotated[
        Switch, arg(help="Mask labelled frames without a picture and broken pictures, instead of stopping.")
    ] = False
    replace: Annotated[Switch, arg(help="Discard existing image features.")] = False
    training: OmitArgPrefixes[ImageTrainingConfig] = field(default_factory=ImageTrainingConfig)

    def run(self) -> None:
        """Train and compute fold after fold, print."""
        from biomechau.corpus import Corpus, corpus_folds

        corpus = Corpus.open(self.corpus)
        folds = corpus_folds(corpus, self.num_folds, self.fold_seed, validation=self.validation)

        from biomechau.corpus.simulator.simulated_corpus import IMAGES
        from biomechau.training import train_fold_features

        with ExitStack() as bars:

            def begin(words: str) -> Callable[[int, int], None]:
                bars.close()
                return bars.enter_context(progress_bar(words))

            reports = train_fold_features(
                corpus,
                dict(enumerate(folds, 1)),
                self.corpus / IMAGES if self.images is None else self.images,
                self.training,
                self.device,
                self.skip_faulty,
                self.replace,
                begin,
            )
        for report in reports.values():
            _print_report(report, corpus)


def _print_report(report: FeatureReport, corpus: Corpus) -> None:
    for fault in report.faults:
        print_message("warning", f"{fault}: masked")
    card = report.features.card
    print_lines(f"{report.features.folder}: {card.size} features of {len(corpus)} sequences by {card}")
