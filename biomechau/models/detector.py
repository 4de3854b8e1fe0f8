"""The action-unit detector: mesh encoder, physics regressor, differentiable dynamics and head in one module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from biomechau.configured_module import ConfiguredModule
from biomechau.corpus.corpus_sequence import MOST_INTENSE
from biomechau.models import losses
from biomechau.models._detector_storage import (
    DESCRIPTION,
    RIG,
    TENSORS,
    DetectorParts,
    load_parts,
    readable,
    save_parts,
)
from biomechau.models._identity import IdentityAugmentation
from biomechau.models._sides import Sides
from biomechau.models.au_head import AUHead
from biomechau.models.detector_config import DetectorConfig, LossWeights
from biomechau.models.mesh_encoder import MeshEncoder
from biomechau.models.normalisation import Normalisation
from biomechau.models.physics_regressor import PhysicsParameters, PhysicsRegressor
from biomechau.models.pooling import MeshHierarchy
from biomechau.ops.tracing import plain_shape
from biomechau.physics.dynamics import FaceDynamics
from biomechau.rig.distribution import Distribution
from biomechau.rig.face_rig import FaceRig
from biomechau.rig.mirrored_mesh import mirror_vertices

# Added to the standard deviation of each coefficient, so that noise of shapes that hardly move is not amplified [1].
_FLOOR = 0.03
# Options that matter in training alone: training may continue from a state with other values of them.
_OF_TRAINING = ("detach_force", "inverse_variance", "inverse_cutoff", "identity_strength", "dropout", "image_dropout")


@dataclass(frozen=True, eq=False)
class DetectorOutput:
    """Output of a detector for sequences of T frames.

    Attributes:
        logits: (..., T, R); ``probabilities`` is their sigmoid. With sides they are those of a unit on either side,
            p = 1 - (1 - p_left) (1 - p_right).
        side_logits: (..., T, R, 2), left and right; the same for units of the middle. None without sides.
        intensities: of the units ``intensity_units``, (..., T, I) in [0, 5], with sides that of the stronger side. None
            without such units.
        side_intensities: (..., T, I, 2), left and right; None without sides.
        forces: muscle forces [unit of ``FaceDynamics``], (..., T, M) or (..., T, M, 3); None without physics.
        coefficients: c~, the motion that follows from the forces (Eq. 10), (..., T, K'); its first frame is observed.
        generalized_force: Q of muscles and slack together, (..., T, K').
        slack: what no muscle explains, (..., T, K') in units of the coefficients' spread; None without slack.
        mass: M, (..., K', K'); None if it is that of the dynamics.
    """

    logits: Tensor
    forces: Tensor | None = None
    coefficients: Tensor | None = None
    generalized_force: Tensor | None = None
    slack: Tensor | None = None
    mass: Tensor | None = None
    side_logits: Tensor | None = None
    intensities: Tensor | None = None
    side_intensities: Tensor | None = None

    @property
    def probabilities(self) -> Tensor:
        """p(y = 1), (..., T, R)."""
        return self.logits.sigmoid()

    @property
    def side_probabilities(self) -> Tensor | None:
        """p(y = 1) on the left and the right side, (..., T, R, 2); None without sides."""
        return None if self.side_logits is None else self.side_logits.sigmoid()


class Detector(ConfiguredModule):
    """From the motion of a face to its muscle forces and action units (paper, section 3.2).

    Call :meth:`fit_statistics` on training data before training.

    A batch is a mapping with

    - ``coefficients``: c of the shapes ``dynamics.shape_names``, (..., T, K') with T >= 2;
    - ``displacements``: u [cm], (..., T, N, 3), or of the vertices ``encoder.vertices`` alone; sum_k c_k B_k if absent;
    - ``image_features``: (..., T, D), for the heads with images;
    - for the loss, ``labels`` (..., T, R) of 1, 0 and -1 (unknown), ``side_labels`` (..., T, R, 2) of left and right,
      ``intensities`` (..., T, I) from 0 to 5 or -1 (unknown), ``side_intensities`` (..., T, I, 2), ``true_forces``
      (..., T, M) of fibres, NaN where unknown, and ``valid`` (..., T) bool.

    Args:
        rig: the face.
        distribution: P, from ``Distribution.from_rig(rig)``.
        config: its components and their sizes.
        hierarchy: meshes of the encoder; derived from the rig if not given.
        dtype: torch.float32 or torch.float64.

    Attributes:
        dynamics: the decoder, without learnable parameters.
        sides: left and right; None without sides.
        statistics: mean and spread of the coefficients.
        encoder, regressor: None if the head does not use them.
        identity: augmentation of the meshes in training; None without an encoder or with strength 0.
        head: the action-unit head.
        intense: (I,) int64, positions of the units of which intensities are said.

    Raises:
        TypeError, ValueError: as its components; an image head without the size of the image features; with sides, a
            rig that is not mirror symmetric as far as the detector reads it.
    """

    intense: Tensor
    # Names of the files that ``save`` writes.
    FILES: ClassVar = (DESCRIPTION, TENSORS, RIG)

    def __init__(
        self,
        rig: FaceRig,
        distribution: Distribution,
        config: DetectorConfig | None = None,
        hierarchy: MeshHierarchy | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.config = config = DetectorConfig() if config is None else config
        if config.uses_images and not config.num_image_features:
            raise ValueError(f"head {config.head!r} needs num_image_features")
        self.rig = rig
        self.distribution = distribution
        self.dynamics = FaceDynamics(rig, distribution, config.physics, dtype)
        num_shapes = self.dynamics.num_shapes
        self.statistics = Normalisation((num_shapes,), _FLOOR)
        self.sides = Sides(self.dynamics, rig, config.action_units) if config.sides else None
        self.encoder = None
        if config.uses_mesh:
            if hierarchy is None:
                poolings, few = len(config.filters), config.num_input_vertices
                if few is not None and config.sides:
                    few = max(few // 2, 4)
                hierarchy = MeshHierarchy.from_rig(rig, poolings, num_input_vertices=few)
            mirror = None if self.sides is None else (mirror_vertices(rig), self.sides.reflection)
            path = config.linear_path
            self.encoder = MeshEncoder(hierarchy, config.latent_size, config.filters, linear_path=path, mirror=mirror)
        self.identity = None
        if self.encoder is not None and config.identity_strength:
            self.identity = IdentityAugmentation(rig, self.encoder.vertices, config.identity_strength)
        self.regressor = None
        if config.uses_forces:
            num_features = (config.source != "mesh") * num_shapes + config.uses_mesh * config.latent_size
            self.regressor = PhysicsRegressor(
                num_features,
                self.dynamics,
                config.hidden,
                config.context,
                config.mass,
                config.slack,
                rig,
                config.num_regions,
                config.linear_path,
            )
        sizes = {
            "forces": self.dynamics.projection[0].numel(),
            "coefficients": num_shapes,
            "latents": config.latent_size,
            "image_features": config.num_image_features,
        }
        self.head = AUHead(
            len(config.action_units),
            **{f"num_{name}": sizes[name] for name in config.head_inputs},
            hidden=config.head_hidden,
            dropout=config.dropout,
            context=config.context if config.head == "position_temporal" else 0,
            image_dropout=config.image_dropout if config.head == "physics_image" else 0.0,
            num_others=len(config.intensity_units or ()),
        )
        intense = [config.action_units.index(unit) for unit in config.intensity_units or ()]
        self.register_buffer("intense", torch.tensor(intense, dtype=torch.int64), persistent=False)
        self.to(dtype)

    @property
    def paired_units(self) -> tuple[int, ...]:
        """Numbers of the action units of which left and right are told apart; none without sides."""
        paired = () if self.sides is None else self.sides.paired.tolist()
        return tuple(unit for unit, has in zip(self.config.action_units, paired, strict=False) if has)

    def configuration(self) -> dict[str, Any]:
        """The configuration except what matters in training alone; the physics is that of ``dynamics``.

        What has the value of before an option existed is left out, so that states of then can be loaded.
        """
        values, before = self.config.to_json(), self.config.BEFORE.items()
        return {n: x for n, x in values.items() if n not in (*_OF_TRAINING, "physics") and (n, x) not in before}

    def fit_statistics(self, coefficients: Iterable[Tensor], displacements: Iterable[Tensor] | None = None) -> None:
        """Compute the statistics that normalise the inputs, from the sequences of the training data.

        Args:
            coefficients: each (..., K'); iterated more than once.
            displacements: each (..., N, 3) or (..., N_in, 3); those of the coefficients if not given.

        Raises:
            ValueError: wrong shapes, no data, or values that are not finite.
        """
        sides = self.sides
        self.statistics.fit(coefficients if sides is None else map(sides.coefficients, coefficients))
        if self.encoder is not None:
            meshes = map(self._displacements, coefficients) if displacements is None else displacements
            # So that the meshes, with the augmentation added in training, have about unit variance.
            self.encoder.fit_normalisation(meshes, None if self.identity is None else self.identity.modes)

    def forward(self, batch: Mapping[str, Tensor]) -> DetectorOutput:
        """Run the detector on a batch.

        Raises:
            KeyError: the batch lacks a tensor that the head needs.
            TypeError, ValueError: a tensor of the wrong dtype, device or shape.
        """
        c = batch["coefficients"]
        self.dynamics.check("coefficients", c, (self.dynamics.num_shapes,))
        shape = plain_shape(c)
        if len(shape) < 2 or shape[-2] < 2:
            raise ValueError(f"coefficients must have shape (..., T, K') with T >= 2, got {tuple(shape)}")
        sides, vector = self.sides, self.config.physics.force == "vector"
        # With sides every input has two views, (..., 2, T, size).
        normal = self.statistics(c if sides is None else sides.coefficients(c))
        latents = None
        if self.encoder is not None:
            u = self.encoder.select(batch["displacements"]) if "displacements" in batch else self._displacements(c)
            latents = self.encoder(u if self.identity is None else self.identity(u))
        inputs = {"coefficients": normal, "latents": latents}
        if self.config.uses_images:
            pictured = batch["image_features"]
            inputs["image_features"] = pictured if sides is None else torch.stack([pictured, pictured], -3)
        if self.regressor is None:
            return DetectorOutput(**self._logits(inputs))
        features = {"coefficients": [normal], "mesh": [latents], "both": [normal, latents]}[self.config.source]
        physics = self.regressor(torch.cat([feature for feature in features if feature is not None], -1))
        physics = physics if sides is None else sides.physics(physics, vector)
        seen = physics.forces.detach() if self.config.detach_force else physics.forces
        inputs["forces"] = seen if sides is None else sides.forces(seen, vector)
        force = self._generalized_force(physics)
        return DetectorOutput(
            **self._logits(inputs),
            forces=physics.forces,
            coefficients=self._reconstruct(c, force, physics.mass),
            generalized_force=force,
            slack=physics.slack,
            mass=physics.mass,
        )

    def loss(
        self,
        batch: Mapping[str, Tensor],
        output: DetectorOutput,
        weights: LossWeights | None = None,
        positive_weights: Tensor | None = None,
        class_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective (Eq. 17), and by name those of its terms that have a weight above 0 and that the batch allows.

        Raises:
            TypeError, ValueError: as the losses.
        """
        weights = LossWeights() if weights is None else weights
        c, valid = batch["coefficients"], batch.get("valid")
        forces, force, scale = output.forces, output.generalized_force, self.statistics.scale
        vector = self.config.physics.force == "vector"
        terms = {}
        if "labels" in batch:
            terms["action_unit"] = lambda: losses.action_unit_loss(
                output.logits, batch["labels"], valid, positive_weights, class_weights
            )
        if "side_labels" in batch and (side_logits := output.side_logits) is not None:
            terms["sides"] = lambda: losses.side_loss(
                side_logits, batch["side_labels"], valid, positive_weights, class_weights
            )
        if "intensities" in batch and (strength := output.intensities) is not None:
            coded = batch["intensities"]
            if output.side_intensities is not None and "side_intensities" in batch:
                strength = torch.cat([strength, output.side_intensities.flatten(-2)], -1)
                coded = torch.cat([coded, batch["side_intensities"].flatten(-2)], -1)
            terms["intensity"] = lambda: losses.intensity_loss(strength, coded, valid)
        if forces is not None and force is not None and output.coefficients is not None:
            rebuilt = output.coefficients
            weighing = scale if self.config.inverse_variance else None
            terms["reconstruction"] = lambda: losses.reconstruction_loss(c, rebuilt, weighing, valid)
            if "true_forces" in batch and not vector:
                terms["forces"] = lambda: losses.force_loss(forces, batch["true_forces"], valid)
            terms["clean"] = lambda: losses.clean_loss(forces, valid, vector)
            terms["smooth"] = lambda: losses.smoothness_loss(forces, valid, vector)
            if (slack := output.slack) is not None:
                terms["slack"] = lambda: losses.slack_loss(slack, valid)
            terms["inverse_dynamics"] = lambda: losses.inverse_dynamics_loss(
                self.dynamics, force, c, scale, valid, self.config.inverse_cutoff
            )
        values = {name: term() for name, term in terms.items() if getattr(weights, name) > 0}
        return losses.total_loss(values, weights), values

    def save(self, folder: str | Path) -> None:
        """Write the detector as ``detector.json``, ``detector.safetensors`` and ``rig.safetensors``.

        Raises:
            ValueError: a weight is not finite; the message names it.
            OSError: the folder cannot be written.
        """
        hierarchy = None if self.encoder is None else self.encoder.hierarchy
        dtype = self.dynamics.mass.dtype
        # The dynamics follow from the rig and the distribution, and are as large as the rig.
        state = {name: x for name, x in self.state_dict().items() if not _of_dynamics(name)}
        save_parts(DetectorParts(self.rig, self.distribution, self.config, hierarchy, dtype, state), folder)

    @classmethod
    def load(cls, folder: str | Path) -> Detector:
        """Read a detector that :meth:`save` wrote, in evaluation mode on the CPU.

        Raises:
            ValueError: not a complete detector of this version; the message names the file.
            OSError: a file cannot be read.
        """
        parts = load_parts(folder)
        with readable(folder):
            detector = cls(parts.rig, parts.distribution, parts.config, parts.hierarchy, parts.dtype)
            # The configuration is in the description; folders of version 0.1.0 do not repeat it in the state.
            own = detector.state_dict()
            known = {name: x for name, x in own.items() if name.endswith("_extra_state") or _of_dynamics(name)}
            detector.load_state_dict({**known, **parts.state})
        return detector.eval()

    def _logits(self, inputs: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """What the head says of the action units, and of each side too if there are sides."""
        said = self.head(**{name: inputs[name] for name in self.config.head_inputs})
        logits, strength = said.tensor_split([len(self.config.action_units)], -1)
        found = {"logits": logits, "intensities": MOST_INTENSE * strength.sigmoid()}
        if self.sides is not None:
            found["side_logits"] = self.sides.of_each(logits)
            found["side_intensities"] = self.sides.of_each(found["intensities"], self.intense)
            found["logits"] = self.sides.either(found["side_logits"])
            found["intensities"] = found["side_intensities"].amax(-1)
        return {name: tensor for name, tensor in found.items() if self.config.intensity_units or "logits" in name}

    def _displacements(self, c: Tensor) -> Tensor:
        """u = sum_k c_k B_k (Eq. 3) of the vertices that the encoder reads, (..., N_in, 3)."""
        assert self.encoder is not None
        return torch.tensordot(c, self.dynamics.blendshapes[:, self.encoder.vertices], 1)

    def _generalized_force(self, physics: PhysicsParameters) -> Tensor:
        """Q = A F (Eq. 9), plus the force that holds the coefficients at slack times their spread."""
        dynamics = self.dynamics
        force = dynamics.generalized_force(physics.forces)
        if physics.slack is None:
            return force
        return force + (physics.slack * self.statistics.scale) @ dynamics.resistance

    def _reconstruct(self, c: Tensor, force: Tensor, mass: Tensor | None) -> Tensor:
        """c~ (Eq. 10) from the first frames of c; each force acts in the step that ``required_force`` assumes."""
        dynamics = self.dynamics
        start, rate = dynamics.initial_state(c, min(self.config.initial_frames, plain_shape(c)[-2]))
        used = force[..., 1:, :] if dynamics.config.scheme == "implicit" else force[..., :-1, :]
        moved, _ = dynamics.integrate(used, start, rate, mass)
        return torch.cat([c[..., :1, :], moved], -2)


def _of_dynamics(name: str) -> bool:
    return name.startswith("dynamics.") and not name.endswith("_extra_state")
