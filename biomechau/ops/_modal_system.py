"""Constant matrices prepared for the rollout: once, in coordinates where all of them are diagonal (normal modes)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biomechau import _core
from biomechau.ops import _check
from biomechau.ops._matrices import IMPLICIT_SYSTEM, cholesky, symmetric
from biomechau.ops.tracing import not_compiled, require_values

# Largest share of the damping off the diagonal of the modes: rounding of the matrices, no more. Matrices in float64 may
# have been rounded to float32 before, as in a loaded model; on faces that leaves up to 7e-7.
_OFF_DIAGONAL = {torch.float32: 2e-5, torch.float64: 2e-6}


class ModalSystem(nn.Module):
    """M c'' + D c' + K c = Q + A F with constant matrices and Rayleigh damping, for :func:`ops.modal_rollout`.

    The generalized eigenproblem K E = M E diag(w^2), E^T M E = 1, turns the equation into one scalar oscillator per
    normal mode; D must be diagonal in the same modes, like a M + b K (Rayleigh damping). Without D and K the
    coordinates stay and M is inverted. Everything is computed in float64 from the matrices as given.

    The tensors are copied into buffers that ``.to()`` moves and ``state_dict`` omits: whoever made the system keeps the
    matrices. It is made of values, so before ``torch.compile`` or export, ``vmap``, and on a device other than meta;
    using it works everywhere.

    Args:
        mass: M [mass], shape (K, K).
        dt: time step [time].
        damping: D [mass / time], shape (K, K).
        stiffness: K [mass / time^2], shape (K, K).
        scheme: "explicit", "semi_implicit" or "implicit", see :func:`ops.euler_rollout`.
        projection: A [length], shape (K, M) or (K, M, 3), for muscle forces.

    Attributes:
        growth: by how much a step without forces enlarges the mode that grows fastest. Above 1 the scheme is unstable
            with this dt; 1 for ``implicit``, and without D and K.

    Raises:
        TypeError: a tensor is not float32 or float64, or they differ; dt is not a Python number.
        ValueError: a shape does not fit, the devices differ, dt is not positive, the scheme is unknown, a matrix is not
            symmetric, M (or M + h D + h^2 K for ``implicit``) is not positive definite, D couples the modes, or a
            tensor requires grad: use :func:`ops.euler_rollout` to learn matrices.

    Example:
        >>> system = ops.ModalSystem(torch.eye(1), stiffness=torch.eye(1))
        >>> c, v = ops.modal_rollout(system, torch.zeros(2, 1), torch.ones(1), torch.zeros(1))
        >>> c.flatten(), v.flatten()
        (tensor([1., 0.]), tensor([-1., -2.]))
    """

    constants: Tensor
    mass: Tensor
    damping: Tensor | None
    stiffness: Tensor | None
    projection: Tensor | None

    @not_compiled("a ModalSystem is made of values: make it before, or use ops.euler_rollout")
    def __init__(
        self,
        mass: Tensor,
        dt: float = 1.0,
        damping: Tensor | None = None,
        stiffness: Tensor | None = None,
        scheme: str = "explicit",
        projection: Tensor | None = None,
    ) -> None:
        super().__init__()
        tensors = {"mass": mass, "damping": damping, "stiffness": stiffness, "projection": projection}
        advice = "make it before, or use ops.euler_rollout"
        require_values("the making of a ModalSystem", advice, *tensors.values())
        _check.same_kind(("mass", "damping?", "stiffness?", "projection?"), *tensors.values())
        _check.positive_number("dt", dt)
        _check.scheme(scheme)
        for name, tensor in tensors.items():
            _check_constant(name, tensor, len(mass) if mass.ndim else 0)
            self.register_buffer(name, None if tensor is None else tensor.clone(), persistent=False)
        self.dt, self.scheme, self.growth = float(dt), scheme, 1.0
        # As numbers, because looking a tensor up takes a module longer: K, and the axes of F in a frame.
        self.num_coordinates = len(mass)
        self.input_shape = None if projection is None else projection.shape[1:]
        self.has_modes = damping is not None or stiffness is not None
        with torch.no_grad():
            constants = self._constants()
        if not bool(constants.isfinite().all()):
            raise ValueError(f"the modes are not finite in {mass.dtype}: the matrices or dt are out of its range")
        self.register_buffer("constants", constants, persistent=False)

    def extra_repr(self) -> str:
        inputs = "" if self.projection is None else f", {self.projection.shape[1]} muscles"
        kind = "modes" if self.has_modes else "no stiffness"
        return f"{self.num_coordinates} coordinates{inputs}, dt={self.dt:g}, {self.scheme}, {kind}"

    def _constants(self) -> Tensor:
        """What the kernels read, in the layout of csrc/modal_rollout/modal_rollout.h."""
        size, dtype = self.num_coordinates, self.mass.dtype
        mass = symmetric("mass", self.mass, 0)
        cholesky("mass", mass, 0)
        mass = mass.double()
        damping, stiffness = (
            mass.new_zeros(size, size) if matrix is None else symmetric(name, matrix, 0).double()
            for name, matrix in (("damping", self.damping), ("stiffness", self.stiffness))
        )
        implicit = self.scheme == "implicit"
        if implicit:
            together = mass + self.dt * damping + self.dt**2 * stiffness
            cholesky(IMPLICIT_SYSTEM, together.to(dtype), 0)
        gain, rates, squares = mass.new_ones(size), mass.new_zeros(size), mass.new_zeros(size)
        if self.has_modes:
            load, rates, squares = _modes(mass, damping, stiffness, _OFF_DIAGONAL[dtype])
            inverse = load @ mass
            self.growth = _growth(self.scheme, self.dt, rates, squares)
            if implicit:
                gain = 1 / (1 + self.dt * rates + self.dt**2 * squares)
            matrices = [load.mT, load, inverse.mT, inverse]
        else:
            load = torch.linalg.inv(mass)
            load = (load + load.mT) / 2
            matrices = [load, load]
        if self.projection is not None:
            projection = load @ self.projection.flatten(1).double()
            matrices += [projection.mT, projection]
        blocks = [torch.stack([gain, rates, squares]), *matrices]
        return torch.cat([_padded(block).flatten() for block in blocks]).to(dtype)


def _modes(mass: Tensor, damping: Tensor, stiffness: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """E^T, and the diagonals of E^T D E and E^T K E, with E^T M E = 1."""
    root = torch.linalg.cholesky(mass)
    sizes = float(damping.abs().max()), float(stiffness.abs().max())
    # Modes of one frequency are not unique: if D is not diagonal in those that were found, it may be in those of a sum.
    sums = [stiffness, stiffness + sizes[1] / sizes[0] * damping] if min(sizes) > 0 else [stiffness + damping]
    for whole in sums:
        whitened = torch.linalg.solve_triangular(root, whole, upper=False)
        whitened = torch.linalg.solve_triangular(root, whitened.mT, upper=False)
        load = torch.linalg.solve_triangular(root.mT, torch.linalg.eigh(whitened)[1], upper=True).mT
        inverse = load @ mass
        rates, squares = (((load @ matrix) * load).sum(1) for matrix in (damping, stiffness))
        rests = [damping - (inverse.mT * rates) @ inverse, stiffness - (inverse.mT * squares) @ inverse]
        if not any(bool(rest.abs().max() > tolerance * size) for rest, size in zip(rests, sizes, strict=True)):
            return load, rates, squares
    raise ValueError(
        "damping must be diagonal in the normal modes of mass and stiffness, as a mass + b stiffness is; "
        "use ops.euler_rollout for any other"
    )


def _growth(scheme: str, dt: float, rates: Tensor, squares: Tensor) -> float:
    """The largest modulus of an eigenvalue of a mode's step, which takes (c, v) to the next (c, v)."""
    if scheme == "implicit":
        return 1.0
    pull = dt**2 * squares
    trace, determinant = 2 - dt * rates, 1 - dt * rates
    if scheme == "explicit":
        determinant = determinant + pull
    else:
        trace = trace - pull
    square = trace**2 / 4 - determinant
    real, pair = trace.abs() / 2 + square.clamp_min(0).sqrt(), determinant.clamp_min(0).sqrt()
    return float(torch.where(square < 0, pair, real).max())


def _check_constant(name: str, tensor: Tensor | None, size: int) -> None:
    if tensor is None:
        return
    if name == "projection":
        if not (tensor.ndim == 2 or (tensor.ndim == 3 and tensor.shape[2] == 3)) or len(tensor) != size:
            raise _check.wrong_shape(name, tensor, f"({size}, M) or ({size}, M, 3)")
    elif size == 0 or tensor.shape != (size, size):
        raise _check.wrong_shape(name, tensor, f"({size}, {size})" if size else "(K, K) with K > 0")
    if tensor.requires_grad:
        raise ValueError(f"{name} requires grad, but a ModalSystem is constant; use ops.euler_rollout to learn it")


def _padded(block: Tensor) -> Tensor:
    """Rows padded with zeros."""
    return nn.functional.pad(block, (0, -block.shape[-1] % _core.modal_row_multiple))
