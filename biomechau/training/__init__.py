"""Training, evaluation and metrics of the detector. Imports Lightning, so the package itself does not import it."""

from biomechau.training.config import TrainingConfig as TrainingConfig
from biomechau.training.data import (
    CorpusData as CorpusData,
    DetectorWindows as DetectorWindows,
    positive_weights as positive_weights,
)
from biomechau.training.evaluate import Evaluation as Evaluation, evaluate as evaluate
from biomechau.training.metrics import (
    ActionUnitScore as ActionUnitScore,
    ActionUnitScores as ActionUnitScores,
    ForceRecovery as ForceRecovery,
    action_unit_scores as action_unit_scores,
    force_recovery as force_recovery,
    relative_error as relative_error,
)
from biomechau.training.module import DetectorModule as DetectorModule
from biomechau.training.run import Run as Run
from biomechau.training.train import train as train
