"""The Euler rollout of the reduced equation of motion (Eq. 4-6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from biomechau import _core
from biomechau.ops import _check, reference
from biomechau.ops._backend import fault_flag, place, runs_reference, workspace
from biomechau.ops._check import SCHEMES
from biomechau.ops._matrices import IMPLICIT_SYSTEM
from biomechau.ops._records import num_tensors, schema
from biomechau.ops._registration import Folded, empty_gradients, empty_of, register
from biomechau.ops.autocast import float32_under_autocast
from biomechau.ops.tracing import jit_trace, only_ops_recorded

_NONE, _SHARED, _PER_SEQUENCE, _PER_FRAME = map(_core.spans.index, ("none", "shared", "per_sequence", "per_frame"))


class RolloutOperators(NamedTuple):
    """What forward and backward of a rollout read, as arguments of its ops: tensors, then settings."""

    mass: Tensor
    c0: Tensor
    v0: Tensor
    damping: Tensor | None
    stiffness: Tensor | None
    dt: float
    scheme: int

    @property
    def inverted(self) -> Tensor:
        """Of the matrices that the scheme solves with, the one with the most axes: the inverses have its shape."""
        widest = self.mass
        if SCHEMES[self.scheme] == "implicit":
            for matrix in (self.damping, self.stiffness):
                if matrix is not None and matrix.ndim > widest.ndim:
                    widest = matrix
        return widest


_NUM_TENSORS = num_tensors(RolloutOperators)


@float32_under_autocast
def euler_rollout(
    mass: Tensor,
    force: Tensor,
    c0: Tensor,
    v0: Tensor,
    dt: float = 1.0,
    damping: Tensor | None = None,
    stiffness: Tensor | None = None,
    scheme: str = "explicit",
) -> tuple[Tensor, Tensor]:
    """Integrates M c'' + D c' + K c = Q over all frames (Eq. 6 and its stiff relatives).

    With h = dt, one step is v+ = v + h a and

    - ``explicit`` (Eq. 6): a = M^-1 (Q - D v - K c), c+ = c + h v,
    - ``semi_implicit``: the same a, c+ = c + h v+,
    - ``implicit``: (M + h D + h^2 K) a = Q - D v - K (c + h v), c+ = c + h v+; D and K act on the new state.

    Equivalent to a loop of ``torch.cholesky_solve`` over the frames. M, D and K are symmetric: their symmetric parts
    are used (a difference beyond a thousandth of the largest entry is an error), and their gradients are symmetric.
    With very stiff matrices, where dt^2 K is thousands of times M or more, the implicit scheme loses digits in float32:
    use float64 there, or :func:`modal_rollout`, which loses fewer.

    Args:
        mass: M [mass], shape (K, K), (..., K, K), or (..., T, K, K) (not with ``implicit``).
        force: generalized force Q of frames 0 .. T-1 [mass x length / time^2], shape (..., T, K).
        c0: coefficients at frame 0, shape (..., K).
        v0: their rates at frame 0 [1 / time], shape (..., K).
        dt: time step [time]; 1.0 counts time in frames, as the paper does.
        damping: D [mass / time], shape (K, K) or (..., K, K).
        stiffness: K [mass / time^2], shape (K, K) or (..., K, K).
        scheme: "explicit", "semi_implicit" or "implicit".

    Returns:
        c and v at frames 1 .. T, each of shape (..., T, K).

    Raises:
        TypeError: a tensor is not float32 or float64, or they differ; dt is not a Python number.
        ValueError: a shape does not fit, the devices differ, dt is not positive, the scheme is unknown, a matrix is not
            symmetric, M is not positive definite, or M + h D + h^2 K is not (``implicit``). The sequence is named.
            On a GPU a check of the matrices would mean waiting for it: there such a sequence is NaN from the frame on
            that uses the matrix, unless ``BIOMECHAU_CUDA_CHECKS=1`` asks for the error.

    Example:
        >>> c, v = ops.euler_rollout(torch.eye(1), torch.tensor([[2.0], [0.0], [0.0]]), torch.zeros(1), torch.ones(1))
        >>> c.flatten(), v.flatten()
        (tensor([1., 4., 7.]), tensor([3., 3., 3.]))
    """
    if jit_trace() is not None:
        return only_ops_recorded(euler_rollout, mass, force, c0, v0, dt, damping, stiffness, scheme)
    names = ("mass", "force", "c0", "v0", "damping?", "stiffness?")
    _check.same_kind(names, mass, force, c0, v0, damping, stiffness)
    _check.positive_number("dt", dt)
    _check.scheme(scheme)
    shape = force.shape
    if len(shape) < 2 or shape[-1] == 0:
        raise _check.wrong_shape("force", force, "(..., T, K) with K > 0")
    *batch, _, num_shapes = shape
    if shape[-1:] != c0.shape[-1:] == v0.shape[-1:] == mass.shape[-1:]:
        raise _check.wrong_shape("force", force, f"(..., T, {c0.shape[-1]})")
    state, square = (*batch, num_shapes), (num_shapes, num_shapes)
    if c0.shape != state:
        raise _check.wrong_shape("c0", c0, str(state))
    if v0.shape != state:
        raise _check.wrong_shape("v0", v0, str(state))
    if mass.shape != square:
        _check_matrix("mass", mass, force, scheme)
    if damping is not None and damping.shape != square:
        _check_matrix("damping", damping, force, scheme)
    if stiffness is not None and stiffness.shape != square:
        _check_matrix("stiffness", stiffness, force, scheme)
    if scheme == "implicit" and _span(mass, force) == _PER_FRAME:
        raise ValueError("mass with a frame axis needs scheme 'explicit' or 'semi_implicit'")
    if runs_reference(force):
        return reference.euler_rollout(mass, force, c0, v0, dt, damping, stiffness, scheme)
    return _op(force, mass, c0, v0, damping, stiffness, float(dt), SCHEMES.index(scheme))


def _check_matrix(name: str, matrix: Tensor, force: Tensor, scheme: str) -> None:
    """If there is not one matrix (K, K) in all, there is one per sequence, or (for the mass) one per frame."""
    batch, (num_frames, num_shapes) = force.shape[:-2], force.shape[-2:]
    square = (num_shapes, num_shapes)
    if matrix.shape == (*batch, *square):
        return
    if name == "mass" and matrix.shape == (*batch, num_frames, *square):
        return
    expected: list[tuple[int, ...]] = [square, (*batch, *square)] if batch else [square]
    if name == "mass" and scheme != "implicit":
        expected.append((*batch, num_frames, *square))
    raise _check.wrong_shape(name, matrix, " or ".join(map(str, expected)))


def _span(matrix: Tensor | None, states: Tensor) -> int:
    """Which axes a matrix has before (K, K), in a rollout with states (..., T, K)."""
    if matrix is None:
        return _NONE
    if matrix.ndim == 2:
        return _SHARED
    return _PER_SEQUENCE if matrix.ndim == states.ndim else _PER_FRAME


def _core_operators(operators: RolloutOperators, states: Tensor) -> _core.RolloutOperators:
    """The operators as the kernels read them."""
    *batch, num_frames, num_coordinates = states.shape
    return _core.RolloutOperators(
        math.prod(batch),
        num_frames,
        num_coordinates,
        *operators,
        _span(operators.mass, states),
        _span(operators.damping, states),
        _span(operators.stiffness, states),
    )


def _forward(force: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    operators = RolloutOperators(*arguments)
    results = c, v, acceleration, inverse = _results(force, operators)
    view = _core_operators(operators, force)
    scratch, fault = workspace(force, _core.euler_rollout_fwd_workspace, view), fault_flag(force)
    kind, index = _core.euler_rollout_fwd(view, force, c, v, acceleration, inverse, scratch, fault, place(force))
    if fault is not None and (code := int(fault)) >= 0:
        kind, index = divmod(code, 1 << _core.fault_index_bits)
    if kind:
        raise _fault(kind, index, operators, inverse, force.ndim - 2)
    return results


def _fault(kind: int, index: int, operators: RolloutOperators, inverse: Tensor, num_batch_axes: int) -> ValueError:
    """The error for a fault that the kernel found."""
    name, matrix, error = {
        "mass_asymmetric": ("mass", operators.mass, _check.not_symmetric),
        "damping_asymmetric": ("damping", operators.damping, _check.not_symmetric),
        "stiffness_asymmetric": ("stiffness", operators.stiffness, _check.not_symmetric),
        "mass_indefinite": ("mass", operators.mass, _check.not_positive_definite),
        "system_indefinite": (IMPLICIT_SYSTEM, inverse, _check.not_positive_definite),
    }[_core.rollout_faults[kind]]
    axes = () if matrix is None else tuple(matrix.shape[:-2])
    return error(name, _check.place(index, axes, num_batch_axes))


def _results(force: Tensor, operators: RolloutOperators) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c, v, the acceleration and the inverses that the backward needs, uninitialised."""
    shape = force.shape
    inverse = empty_of(operators.inverted)
    return force.new_empty(*shape), force.new_empty(*shape), force.new_empty(*shape), inverse


