"""Training, evaluation and metrics of the detector.

What needs Lightning is imported when it is first asked for: that takes seconds, and the options do without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from biomechau.training.image_training_config import ImageTrainingConfig as ImageTrainingConfig
from biomechau.training.metrics import (
    ActionUnitScore as ActionUnitScore,
    ActionUnitScores as ActionUnitScores,
    ForceRecovery as ForceRecovery,
    MeanScores as MeanScores,
    action_unit_scores as action_unit_scores,
    force_recovery as force_recovery,
    relative_error as relative_error,
)
from biomechau.training.run import Run as Run
from biomechau.training.runs import fold_folder as fold_folder, open_runs as open_runs
from biomechau.training.training_config import TrainingConfig as TrainingConfig

if TYPE_CHECKING:
    from biomechau.training.backbone_training import (
        train_fold_features as train_fold_features,
        train_image_backbone as train_image_backbone,
    )
    from biomechau.training.cross_validation import (
        CrossValidation as CrossValidation,
        cross_validate as cross_validate,
    )
    from biomechau.training.data import (
        CorpusData as CorpusData,
        DetectorWindows as DetectorWindows,
        positive_weights as positive_weights,
    )
    from biomechau.training.evaluation import Evaluation as Evaluation, evaluate as evaluate
    from biomechau.training.feature_computation import compute_image_features as compute_image_features
    from biomechau.training.fold_training import train as train
    from biomechau.training.module import DetectorModule as DetectorModule

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
