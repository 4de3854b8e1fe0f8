"""Results for recordings, as data: muscle forces, action units, sequences to look at. Nothing is drawn or written."""

from biomechau.analysis.animation import Animation, animate
from biomechau.analysis.asymmetry import AsymmetryIndex, asymmetry_index, ratio_of_sums
from biomechau.analysis.capture_forces import CaptureForces, analyse
from biomechau.analysis.demonstration import Demonstration, demonstrate
from biomechau.analysis.detection import (
    corpus_recording,
    predict,
    predict_corpus_sequence,
    predict_corpus_sequences,
    with_inverse_forces,
)
from biomechau.analysis.ensemble import Ensemble
from biomechau.analysis.face_forces import FaceForces
from biomechau.analysis.learned_metric import learn_metric
from biomechau.analysis.prediction import Prediction
from biomechau.analysis.recording_analysis import RecordingAnalysis, analyse_recording
from biomechau.analysis.rig_leaks import Leaks, force_leaks
from biomechau.analysis.rig_summary import describe_rig
from biomechau.analysis.sequence_choice import Choice, choose, chosen_predictions, expressive_frames, predictions
from biomechau.analysis.unit_correlations import UnitCorrelation, unit_correlations

__all__ = [
    "Animation",
    "AsymmetryIndex",
    "CaptureForces",
    "Choice",
    "Demonstration",
    "Ensemble",
    "FaceForces",
    "Leaks",
    "Prediction",
    "RecordingAnalysis",
    "UnitCorrelation",
    "analyse",
    "analyse_recording",
    "animate",
    "asymmetry_index",
    "choose",
    "chosen_predictions",
    "corpus_recording",
    "demonstrate",
    "describe_rig",
    "expressive_frames",
    "force_leaks",
    "learn_metric",
    "predict",
    "predict_corpus_sequence",
    "predict_corpus_sequences",
    "predictions",
    "ratio_of_sums",
    "unit_correlations",
    "with_inverse_forces",
]
