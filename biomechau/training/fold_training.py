"""Training of a detector on one fold of a corpus."""

from __future__ import annotations

import csv
import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from biomechau.corpus import Corpus, Fold, check_folds
from biomechau.files import replacing
from biomechau.locks import locked_folder
from biomechau.models import Detector
from biomechau.rig import Distribution
from biomechau.training._checkpoint_files import CheckpointFiles, checkpoint_to_resume, read_checkpoint
from biomechau.training._few_labels import counts_of, labelled_sequences
from biomechau.training._protocol import training_protocol
from biomechau.training._thresholds import choose_thresholds
from biomechau.training.data import CorpusData, positive_weights
from biomechau.training.module import DetectorModule
from biomechau.training.run import (
    BEST,
    CONFIG,
    LAST,
    METRICS,
    PROTOCOL,
    TENSORBOARD,
    THRESHOLDS,
    Run,
    has_begun,
    save_json,
)
from biomechau.training.training_config import TrainingConfig, check_units


def train(
    corpus: Corpus,
    fold: Fold,
    config: TrainingConfig | None = None,
    out: str | Path = "run",
    progress: bool = True,
    resume: bool = False,
    on_epoch: Callable[[int, int], None] | None = None,
) -> Run:
    """Train a detector, and keep the weights of the epoch that is best on the validation subjects.

    The folder then contains ``config.json``, the detector (``Detector.load(out)``), ``metrics.csv`` with a row per
    epoch, ``protocol.json``, ``thresholds.json`` with the threshold of each action unit, the checkpoints and, if
    tensorboard is installed, its log. On the CPU the same seed and number of threads give the same weights, whether the
    training was resumed or not.

    Args:
        corpus: to train on.
        fold: its subjects.
        config: the detector and training options.
        out: folder of the run, created if missing.
        progress: show a progress bar on stderr.
        resume: continue after the last completed epoch in the folder, if any; a finished training is left unchanged. A
            broken checkpoint causes a warning, and training continues from the previous one or starts over.
        on_epoch: called after each epoch with (epochs done, epochs in all), both counted from where training continues.

    Returns:
        The run.

    Raises:
        FileExistsError: ``out`` is not empty, and ``resume`` is False.
        ValueError: the corpus does not match the fold or the detector, an action unit is never on in the training
            subjects or none is in the validation subjects, ``out`` is a run with other options, or the loss or a weight
            is not finite (epoch and step are named, and earlier checkpoints are kept).
        BlockingIOError: another process is training in ``out``.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: Ctrl-C was pressed; the run can be resumed after its last completed epoch.
    """
    config = TrainingConfig() if config is None else config
    check_folds([fold], corpus)
    if config.detector.uses_images:
        corpus = corpus.of_fold(fold)
    run = Run.new(out, config, fold, corpus)
    # Of a distributed training only the main process holds the lock.
    main_process = getattr(rank_zero_only, "rank", 0) == 0
    with locked_folder(run.path, "another process is training here") if main_process else nullcontext():
        _check_folder(run, resume)
        if not (resume and run.finished):
            _fit(run, corpus, progress, on_epoch)
    return run


def _fit(run: Run, corpus: Corpus, progress: bool, on_epoch: Callable[[int, int], None] | None) -> None:
    """Train, from a checkpoint in the folder if there is one, and save the detector."""
    fold, config = run.fold, run.config
    if config.detector.uses_mesh and "vertices_residual" not in corpus.tensor_names:
        warnings.warn(
            f"{corpus.path} has no meshes of its own (vertices_residual): the meshes for the encoder are computed from "
            "the coefficients, so scores say little about captured meshes",
            stacklevel=2,
        )
    # The random state of the caller is not changed.
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(config.seed)
        detector = Detector(corpus.rig, Distribution.from_rig(corpus.rig), config.detector, dtype=config.dtype)
        data = CorpusData(
            corpus,
            fold,
            detector,
            config.num_frames,
            config.stride,
            config.batch_size,
            config.seed,
            config.neutral,
            labelled_of(corpus, fold, config),
        )
        module = DetectorModule(detector, config, weights_of_units(corpus, fold, config))
        checkpoint = checkpoint_to_resume(run.path, module.state_dict())
        trainer = _trainer(run, training_protocol(corpus, fold, config), progress, on_epoch)
        with _interruptible(trainer):
            # weights_only: a checkpoint must not run code when it is read.
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        best = read_checkpoint(run.path / BEST)["state_dict"]
        module.cpu().load_state_dict(best)
        if trainer.is_global_zero:
            save_json(choose_thresholds(detector.eval(), run, corpus), run.path / THRESHOLDS)
            detector.save(run.path)
    trainer.strategy.barrier()


def tensorboard_available() -> bool:
    """Whether tensorboard is installed."""
    return find_spec("tensorboard") is not None


class RunDescription(Callback):
    """Writes ``config.json`` and ``protocol.json`` once all processes have joined and inspected the folder.

    Args:
        run: to describe.
        protocol: of the training.
    """

    def __init__(self, run: Run, protocol: dict[str, Any]) -> None:
        self.run = run
        self.protocol = protocol

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.run.save()
            save_json(self.protocol, self.run.path / PROTOCOL)


