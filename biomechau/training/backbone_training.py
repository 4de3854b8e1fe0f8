"""Training of a small image backbone on the labels of a fold, and its features of the whole corpus."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from biomechau.corpus import Corpus, Fold, check_folds
from biomechau.corpus.image_features import DESCRIPTION, FEATURES, ImageFeatures, remove_image_features
from biomechau.corpus.pictures import find_pictures
from biomechau.finite import not_finite
from biomechau.locks import locked_folder
from biomechau.models import ImageBackbone, TrainedBackbone, action_unit_loss
from biomechau.models.image_backbone import resized
from biomechau.training.data import positive_weights
from biomechau.training.feature_computation import FeatureReport, compute_image_features
from biomechau.training.module import ADVICE
from biomechau.training.run import fold_folder
from biomechau.training.training_config import ImageTrainingConfig

# Folder of the backbone, next to its features.
BACKBONE = "backbone"
# Augmentation of the pictures: standard deviations of rotation [rad], scale, and shift [share of half a side].
_TURN, _SCALE, _SHIFT = 0.08, 0.08, 0.08


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """Resized pictures of some sequences, in memory.

    Attributes:
        pixels: (n, 3, S, S) uint8.
        labels: (n, R) int8, -1 where unknown or the frame is not valid.
    """

    pixels: Tensor
    labels: Tensor

    @classmethod
    def read(
        cls,
        corpus: Corpus,
        ids: Iterable[str],
        images: str | Path,
        size: int,
        skip_faulty: bool = False,
        step: Callable[[int], None] | None = None,
    ) -> LabelledPictures:
        """Read the pictures of all frames with a known label.

        Args:
            corpus: the labels.
            ids: of the sequences.
            images: root of the pictures, see :func:`biomechau.corpus.pictures.find_pictures`.
            size: S.
            skip_faulty: skip frames without a picture and broken pictures, instead of raising an error.
            step: called with the number of frames of each finished sequence.

        Raises:
            ImportError, OSError, ValueError: as :func:`biomechau.training.compute_image_features`; no pictures.
        """
        pixels, labels = [], []
        for id in ids:
            sequence = corpus[id]
            pictures = find_pictures(corpus, images, sequence)
            known = sequence.labels.masked_fill(~sequence.valid[:, None], -1)
            wanted = (known >= 0).any(1)
            if not skip_faulty and (lacking := pictures.without(wanted.numpy())):
                raise ValueError(f"{id}: {lacking} (--skip-faulty leaves such frames out)")
            for frame, picture in pictures.read([] if skip_faulty else None):
                if wanted[frame]:
                    pixels.append(resized(picture, size))
                    labels.append(known[frame])
            if step is not None:
                step(len(sequence))
        if not pixels:
            raise ValueError(f"no labelled frame has a picture in {images}")
        return cls(torch.stack(pixels), torch.stack(labels))


def train_image_backbone(
    corpus: Corpus,
    fold: Fold,
    training: LabelledPictures,
    validation: LabelledPictures,
    config: ImageTrainingConfig | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> TrainedBackbone:
    """Train a small convolutional net on the action units of a fold's training subjects.

    The weights of the epoch with the lowest loss on the validation subjects are kept. On the CPU, the same seed and
    number of threads give the same weights.

    Args:
        corpus: of the fold.
        fold: its subjects, whose names are stored with the backbone.
        training: pictures of the fold's training subjects.
        validation: pictures of its validation subjects.
        config: training options.
        device: to train and run on.
        progress: called with (steps done, steps in all).

    Raises:
        ValueError: no known label, or as :class:`ImageTrainingConfig`.
    """
    config = ImageTrainingConfig() if config is None else config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = ImageBackbone(config.image_size, config.features)
        head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.features, training.labels.shape[1]))
        best = _fit(nn.Sequential(net, head).to(device), training, validation, config, device, progress)
    net.load_state_dict({name.removeprefix("0."): x for name, x in best.items() if name.startswith("0.")})
    subjects = tuple(s for s in corpus.subjects if s in {*fold.train, *fold.validation})
    return TrainedBackbone(net, subjects, corpus.sha256, device)


def train_fold_features(
    corpus: Corpus,
    folds: Mapping[int, Fold],
    images: str | Path,
    config: ImageTrainingConfig | None = None,
    device: str | torch.device = "cpu",
    skip_faulty: bool = False,
    replace: bool = False,
    progress: Callable[[str], Callable[[int, int], None]] | None = None,
) -> dict[int, FeatureReport]:
    """Train a backbone for each fold, and cache its features of the whole corpus.

    They are stored in ``CORPUS/image_features/fold1``, ..., where :meth:`biomechau.corpus.Corpus.of_fold` finds them.
    Folds that exist are kept, and completed if features of some sequences are missing.

    Args:
        corpus: to train on.
        folds: by number.
        images: root of the pictures, see :func:`biomechau.corpus.pictures.find_pictures`.
        config: training options.
        device: to train and run on.
        skip_faulty: skip labelled frames without a picture and unreadable files, instead of raising an error.
        replace: discard existing features.
        progress: called with a description of each step; returns a function to call with (done, total).

    Raises:
        ImportError, OSError: as :func:`biomechau.training.compute_image_features`; another process is training image
            features of the corpus.
        ValueError: as there; the corpus has features of one backbone for all folds, or of folds with other subjects;
            the loss or a weight is not finite (epoch and step are named).
    """
    config = ImageTrainingConfig() if config is None else config
    check_folds(list(folds.values()), corpus)
    begin = progress or (lambda words: lambda done, total: None)
    root, sha = corpus.path / FEATURES, corpus.sha256
    reports = {}
    with locked_folder(corpus.path, "another process is training image features here"):
        if replace:
            remove_image_features(root)
        elif (root / DESCRIPTION).is_file():
            raise ValueError(f"{root} contains image features of one backbone for all folds; --replace discards them")
        for number, fold in folds.items():
            folder = fold_folder(root, number)
            if (folder / BACKBONE).is_dir():
                backbone = TrainedBackbone.load(folder / BACKBONE, device)
                if set(backbone.card.subjects) != {*fold.train, *fold.validation}:
                    raise ValueError(
                        f"{folder} contains image features of a fold with other subjects; --replace discards them"
                    )
            else:
                step = begin(f"reading pictures, fold {number}")
                training, validation = _read_fold(corpus, fold, images, config.image_size, skip_faulty, step)
                step = begin(f"training a backbone, fold {number}")
                backbone = train_image_backbone(corpus, fold, training, validation, config, device, step)
                ImageFeatures.start(folder, backbone.card, sha)
                backbone.save(folder / BACKBONE)
            step = begin(f"computing features, fold {number}")
            reports[number] = compute_image_features(
                corpus, images, backbone, folder, config.batch_size, skip_faulty, progress=step
            )
    return reports


def _read_fold(
    corpus: Corpus, fold: Fold, images: str | Path, size: int, skip_faulty: bool, progress: Callable[[int, int], None]
) -> tuple[LabelledPictures, LabelledPictures]:
    sets = [corpus.ids_of(subjects) for subjects in (fold.train, fold.validation)]
    total = sum(corpus.frames[subject] for subject in (*fold.train, *fold.validation))
    done = 0

    def step(frames: int) -> None:
        nonlocal done
        done += frames
        progress(done, total)

    training, validation = (LabelledPictures.read(corpus, ids, images, size, skip_faulty, step) for ids in sets)
    return training, validation


def _fit(
    model: nn.Module,
    training: LabelledPictures,
    validation: LabelledPictures,
    config: ImageTrainingConfig,
    device: str | torch.device,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Tensor]:
    """Train, and return the weights of the best epoch."""
    known, on = training.labels >= 0, training.labels == 1
    rates = on.sum(0) / known.sum(0).clamp_min(1)
    if not bool(on.any()):
        raise ValueError("no action unit is on in a frame of the training subjects that has a picture")
    # Units that are never on have no positives to weight.
    weights = positive_weights(rates.clamp_min(1e-3)).to(device)
    batches = max(len(training.pixels) // config.batch_size, 1)
    steps = config.epochs * batches
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps)
    best: dict[str, Tensor] = {}
    lowest = math.inf
    for epoch in range(config.epochs):
        model.train()
        order = torch.randperm(len(training.pixels))
        for batch in range(batches):
            chosen = order[batch * config.batch_size : (batch + 1) * config.batch_size]
            logits = model(_augmented(training.pixels[chosen].to(device)))
            loss = action_unit_loss(logits, training.labels[chosen].to(device), positive_weights=weights)
            step = f"epoch {epoch + 1} of {config.epochs}, step {batch + 1} of {batches}"
            _check_finite({"loss": loss.detach()}, step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            _check_finite(dict(model.named_parameters()), step)
            schedule.step()
            if progress is not None:
                progress(epoch * batches + batch + 1, steps)
        loss = _validation_loss(model, validation, weights, config.batch_size, device)
        after = {"validation_loss": torch.tensor(loss), **{name: x.cpu() for name, x in model.state_dict().items()}}
        _check_finite(after, f"epoch {epoch + 1} of {config.epochs}, after its last step")
        if loss < lowest:
            lowest, best = loss, {name: x.detach().cpu().clone() for name, x in model.state_dict().items()}
    return best


def _check_finite(tensors: Mapping[str, Tensor], step: str) -> None:
    if (name := not_finite(tensors)) is not None:
        raise ValueError(f"training of the image backbone diverged: {name} is not finite in {step}; {ADVICE}")


def _augmented(pixels: Tensor) -> Tensor:
    """Augmented pictures (n, 3, S, S): rotated, scaled and shifted a little, and half of them mirrored."""
    count = len(pixels)
    turn, zoom, flip = _TURN * torch.randn(count), 1 + _SCALE * torch.randn(count), 1 - 2.0 * (torch.rand(count) < 0.5)
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 0, 1] = flip * zoom * turn.cos(), -zoom * turn.sin()
    affine[:, 1, 0], affine[:, 1, 1] = flip * zoom * turn.sin(), zoom * turn.cos()
    affine[:, :, 2] = _SHIFT * torch.randn(count, 2)
    grid = functional.affine_grid(affine.to(pixels.device), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False)


@torch.inference_mode()
def _validation_loss(
    model: nn.Module, pictures: LabelledPictures, weights: Tensor, batch_size: int, device: str | torch.device
) -> float:
    """Mean loss over the known labels."""
    model.eval()
    total, count = 0.0, 0
    for pixels, labels in zip(pictures.pixels.split(batch_size), pictures.labels.split(batch_size), strict=True):
        known = int((labels >= 0).sum())
        total += known * float(action_unit_loss(model(pixels.to(device)), labels.to(device), positive_weights=weights))
        count += known
    return total / max(count, 1)