def _fake(force: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _results(force, RolloutOperators(*arguments))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors, ctx.settings = inputs[1 : 1 + _NUM_TENSORS], inputs[1 + _NUM_TENSORS :]
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(*output[2:])
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any, needs: Sequence[bool], grad_c: Tensor | None, grad_v: Tensor | None, *_: Any
) -> Sequence[Tensor | None]:
    saved = ctx.saved_tensors
    return _bwd_op(*saved[:_NUM_TENSORS], *ctx.settings, *saved[_NUM_TENSORS:], grad_c, grad_v, needs)


def _bwd(*arguments: Any) -> list[Tensor | None]:
    c, v, acceleration, inverse, grad_c, grad_v, _ = arguments[_NUM_ARGUMENTS:]
    view = _core_operators(RolloutOperators(*arguments[:_NUM_ARGUMENTS]), c)
    grads = _bwd_fake(*arguments)
    scratch = workspace(c, _core.euler_rollout_bwd_workspace, view)
    grad_force, grad_mass, grad_c0, grad_v0, grad_damping, grad_stiffness = grads
    _core.euler_rollout_bwd(
        view,
        c,
        v,
        acceleration,
        inverse,
        grad_c,
        grad_v,
        grad_force,
        grad_mass,
        grad_c0,
        grad_v0,
        grad_damping,
        grad_stiffness,
        scratch,
        place(c),
    )
    return grads


def _bwd_fake(*arguments: Any) -> list[Tensor | None]:
    # The adjoint goes through the gradient of the force, which has the shape of c: it is always computed.
    c, (_, *needs) = arguments[_NUM_ARGUMENTS], arguments[-1]
    return empty_gradients((True, *needs), c, *arguments[:_NUM_TENSORS])


_INPUTS = schema(RolloutOperators)
_NUM_ARGUMENTS = len(RolloutOperators._fields)
_bwd_op = register(
    "euler_rollout_bwd",
    f"({_INPUTS}, Tensor c, Tensor v, Tensor acceleration, Tensor inverse, Tensor? grad_c, Tensor? grad_v, "
    "bool[] needs) -> Tensor[]",
    _bwd,
    _bwd_fake,
)
_op = register(
    "euler_rollout",
    f"(Tensor force, {_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _fake,
    _setup_context,
    _backward,
    differentiable=("force", *RolloutOperators._fields[:_NUM_TENSORS]),
    folded=Folded(("force", "c0", "v0"), num_results=3, shared=("mass", "damping", "stiffness")),
    num_results=2,
)
