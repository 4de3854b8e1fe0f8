"""Training, evaluation and metrics of the detector.

What needs Lightning is imported when it is first asked for: that takes seconds, and the options do without.
"""

from typing import TYPE_CHECKING

from biomechau._lazy import lazy_names

if TYPE_CHECKING:
    from biomechau.training.backbone_training import train_fold_features, train_image_backbone
    from biomechau.training.cross_validation import CrossValidation, cross_validate
    from biomechau.training.data import CorpusData, DetectorWindows, positive_weights
    from biomechau.training.evaluation import Evaluation, evaluate
    from biomechau.training.feature_computation import compute_image_features
    from biomechau.training.fold_training import train
    from biomechau.training.metrics import (
        ActionUnitScore,
        ActionUnitScores,
        ForceRecovery,
        MeanScores,
        action_unit_scores,
        force_recovery,
        relative_error,
    )
    from biomechau.training.module import DetectorModule
    from biomechau.training.run import Run, fold_folder, open_runs
    from biomechau.training.training_config import ImageTrainingConfig, TrainingConfig

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "backbone_training": ("train_fold_features", "train_image_backbone"),
        "cross_validation": ("CrossValidation", "cross_validate"),
        "data": ("CorpusData", "DetectorWindows", "positive_weights"),
        "evaluation": ("Evaluation", "evaluate"),
        "feature_computation": ("compute_image_features",),
        "fold_training": ("train",),
        "metrics": (
            "ActionUnitScore",
            "ActionUnitScores",
            "ForceRecovery",
            "MeanScores",
            "action_unit_scores",
            "force_recovery",
            "relative_error",
        ),
        "module": ("DetectorModule",),
        "run": ("Run", "fold_folder", "open_runs"),
        "training_config": ("ImageTrainingConfig", "TrainingConfig"),
    },
)
