"""The networks around the physics: encoder, regressor, head, losses, and the detector that joins them."""

from biomechau.models.au_head import AUHead as AUHead
from biomechau.models.backbone import Backbone as Backbone, load_backbone as load_backbone
from biomechau.models.chebyshev import ChebyshevConv as ChebyshevConv, scaled_laplacian as scaled_laplacian
from biomechau.models.detector import Detector as Detector, DetectorOutput as DetectorOutput
from biomechau.models.detector_config import DetectorConfig as DetectorConfig
from biomechau.models.image_backbone import ImageBackbone as ImageBackbone, TrainedBackbone as TrainedBackbone
from biomechau.models.losses import (
    LossWeights as LossWeights,
    action_unit_loss as action_unit_loss,
    clean_loss as clean_loss,
    inverse_dynamics_loss as inverse_dynamics_loss,
    reconstruction_loss as reconstruction_loss,
    slack_loss as slack_loss,
    smoothness_loss as smoothness_loss,
    total_loss as total_loss,
)
from biomechau.models.mass import CholeskyMass as CholeskyMass, RegionMass as RegionMass, face_regions as face_regions
from biomechau.models.mesh_encoder import MeshEncoder as MeshEncoder
from biomechau.models.normalisation import Normalisation as Normalisation
from biomechau.models.physics_regressor import (
    PhysicsParameters as PhysicsParameters,
    PhysicsRegressor as PhysicsRegressor,
)
from biomechau.models.pooling import MeshHierarchy as MeshHierarchy
from biomechau.models.temporal import TemporalConv as TemporalConv