class EpochLog(Callback):
    """Writes a row of ``metrics.csv`` after each epoch; the rows are part of the checkpoints.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows = [*self.rows, {"epoch": trainer.current_epoch, **values}]
        if trainer.is_global_zero:
            with replacing(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(self.rows[0]))
                writer.writeheader()
                writer.writerows(self.rows)


class EpochCount(Callback):
    """Calls a function after each epoch with (epochs done, epochs in all) of this process."""

    def __init__(self, on_epoch: Callable[[int, int], None]) -> None:
        self.on_epoch = on_epoch
        self.first = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.first = trainer.current_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert trainer.max_epochs is not None
        self.on_epoch(trainer.current_epoch + 1 - self.first, trainer.max_epochs - self.first)


def _check_folder(run: Run, resume: bool) -> None:
    """Check that a training may start or continue in its folder."""
    if not has_begun(run.path):
        return
    if not resume:
        advice = ", or resume it" if (run.path / CONFIG).is_file() else ""
        raise FileExistsError(f"{run.path} is not empty; choose a new folder for the run{advice}")
    if not (run.path / CONFIG).is_file():
        raise ValueError(f"{run.path} contains no run to resume, but other files; choose a new folder for the run")
    # As JSON, because two equal configurations may differ in their types: 3 and 3.0.
    if Run.open(run.path).to_json() != run.to_json():
        raise ValueError(f"{run.path} is a run with another configuration, fold or rig and cannot be resumed")


def labelled_of(corpus: Corpus, fold: Fold, config: TrainingConfig) -> tuple[str, ...]:
    """The training sequences whose labels are used.

    Raises:
        ValueError: no such choice has positives of every action unit.
    """
    return labelled_sequences(corpus, fold.train, config.label_share, config.detector.action_units, config.seed)


def weights_of_units(corpus: Corpus, fold: Fold, config: TrainingConfig) -> torch.Tensor:
    """Weights of the positives of the detector's action units (R,), after a check that they can be learned.

    Raises:
        ValueError: a unit that the corpus does not have or that is never on in the training subjects, or no unit is on
            in the validation subjects.
    """
    units = config.detector.action_units
    check_units(corpus, units)
    columns = [corpus.action_units.index(unit) for unit in units]
    on, known = counts_of(corpus, labelled_of(corpus, fold, config), units)
    rates = on.double() / known.clamp_min(1)
    never = [f"AU{unit}" for unit, rate in zip(units, rates.tolist(), strict=True) if not rate]
    if never:
        raise ValueError(
            f"never on in the valid frames of the training subjects: {', '.join(never)}; leave these action units out "
            "(action_units, --action-units)"
        )
    positive, _ = corpus.label_counts(fold.validation)
    if not bool(positive[columns].any()):
        raise ValueError(
            f"no action unit is on in a valid frame of the validation subjects {', '.join(fold.validation)}"
        )
    return positive_weights(rates) if config.balance_labels else torch.ones_like(rates)


def _trainer(
    run: Run, protocol: dict[str, Any], progress: bool, on_epoch: Callable[[int, int], None] | None
) -> Trainer:
    config = run.config
    common = {"dirpath": run.path, "enable_version_counter": False, "save_on_train_epoch_end": True}
    callbacks: list[Callback] = [RunDescription(run, protocol), EpochLog(run.path / METRICS)]
    if on_epoch is not None:
        callbacks.append(EpochCount(on_epoch))
    if progress:
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))
    monitor, mode = config.monitor
    if config.patience is not None:
        callbacks.append(EarlyStopping(monitor, mode=mode, patience=config.patience, check_on_train_epoch_end=True))
    # The best one first: after a kill between the two, the last epoch is repeated, and found the best again.
    best = {"monitor": monitor, "mode": mode, "save_weights_only": True}
    callbacks.append(ModelCheckpoint(filename=Path(BEST).stem, **best, **common))
    callbacks.append(ModelCheckpoint(filename=Path(LAST).stem, **common))
    return Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        max_epochs=config.epochs,
        gradient_clip_val=config.gradient_clip,
        callbacks=callbacks,
        # In addition to EpochLog, if installed.
        logger=TensorBoardLogger(run.path, name="", version=TENSORBOARD) if tensorboard_available() else False,
        log_every_n_steps=1,  # only epochs are logged; a larger value causes a warning in short ones
        precision=config.precision,
        use_distributed_sampler=False,  # CorpusData's own
        num_sanity_val_steps=0,
        plugins=[CheckpointFiles(run.path)],
        enable_progress_bar=progress,
        enable_model_summary=False,
    )


@contextmanager
def _interruptible(trainer: Trainer) -> Iterator[None]:
    """Make Ctrl-C raise KeyboardInterrupt and restore its handler; Lightning exits and leaves the signal ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Lightning's advertisements and warnings that do not apply here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Windows are views of memory-mapped files: workers would cost more time than they save.
            warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
            # Caused by Lightning's own use of torch.
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
            # A resumed run writes into its own folder.
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
