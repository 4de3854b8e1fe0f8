"""DetectorConfig and LossWeights: every option of the action-unit detector and of its objective in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from biomechau._options import Count, Interval, NotNegative, Options, Positive, ProperShare, Whole
from biomechau.physics.physics_config import PhysicsConfig

Source = Literal["coefficients", "mesh", "both"]
MassModel = Literal["fixed", "region", "spd", "free"]
HeadName = Literal["geometry", "force", "position", "physics", "position_temporal", "image", "physics_image"]
# Inputs of the head in each row of Table 1, by the arguments of ``AUHead``.
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
    """Components of the detector and their sizes.

    Raises:
        ValueError: a value outside its range, or an unknown name.
        TypeError: physics that is not a PhysicsConfig.
    """

    # numbers of the R action units; by default those of BP4D
    action_units: tuple[Count, ...] = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    # numbers of the action units of which the head also says how intense they are, 0 to 5; None: of none
    intensity_units: tuple[Count, ...] | None = None
    # row of Table 1: inputs of the head; "position_temporal" is a baseline without physics, with neighbouring frames
    head: HeadName = "physics"
    # left and right: read each motion and its mirror image with the same weights, so that a mirrored motion gives the
    # mirrored result, and say of each side whether it shows an action unit
    sides: bool = True
    # what the muscle forces are regressed from; the paper uses "mesh"
    source: Source = "coefficients"
    # equation of motion of the decoder
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    # generalized mass: that of the rig ("fixed"), with a few regions scaled ("region"), or a symmetric positive
    # definite matrix near it ("spd"), or any such matrix ("free")
    mass: MassModel = "fixed"
    # regions of mass "region", >= 1
    num_regions: Count = 6
    # slack: a penalised force in addition to the muscles, for motion that they cannot explain
    slack: bool = True
    # frames of the line fit that gives v(0), >= 2; 2 is the difference of the paper
    initial_frames: Annotated[int, Interval("[2, inf)")] = 5
    # stop gradients of the action-unit loss before the forces
    detach_force: bool = False
    # divide the errors in Eq. 13 by the spread of each coefficient
    inverse_variance: bool = True
    # cutoff of the low-pass filter before differentiation in the inverse-dynamics term, where amplitudes are halved,
    # > 0 [Hz]; None: off, so that the term includes the tracker's noise
    inverse_cutoff: Positive | None = 4.0
    # neighbouring frames on either side that the regressor (and the head "position_temporal") sees, >= 0
    context: Whole = 4
    # width of the regressor's hidden layers, >= 1
    hidden: Count = 128
    # vertices that the mesh encoder reads, >= 4; None: all. With sides half of them, and those on the other side
    num_input_vertices: Annotated[int, Interval("[4, inf)")] | None = 1200
    # channels of the mesh encoder's convolutions, each followed by down-sampling by 4; more than two leave too few of
    # 1,200 vertices
    filters: tuple[Count, ...] = (16, 32)
    # add a linear path from input to output of the mesh encoder and of the regressor
    linear_path: bool = True
    # augmentation: strength of a random identity added to the meshes of each window in training, >= 0, so that the
    # encoder does not memorise the people it is trained on; 0: off
    identity_strength: NotNegative = 0.2
    # Z, number of features of the mesh encoder, >= 1
    latent_size: Count = 64
    # width of the head's hidden layer, >= 1
    head_hidden: Count = 64
    # dropout of the head, in [0, 1)
    dropout: ProperShare = 0.3
    # dropout of the image features next to forces and coefficients, in [0, 1): on people that a backbone was trained
    # on, its features look better than they are
    image_dropout: ProperShare = 0.8
    # D, number of image features; 0: no image branch
    num_image_features: Whole = 0

    BEFORE: ClassVar[Mapping[str, Any]] = {"sides": False, "intensity_units": None}

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.action_units)) != len(self.action_units):
            raise ValueError(f"action_units must be unique, got {self.action_units}")
        intense = self.intensity_units or ()
        if len(set(intense)) != len(intense) or not set(intense) <= set(self.action_units):
            raise ValueError(f"intensity_units must be some of the action_units {self.action_units}, got {intense}")

    @property
    def head_inputs(self) -> tuple[str, ...]:
        """Inputs of the head, by the arguments of ``AUHead``."""
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
        """Exactly as in the paper: Eq. 5 and 6, 3-vector forces, a free mass, all vertices, no neighbouring frames.

        Meant for short windows (16 frames), in which Eq. 6 does not drift far.
        """
        return cls(
            head=head,
            sides=False,
            source="mesh",
            physics=PhysicsConfig.paper(fps),
            mass="free",
            slack=False,
            initial_frames=2,
            inverse_variance=False,
            inverse_cutoff=None,
            context=0,
            num_input_vertices=None,
            filters=(16, 16, 16, 32),
            linear_path=False,
            identity_strength=0.0,
            image_dropout=0.0,
            num_image_features=num_image_features,
        )


@dataclass(frozen=True)
class LossWeights(Options):
    """The weights lambda of Eq. 17, and of terms that the paper does not have.

    Raises:
        ValueError: a weight outside [0, 1e6].
    """

    # lambda_3d, Eq. 13
    reconstruction: NotNegative = 1.0
    # lambda_au, Eq. 14; from 1 upwards it turns the forces into mere features, unless they are detached from the head
    action_unit: NotNegative = 0.1
    # lambda_c, Eq. 15
    clean: NotNegative = 0.003
    # lambda_s, Eq. 16; without it the forces follow the tracker's noise
    smooth: NotNegative = 0.05
    # of the slack force, which replaces the muscles if the weight is much below 0.5
    slack: NotNegative = 0.5
    # of inverse dynamics, frame by frame
    inverse_dynamics: NotNegative = 1.0
    # of the action units of each side, where a corpus has such labels
    sides: NotNegative = 0.1
    # of the intensities of action units, where a corpus has them; 0: the detector says none
    intensity: NotNegative = 0.1

    # of the true forces, where a corpus has them (simulated people); needs fibre forces
    forces: NotNegative = 0.0

    BEFORE: ClassVar[Mapping[str, Any]] = {"sides": 0.0, "intensity": 0.0, "forces": 0.0}

    @classmethod
    def paper(cls) -> LossWeights:
        """The four terms of Eq. 17. Under Eq. 5 the gradient of Eq. 13 grows with T, so its weight is small."""
        return cls(reconstruction=0.05, smooth=0.01, slack=0.0, inverse_dynamics=0.0, sides=0.0, intensity=0.0)
