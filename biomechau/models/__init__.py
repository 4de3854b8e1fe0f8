"""The networks around the physics: encoder, regressor, head, losses, and the detector that combines them."""

from typing import TYPE_CHECKING

from biomechau._lazy import lazy_names

if TYPE_CHECKING:
    from biomechau.models.au_head import AUHead
    from biomechau.models.backbone import Backbone, load_backbone
    from biomechau.models.chebyshev import ChebyshevConv, scaled_laplacian
    from biomechau.models.detector import Detector, DetectorOutput
    from biomechau.models.detector_config import DetectorConfig, LossWeights
    from biomechau.models.image_backbone import ImageBackbone, TrainedBackbone
    from biomechau.models.losses import (
        action_unit_loss,
        clean_loss,
        force_loss,
        intensity_loss,
        inverse_dynamics_loss,
        reconstruction_loss,
        side_loss,
        slack_loss,
        smoothness_loss,
        total_loss,
    )
    from biomechau.models.mass import CholeskyMass, RegionMass, face_regions
    from biomechau.models.mesh_encoder import MeshEncoder
    from biomechau.models.normalisation import Normalisation
    from biomechau.models.physics_regressor import PhysicsParameters, PhysicsRegressor
    from biomechau.models.pooling import MeshHierarchy
    from biomechau.models.temporal import TemporalConv

__all__ = [
    "AUHead",
    "Backbone",
    "ChebyshevConv",
    "CholeskyMass",
    "Detector",
    "DetectorConfig",
    "DetectorOutput",
    "ImageBackbone",
    "LossWeights",
    "MeshEncoder",
    "MeshHierarchy",
    "Normalisation",
    "PhysicsParameters",
    "PhysicsRegressor",
    "RegionMass",
    "TemporalConv",
    "TrainedBackbone",
    "action_unit_loss",
    "clean_loss",
    "face_regions",
    "force_loss",
    "intensity_loss",
    "inverse_dynamics_loss",
    "load_backbone",
    "reconstruction_loss",
    "scaled_laplacian",
    "side_loss",
    "slack_loss",
    "smoothness_loss",
    "total_loss",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "au_head": ("AUHead",),
        "backbone": ("Backbone", "load_backbone"),
        "chebyshev": ("ChebyshevConv", "scaled_laplacian"),
        "detector": ("Detector", "DetectorOutput"),
        "detector_config": ("DetectorConfig", "LossWeights"),
        "image_backbone": ("ImageBackbone", "TrainedBackbone"),
        "losses": (
            "action_unit_loss",
            "clean_loss",
            "force_loss",
            "intensity_loss",
            "inverse_dynamics_loss",
            "reconstruction_loss",
            "side_loss",
            "slack_loss",
            "smoothness_loss",
            "total_loss",
        ),
        "mass": ("CholeskyMass", "RegionMass", "face_regions"),
        "mesh_encoder": ("MeshEncoder",),
        "normalisation": ("Normalisation",),
        "physics_regressor": ("PhysicsParameters", "PhysicsRegressor"),
        "pooling": ("MeshHierarchy",),
        "temporal": ("TemporalConv",),
    },
)
