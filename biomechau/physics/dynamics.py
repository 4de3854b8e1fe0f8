"""FaceDynamics: the reduced equation of motion of a face, as a torch module."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from biomechau import ops
from biomechau.configured_module import ConfiguredModule
from biomechau.ops.autocast import float32_under_autocast
from biomechau.ops.tracing import plain_shape, refuse_in_jit_trace, transforms_active
from biomechau.physics._elastic import ElasticLaw
from biomechau.physics.inverse import inverse_dynamics
from biomechau.physics.physics_config import InverseOptions, PhysicsConfig
from biomechau.rig.distribution import Distribution, muscle_displacements
from biomechau.rig.face_rig import FaceRig

# Shapes whose root-mean-square displacement is below this fraction of the largest shape's do not move the region.
_STILL = 1e-3
# Smallest eigenvalue of the mass scaled to a unit diagonal below which float32 cannot tell it from a singular one.
_SINGULAR = 1e-6
# Largest difference of a state's tensors from those of the same model, as a share of the largest entry: the rounding of
# float32 and of other machines.
_SAME = 1e-5
# Growth of a mode in a frame above which a warning says so: 2.7-fold in a hundred frames.
_UNSTABLE = 1.01
# Acceleration that a unit force gives a muscle's own shapes under the law "newton" [1 / frame^2]: with it, forces of
# facial motion are of the order of 1.
_UNIT_ACCELERATION = 0.05


class FaceDynamics(ConfiguredModule):
    """M c'' + D c' + K c = A F (Eq. 4-6 and 9), with all operators built once from a rig and its muscles.

    - M = s sum_i m_i B(i)^T B(i), with m_i the vertex areas scaled to the total mass.
    - law ``elastic``: K = w0^2 [(1 - e) M + e kappa Kel] with kappa = tr M / tr Kel, and D = 2 zeta K / w0, the
      viscosity of the tissue (Kelvin-Voigt), or D = 2 zeta w0 M. Law ``newton``: D = K = 0.
    - force ``fibre``: A[k,m] = sum_i B_k(i)^T f_m(i). Under ``elastic``, f_m(i) is the force on vertex i that holds the
      muscle's own shapes b_m in place, springs included, because a blendshape is the face at rest under the force of
      that muscle: K^-1 A is 1 for a muscle's own shapes and 0 for all others. Under ``newton`` it is m_i b_m(i),
      which accelerates the face along b_m. With ``fibre_area="muscle"`` f_m(i) = P(i,m) d_m(i) acts where P is not 0.
      Force ``vector``: A[k,m,:] = sum_i P(i,m) B_k(i).

    Unit of force: F_m = 1 holds the muscle's own shapes at full amplitude in static balance (``elastic``), or gives
    them an acceleration of 0.05 per squared frame (``newton``), measured in the norm of M; for ``vector`` along the
    direction of the largest response. With ``force_unit="vertex"`` it is the mean mass of a vertex x cm / frame^2.

    All tensors are buffers: ``.to()`` moves them, ``state_dict`` holds them and the configuration. A state of another
    configuration, rig or P is refused. Build with ``dtype=torch.float64`` for double precision throughout;
    ``.double()`` of a float32 module keeps its float32 rounding.

    Args:
        rig: the face; shapes that hardly move it are dropped (``dropped_shapes``).
        distribution: P, from ``Distribution.from_rig(rig)``.
        config: the physical model.
        dtype: of the buffers, torch.float32 or torch.float64; they are computed in float64.

    Attributes:
        mass, stiffness, damping: M, K and D, (K', K') for the K' shapes that are kept.
        projection: A, (K', M) for ``fibre`` or (K', M, 3) for ``vector``.
        force_scale: (M,) factor in A by which F_m = 1 is the unit above: for ``vector`` the force of F_m = 1 where
            P(i,m) = 1 [mass x cm / s^2], for ``fibre`` a factor of the force field described above [1].
        blendshapes: (K', N, 3) [cm].
        shape_names, shape_indices: the K' shapes and their indices in the rig.
        dropped_shapes: names of the dropped shapes.
        muscles: the M muscles.
        system, compliance: M, K, D and A prepared for rollouts, and the inverse (K', K') of ``resistance``; computed
            when the module is built or loaded, and not affected by later changes of the buffers.

    Raises:
        TypeError: dtype is neither float32 nor float64, distribution is no Distribution, or config no PhysicsConfig.
        ValueError: P does not match the rig, shapes are linearly dependent (they are named), a muscle moves nothing.

    Warns:
        UserWarning: the scheme is unstable at this frame rate.
    """

    mass: Tensor
    stiffness: Tensor
    damping: Tensor
    projection: Tensor
    force_scale: Tensor
    blendshapes: Tensor
    compliance: Tensor

    def __init__(
        self,
        rig: FaceRig,
        distribution: Distribution,
        config: PhysicsConfig | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        refuse_in_jit_trace("the construction of a FaceDynamics", "construct it before")
        super().__init__()
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype must be float32 or float64, got {dtype}")
        if not isinstance(distribution, Distribution):
            raise TypeError(f"distribution must be a Distribution, got {type(distribution).__name__}")
        if distribution.shape[0] != rig.num_vertices:
            raise ValueError(f"the distribution has {distribution.shape[0]} vertices, the rig {rig.num_vertices}")
        if not isinstance(config, PhysicsConfig | None):
            raise TypeError(f"config must be a PhysicsConfig, got {type(config).__name__}")
        if transforms_active():
            raise RuntimeError("a FaceDynamics cannot be built within torch.func.grad and the like: build it before")
        self.config = config = PhysicsConfig() if config is None else config
        self.muscles = distribution.muscles

        vertex_masses = config.total_mass * rig.vertex_masses.double()
        kept = _moving(rig, vertex_masses)
        self.shape_indices = kept.nonzero()[:, 0].tolist()
        self.shape_names = tuple(rig.names[k] for k in self.shape_indices)
        self.dropped_shapes = tuple(name for name in rig.names if name not in self.shape_names)

        blendshapes = rig.blendshapes[kept].double()
        mass = ops.generalized_mass(blendshapes, vertex_masses, config.mass_scale)
        _check_independent(mass, self.shape_names)
        own = muscle_displacements(rig, self.muscles)
        field = config.mass_scale * vertex_masses[:, None] * own
        # Size of each muscle's own shapes in the norm of M, to which its response is scaled below.
        size = torch.einsum("mna,mna->m", field, own).sqrt()
        if config.law == "elastic":
            law = ElasticLaw(rig, blendshapes, mass, config)
            stiffness, damping, field, unit = law.stiffness, law.damping, law.static_force(field, own), 1.0
            balance = stiffness
        else:
            stiffness, damping, unit = torch.zeros_like(mass), torch.zeros_like(mass), self.unit_acceleration
            balance = mass

        if config.force == "fibre" and config.fibre_area == "face":
            projection = torch.einsum("kna,mna->km", blendshapes, field)
        else:
            double = distribution.to(torch.float64)
            directions = double.directions(field) if config.force == "fibre" else None
            projection = ops.reduced_projection(blendshapes, double, directions)
        response = torch.linalg.cholesky(mass).mT @ torch.linalg.solve(balance, projection.flatten(1))
        reach = torch.linalg.matrix_norm(response.reshape(len(mass), self.num_muscles, -1).movedim(1, 0), 2)
        if bool((reach == 0).any()):
            raise ValueError(f"muscle {self.muscles.names[int((reach == 0).nonzero()[0])]} moves no shape of the rig")
        scale = unit * size / reach
        if config.force_unit == "vertex":
            scale = torch.full_like(scale, config.fps**2 * config.total_mass / rig.num_vertices)

        for name, value in (
            ("mass", mass),
            ("stiffness", stiffness),
            ("damping", damping),
            ("projection", projection * scale.reshape(-1, *[1] * (projection.ndim - 2))),
            ("force_scale", scale),
            ("blendshapes", blendshapes),
        ):
            self.register_buffer(name, value.to(dtype))
            if not bool(getattr(self, name).isfinite().all()):
                raise ValueError(f"{name} is not finite in {dtype}: f0, fps or the masses are too large or too small")
        self._prepare()
        if self.system.growth > _UNSTABLE:
            warnings.warn(
                f"scheme {config.scheme!r} is unstable at {config.fps:g} fps with this face: its fastest mode grows "
                f"{self.system.growth:.3g}-fold in every frame; use scheme='implicit'",
                UserWarning,
                stacklevel=2,
            )

    def extra_repr(self) -> str:
        return (
            f"{self.num_shapes} shapes, {self.num_muscles} muscles, {self.blendshapes.shape[1]} vertices, "
            f"{self.config.law}, {self.config.force}, {self.config.scheme}, {self.config.fps:g} fps"
        )

    def _prepare(self) -> None:
        """Factor and invert the constant matrices."""
        compliance = torch.linalg.inv(self.resistance.double()).to(self.resistance)
        self.register_buffer("compliance", compliance, persistent=False)
        elastic = self.config.law == "elastic"
        self.system = ops.ModalSystem(
            self.mass,
            self.config.dt,
            self.damping if elastic else None,
            self.stiffness if elastic else None,
            self.config.scheme,
            self.projection,
        )

    def configuration(self) -> dict[str, Any]:
        """The physical model, the shapes and the muscles."""
        options = asdict(self.config)
        # States of before these options existed do not name them.
        options = {name: value for name, value in options.items() if self.config.BEFORE.get(name) != value}
        names = {"shapes": list(self.shape_names), "muscles": list(self.muscles.names)}
        return {**options, **names, "vertices": self.blendshapes.shape[1]}

    def state_error(self, state_dict: dict[str, Any], prefix: str) -> str | None:
        if error := super().state_error(state_dict, prefix):
            return error
        if self.mass.is_meta:
            return "the module is on the device meta and has no tensors to compare with"
        # All buffers follow from the rig, P and the configuration.
        for name, own in self.named_buffers(recurse=False):
            found = state_dict.get(prefix + name)
            if found is None or found.shape != own.shape:  # reported by torch
                continue
            gap = (found.to(own) - own).abs().max() if own.numel() else own.new_zeros(())
            if not bool(gap <= _SAME * own.abs().max()):
                return f"{name} differs from that of this rig and distribution, by up to {float(gap):.1e}"
        return None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if not args[-1]:  # no errors, which torch raises later
            self._prepare()

    @property
    def num_shapes(self) -> int:
        """K', the number of shapes that are kept."""
        return len(self.shape_names)

    @property
    def num_muscles(self) -> int:
        """M, the number of muscles."""
        return len(self.muscles)

    @property
    def force_shape(self) -> tuple[int, ...]:
        """The last axes of muscle forces: (M,) for ``fibre``, (M, 3) for ``vector``."""
        return (self.num_muscles, 3) if self.config.force == "vector" else (self.num_muscles,)

    @property
    def unit_acceleration(self) -> float:
        """Acceleration of a muscle's own shapes by F = 1 under the law ``newton`` [1/s^2]."""
        return _UNIT_ACCELERATION * self.config.fps**2

    @property
    def resistance(self) -> Tensor:
        """(K', K') matrix that forces act against: K, or under the law ``newton`` M in unit accelerations."""
        return self.mass * self.unit_acceleration if self.config.law == "newton" else self.stiffness

    @float32_under_autocast
    def generalized_force(self, force: Tensor) -> Tensor:
        """Q = A F (Eq. 9): muscle forces (..., M) or (..., M, 3) to generalized forces (..., K').

        Raises:
            TypeError, ValueError: forces of the wrong dtype, device or shape.
        """
        self.check("force", force, self.force_shape)
        return force.flatten(-len(self.force_shape)) @ self.projection.flatten(1).mT

    @float32_under_autocast
    def rollout(
        self,
        force: Tensor,
        c0: Tensor,
        v0: Tensor,
        mass: Tensor | None = None,
        generalized_force: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Integrate the motion from muscle forces (Eq. 9 and 10), in one op unless the mass is replaced.

        Args:
            force: muscle forces [unit of force, see the class], shape (..., T, M), or (..., T, M, 3) for ``vector``.
            c0: coefficients at the first frame, shape (..., K').
            v0: their rates at the first frame [1/s], shape (..., K').
            mass: replaces M: (K', K'), (..., K', K') or (..., T, K', K'), see ``ops.euler_rollout``.
            generalized_force: acts in addition to the muscles, shape (..., T, K').

        Returns:
            c and v [1/s] at the T frames after the first, each of shape (..., T, K').

        Raises:
            TypeError, ValueError: as ``ops.modal_rollout`` and, with a mass, ``ops.euler_rollout``.
        """
        self.check("force", force, self.force_shape, "T")
        if generalized_force is not None:
            self.check("generalized_force", generalized_force, (self.num_shapes,), "T")
            expected = (*force.shape[: force.ndim - len(self.force_shape)], self.num_shapes)
            if generalized_force.shape != expected:
                raise ValueError(
                    f"generalized_force must have shape {tuple(expected)} with this force, "
                    f"got {tuple(generalized_force.shape)}"
                )
        if mass is None:
            return ops.modal_rollout(self.system, generalized_force, c0, v0, force)
        total = self.generalized_force(force)
        return self.integrate(total if generalized_force is None else total + generalized_force, c0, v0, mass)

    @float32_under_autocast
    def integrate(
        self, generalized_force: Tensor, c0: Tensor, v0: Tensor, mass: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`rollout`, from generalized forces Q (..., T, K').

        Raises:
            TypeError, ValueError: as ``ops.modal_rollout`` and, with a mass, ``ops.euler_rollout``.
        """
        if mass is None:
            return ops.modal_rollout(self.system, generalized_force, c0, v0)
        elastic = self.config.law == "elastic"
        return ops.euler_rollout(
            mass,
            generalized_force,
            c0,
            v0,
            self.config.dt,
            self.damping if elastic else None,
            self.stiffness if elastic else None,
            self.config.scheme,
        )

    def initial_state(self, c: Tensor, num_frames: int = 2) -> tuple[Tensor, Tensor]:
        """c(0) and v(0) of a motion c (..., T, K'): v(0) = (c(dt) - c(0)) / dt (Eq. 6), or a line fit over more frames.

        Args:
            c: coefficients, shape (..., T, K').
            num_frames: frames of the line fit, 2 to T; 2 is the difference of Eq. 6.

        Returns:
            c(0) and v(0) [1/s], each of shape (..., K').

        Raises:
            TypeError, ValueError: c of the wrong dtype, device or shape, or num_frames out of range.
        """
        self.check("c", c, (self.num_shapes,), "T")
        most = plain_shape(c)[-2]
        if most < 2:
            raise ValueError(f"c must have at least 2 frames for a velocity, got shape {tuple(c.shape)}")
        if not 2 <= num_frames <= most:
            raise ValueError(f"num_frames must lie in [2, {most}], got {num_frames}")
        time = torch.arange(num_frames, dtype=c.dtype, device=c.device) * self.config.dt
        time = time - time.mean()
        return c[..., 0, :], torch.einsum("t,...tk->...k", time / time.square().sum(), c[..., :num_frames, :])

    @float32_under_autocast
    def deform(self, c: Tensor) -> Tensor:
        """u = sum_k c_k B_k (Eq. 3): coefficients (..., K') to displacements [cm] (..., N, 3).

        Raises:
            TypeError, ValueError: c of the wrong dtype, device or shape.
        """
        self.check("c", c, (self.num_shapes,))
        return torch.tensordot(c, self.blendshapes, 1)

    def check(self, name: str, tensor: Tensor, last: tuple[int, ...], frames: str = "") -> None:
        """Raise ``TypeError`` or ``ValueError`` unless dtype, device and the last axes are those of the model.

        With a name for it there must be an axis of frames before the last ones.
        """
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
        if self.mass.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"the model must be float32 or float64, it is {self.mass.dtype}; convert it with .float()")
        if tensor.dtype != self.mass.dtype:
            raise TypeError(f"{name} must be {self.mass.dtype} like the model, got {tensor.dtype}")
        if tensor.device != self.mass.device:
            raise ValueError(f"{name} must be on {self.mass.device} like the model, got {tensor.device}")
        shape = plain_shape(tensor)
        if len(shape) < len(last) + bool(frames) or shape[len(shape) - len(last) :] != last:
            axes = ", ".join(["...", *[frames] * bool(frames), *map(str, last)])
            raise ValueError(f"{name} must have shape ({axes}), got {tuple(shape)}")

    def inverse(
        self, c: Tensor, dt: float | None = None, options: InverseOptions | None = None
    ) -> tuple[Tensor, Tensor]:
        """Muscle forces and residual generalized forces, see :func:`biomechau.physics.inverse_dynamics`."""
        result = inverse_dynamics(self, c, dt, options)
        return result.forces, result.residual


def _moving(rig: FaceRig, vertex_masses: Tensor) -> Tensor:
    """(K,) bool: whether each shape moves the region."""
    size = (rig.blendshapes.double().square().sum(-1) @ vertex_masses).sqrt()
    if not bool((size > 0).any()):
        raise ValueError("no shape of the rig moves a vertex with mass")
    return size > _STILL * size.max()


def _check_independent(mass: Tensor, names: tuple[str, ...]) -> None:
    """Raise ``ValueError``, naming the shapes, if the mass is (nearly) singular."""
    diagonal = mass.diagonal().sqrt()
    values, vectors = torch.linalg.eigh(mass / (diagonal[:, None] * diagonal))
    if values[0] < _SINGULAR:
        weight = vectors[:, 0].abs()
        dependent = [name for name, w in zip(names, weight.tolist(), strict=True) if w > 0.1 * float(weight.max())]
        raise ValueError(
            f"the generalized mass is singular: the shapes {', '.join(dependent)} are linearly dependent; "
            "leave one of them out with rig.select"
        )
