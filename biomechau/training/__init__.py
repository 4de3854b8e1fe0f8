"""Training, evaluation and metrics of the detector.

What needs Lightning is imported when it is first asked for: that takes seconds, and the options do without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from biomechau.training.image_training_config import ImageTrainingConfig
from biomechau.training.metrics import (
    ActionUnitScore,
    ActionUnitScores,
    ForceRecovery,
    MeanScores,
    action_unit_scores,
    force_recovery,
    relative_error,
)
from biomechau.training.run import Run
from biomechau.training.runs import fold_folder, open_runs
from biomechau.training.training_config import TrainingConfig

if TYPE_CHECKING:
    from biomechau.training.backbone_training import (
        train_fold_features,
        train_image_backbone,
    )
    from biomechau.training.cross_validation import (
        CrossValidation,
        cross_validate,
    )
    from biomechau.training.data import (
        CorpusData,
        DetectorWindows,
        positive_weights,
    )
    from biomechau.training.evaluation import Evaluation, evaluate
    from biomechau.training.feature_computation import compute_image_features
    from biomechau.training.fold_training import train
    from biomechau.training.module import DetectorModule

__all__ = [
    "ActionUnitScore",
    "ActionUnitScores",
    "CorpusData",
    "CrossValidation",
    "DetectorModule",
    "DetectorWindows",
    "Evaluation",
    "ForceRecovery",
    "ImageTrainingConfig",
    "MeanScores",
    "Run",
    "TrainingConfig",
    "action_unit_scores",
    "compute_image_features",
    "cross_validate",
    "evaluate",
    "fold_folder",
    "force_recovery",
    "open_runs",
    "positive_weights",
    "relative_error",
    "train",
    "train_fold_features",
    "train_image_backbone",
]

_HOMES = {
    "CrossValidation": "cross_validation",
    "cross_validate": "cross_validation",
    "CorpusData": "data",
    "DetectorWindows": "data",
    "positive_weights": "data",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "train_fold_features": "backbone_training",
    "train_image_backbone": "backbone_training",
    "compute_image_features": "feature_computation",
    "DetectorModule": "module",
    "train": "fold_training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
