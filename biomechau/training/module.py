"""The Lightning module that trains a detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from biomechau.corpus.corpus_sequence import UNKNOWN
from biomechau.finite import not_finite
from biomechau.models import Detector, total_loss
from biomechau.training.metrics import confusion_counts, known_labels, scores_of_counts
from biomechau.training.training_config import VALIDATION_F1, VALIDATION_LOSS, TrainingConfig

# The labels that terms of the loss average over; others average over frames.
_LABELS = {
    "action_unit": ("labels",),
    "sides": ("side_labels",),
    "intensity": ("intensities", "side_intensities"),
}
# Advice for a training that diverges.
ADVICE = "lower the learning rate (--learning-rate), the weight decay or the weights of the losses"


def _num_known(labels: Tensor, valid: Tensor) -> Tensor:
    return (known_labels(labels.flatten(valid.ndim), valid) != UNKNOWN).sum()


class DetectorModule(LightningModule):
    """Training of a detector with AdamW under a one-cycle schedule, on Eq. 17.

    After each epoch the mean F1 over all validation frames is logged as ``validation_f1``, the mean loss of the
    validation windows as ``validation_loss``, and the means of the training loss and its terms under their names.

    Args:
        detector: to train.
        config: training options.
        positive_weights: (R,), see :func:`biomechau.training.positive_weights`.
    """

    positive_weights: Tensor

    def __init__(self, detector: Detector, config: TrainingConfig, positive_weights: Tensor) -> None:
        super().__init__()
        self.detector = detector
        self.config = config
        self.register_buffer("positive_weights", positive_weights.to(detector.dynamics.mass), persistent=False)
        self._counts: list[Tensor] = []
        self._losses: list[tuple[Tensor, int]] = []

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        # Random numbers depend on the step alone, so that resuming a training and the number of processes do not change
        # its results.
        sequence = np.random.SeedSequence([self.config.seed, self.global_step])
        torch.manual_seed(int(sequence.generate_state(1)[0]))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        output = self.detector(batch)
        _, terms = self.detector.loss(batch, output, self.config.losses, self.positive_weights)
        terms = self._over_processes(terms, batch)
        loss = total_loss(terms, self.config.losses)
        self._check({"loss": loss.detach()}, batch_idx)
        size = len(batch["coefficients"])
        self.log_dict({"loss": loss, **terms}, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._check(dict(self.detector.named_parameters()), batch_idx)

    def _check(self, tensors: Mapping[str, Tensor], batch_idx: int) -> None:
        """Stop a training that has diverged, before it saves anything."""
        if (name := not_finite(tensors)) is not None:
            step = f"step {batch_idx + 1} of {self.trainer.num_training_batches}"
            raise ValueError(f"training diverged: {name} is not finite in {self._epoch}, {step}; {ADVICE}")

    @property
    def _epoch(self) -> str:
        return f"epoch {self.current_epoch + 1} of {self.config.epochs}"

    def _over_processes(self, terms: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rescale the terms so that their mean over the processes is the mean over the common batch.

        Each process averages over its own known labels and valid frames, whose number differs between processes.
        """
        valid = batch["valid"]
        counts = {
            term: torch.stack([_num_known(batch[name], valid) for name in found]).sum()
            for term, names in _LABELS.items()
            if (found := [name for name in names if name in batch])
        }
        own = torch.stack([valid.sum(), *counts.values()]).to(self.positive_weights)
        mean = self.trainer.strategy.reduce(own.clone(), reduce_op="mean")
        frames, *shares = own / mean.clamp_min(torch.finfo(mean.dtype).tiny)
        own_shares = dict(zip(counts, shares, strict=True))
        return {name: term * own_shares.get(name, frames) for name, term in terms.items()}

    def on_validation_epoch_start(self) -> None:
        self._counts, self._losses = [], []

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        output, labels = self.detector(batch), known_labels(batch["labels"], batch["valid"])
        loss, _ = self.detector.loss(batch, output, self.config.losses, self.positive_weights)
        self._counts.append(confusion_counts(output.probabilities, labels))
        self._losses.append((loss, len(labels)))

    def on_validation_epoch_end(self) -> None:
        counts = torch.stack(self._counts).sum(0)
        mean = scores_of_counts(counts, self.detector.config.action_units).mean_f1
        # train() checks that a unit is on in some validation frame; otherwise 0 is logged.
        self.log(VALIDATION_F1, 0.0 if mean is None else mean, prog_bar=True, sync_dist=True)
        losses, sizes = zip(*self._losses, strict=True)
        weights = torch.stack(losses).new_tensor(sizes)
        loss = (torch.stack(losses) * weights).sum() / weights.sum()
        if (name := not_finite({VALIDATION_LOSS: loss, **self.detector.state_dict()})) is not None:
            raise ValueError(f"training diverged: {name} is not finite after {self._epoch}; {ADVICE}")
        self.log(VALIDATION_LOSS, loss, sync_dist=True)

    def configure_optimizers(self) -> Any:
        config = self.config
        optimizer = torch.optim.AdamW(self.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
