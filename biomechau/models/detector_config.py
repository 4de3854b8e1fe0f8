"""DetectorConfig and LossWeights: every option of the action-unit detector and of its objective in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from biomechau._options import Count, Interval, NotNegative, Options, Positive, ProperShare, Whole
from biomechau.physics.physics_config import PhysicsConfig

Source = Literal["coefficients", "mesh", "both"]
MassModel = Literal["fixed", "region", "spd"]
HeadName = Literal["geometry", "force", "position", "physics", "position_temporal", "image", "physics_image"]
# What the head of each row of Table 1 reads, by the arguments of ``AUHead``.
HEAD_INPUTS: Mapping[HeadName, tuple[str, ...]] = {
    "geometry": ("latents",),
    "force": ("forces",),
    "position": ("coefficients",),
    "physics": ("forces", "coefficients"),
    "position_temporal": ("coefficients",),
    "image": ("image_features",),
    "physics_image": ("forces", "coefficients", "image_features"),
}


@dataclass(frozen=True)
class DetectorConfig(Options):
    """The detector's parts and sizes.

    Raises:
        ValueError: a value outside its range, or an unknown name.
        TypeError: physics that is not a PhysicsConfig.
    """

    # numbers of the R action units; those of BP4D
    action_units: tuple[Count, ...] = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    # row of Table 1: what the head sees; "position_temporal" is the baseline without physics that sees neighbours too
    head: HeadName = "physics"
    # what the muscle forces are regressed from; "mesh" is the paper's
    source: Source = "coefficients"
    # equation of motion of the decoder
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    # generalized mass: that of the face, with a few regions scaled, or any symmetric positive definite one near it
    mass: MassModel = "fixed"
    # regions of mass "region", >= 1
    num_regions: Count = 6
    # let a penalised force beside the muscles explain what they cannot
    slack: bool = True
    # frames of the line fit that gives v(0), >= 2; 2 is the paper's difference
    initial_frames: Annotated[int, Interval("[2, inf)")] = 5
    # keep the action-unit loss from changing the forces
    detach_force: bool = False
    # divide the errors of Eq. 13 by the spread of each coefficient
    inverse_variance: bool = True
    # frequency at which smoothing halves the coefficients that the inverse-dynamics term differentiates, > 0 [Hz];
    # None: off, which makes that term ask for the tracker's noise
    inverse_cutoff: Positive | None = 4.0
    # frames to either side that the regressor (and the head "position_temporal") sees, >= 0
    context: Whole = 4
    # width of the regressor's hidden layers, >= 1
    hidden: Count = 128
    # vertices that the mesh encoder reads, >= 4; None: all
    num_input_vertices: Annotated[int, Interval("[4, inf)")] | None = 1200
    # channels of the mesh encoder's convolutions, each followed by a down-sampling by 4; more than two of those leave
    # too few of 1,200 vertices
    filters: tuple[Count, ...] = (16, 32)
    # let the mesh encoder and the regressor map what they read to what they say linearly too
    linear_path: bool = True
    # share of a random identity that is added to the meshes of each window in training, >= 0, so that the encoder does
    # not learn the people it is trained on; 0: off
    identity_strength: NotNegative = 0.2
    # size of the mesh encoder's features, >= 1
    latent_size: Count = 64
    # width of the head's hidden layer, >= 1
    head_hidden: Count = 64
    # share dropped in the head, in [0, 1)
    dropout: ProperShare = 0.3
    # share of the image features dropped beside forces and coefficients, in [0, 1): those of people that the backbone
    # was trained on look better than they are
    image_dropout: ProperShare = 0.8
    # size of the image features; 0: without an image branch
    num_image_features: Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.action_units)) != len(self.action_units):
            raise ValueError(f"action_units must be different numbers, got {self.action_units}")

    @property
    def head_inputs(self) -> tuple[str, ...]:
        """What the head reads, by the arguments of ``AUHead``."""
        return HEAD_INPUTS[self.head]

    @property
    def uses_forces(self) -> bool:
        """Whether there is a physics branch."""
        return "forces" in self.head_inputs

    @property
    def uses_images(self) -> bool:
        """Whether there is an image branch."""
        return "image_features" in self.head_inputs

    @property
    def uses_mesh(self) -> bool:
        """Whether there is a mesh encoder."""
        return self.head == "geometry" or (self.uses_forces and self.source != "coefficients")

    @classmethod
    def paper(cls, head: HeadName = "physics", num_image_features: int = 0, fps: float = 25.0) -> DetectorConfig:
        """The paper to the letter: Eq. 5 and 6, 3-vector forces, a free mass, all vertices, no slack.

        Meant for short windows (16 frames), on which Eq. 6 does not drift far.
        """
        return cls(
            head=head,
            source="mesh",
            physics=PhysicsConfig.paper(fps),
            mass="spd",
            slack=False,
            initial_frames=2,
            inverse_variance=False,
            inverse_cutoff=None,
            num_input_vertices=None,
            filters=(16, 16, 16, 32),
            linear_path=False,
            identity_strength=0.0,
            image_dropout=0.0,
            num_image_features=num_image_features,
        )


@dataclass(frozen=True)
class LossWeights(Options):
    """The lambdas of Eq. 17, and those of the two terms that the paper does not have.

    Raises:
        ValueError: a weight that is negative or not finite.
    """

    # lambda_3d, Eq. 13
    reconstruction: NotNegative = 1.0
    # lambda_au, Eq. 14; at 1 and above it turns the forces into mere features unless they are detached from the head
    action_unit: NotNegative = 0.1
    # lambda_c, Eq. 15
    clean: NotNegative = 0.003
    # lambda_s, Eq. 16; without it the forces follow the tracker's noise
    smooth: NotNegative = 0.05
    # of the slack force; much below 0.5 it takes over from the muscles
    slack: NotNegative = 0.5
    # of the inverse dynamics, frame by frame
    inverse_dynamics: NotNegative = 1.0

    @classmethod
    def paper(cls) -> LossWeights:
        """The four terms of Eq. 17. Under Eq. 5 the gradient of Eq. 13 grows with T, so its weight is small."""
        return cls(reconstruction=0.05, smooth=0.01, slack=0.0, inverse_dynamics=0.0)
