"""The Euler rollout of the reduced equation of motion (Eq. 4-6)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from biomechau import _core
from biomechau.ops import _check, reference
from biomechau.ops._backend import buffer, dense_or_none, fault_flag, place, runs_reference, workspace
from biomechau.ops._check import SCHEMES as SCHEMES
from biomechau.ops._registration import empty_gradients, empty_of, register, wanted_gradients
from biomechau.ops.tracing import jit_trace, only_ops_recorded

# Which axes a matrix has, as in csrc/euler_rollout/euler_rollout.h.
_NONE, _SHARED, _PER_SEQUENCE, _PER_FRAME = range(4)


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
            On a GPU nobody waits for what a matrix holds: such a sequence is NaN from the frame on that uses it,
            unless ``BIOMECHAU_CUDA_CHECKS=1`` asks for the error.

    Example:
        >>> c, v = ops.euler_rollout(torch.eye(1), torch.tensor([[2.0], [0.0], [0.0]]), torch.zeros(1), torch.ones(1))
        >>> c.flatten(), v.flatten()
        (tensor([1., 4., 7.]), tensor([3., 3., 3.]))
    """
    if jit_trace() is not None:
        return only_ops_recorded(euler_rollout, mass, force, c0, v0, dt, damping, stiffness, scheme)
    tensors = {"mass": mass, "force": force, "c0": c0, "v0": v0, "damping": damping, "stiffness": stiffness}
    _check.same_kind("damping", "stiffness", **tensors)
    _check.positive_number("dt", dt)
    _check.scheme(scheme)
    if force.ndim < 2 or force.shape[-1] == 0:
        raise _check.wrong_shape("force", force, "(..., T, K) with K > 0")
    state = (*force.shape[:-2], force.shape[-1])
    if c0.shape != state:
        raise _check.wrong_shape("c0", c0, str(state))
    if v0.shape != state:
        raise _check.wrong_shape("v0", v0, str(state))
    spans = [_span(name, tensors[name], force) for name in ("mass", "damping", "stiffness")]
    if spans[0] == _PER_FRAME and scheme == "implicit":
        raise ValueError("mass with a frame axis needs scheme 'explicit' or 'semi_implicit'")
    if runs_reference(force.device):
        return reference.euler_rollout(mass, force, c0, v0, dt, damping, stiffness, scheme)
    c, v, *_ = _op(mass, force, c0, v0, damping, stiffness, float(dt), SCHEMES.index(scheme), spans)
    return c, v


def _span(name: str, matrix: Tensor | None, force: Tensor) -> int:
    """Which axes a matrix has beside (K, K)."""
    if matrix is None:
        return _NONE
    batch, (num_frames, num_shapes) = force.shape[:-2], force.shape[-2:]
    square = (num_shapes, num_shapes)
    if matrix.shape == square:
        return _SHARED
    if matrix.shape == (*batch, *square):
        return _PER_SEQUENCE
    if name == "mass" and matrix.shape == (*batch, num_frames, *square):
        return _PER_FRAME
    expected: list[tuple[int, ...]] = [square, (*batch, *square)] if batch else [square]
    if name == "mass":
        expected.append((*batch, num_frames, *square))
    raise _check.wrong_shape(name, matrix, " or ".join(map(str, expected)))


def _sizes(force: Tensor, dt: float, scheme: int, spans: list[int]) -> _core.RolloutSizes:
    return _core.RolloutSizes(force.shape[:-2].numel(), force.shape[-2], force.shape[-1], scheme, dt, *spans)


def _factor_shape(force: Tensor, scheme: int, spans: list[int]) -> tuple[int, ...]:
    """One inverse for each matrix that the scheme solves with."""
    *batch, num_frames, num_shapes = force.shape
    square = (num_shapes, num_shapes)
    span = max(spans) if SCHEMES[scheme] == "implicit" else spans[0]
    if span == _SHARED:
        return square
    return (*batch, *square) if span == _PER_SEQUENCE else (*batch, num_frames, *square)


def _forward(
    mass: Tensor,
    force: Tensor,
    c0: Tensor,
    v0: Tensor,
    damping: Tensor | None,
    stiffness: Tensor | None,
    dt: float,
    scheme: int,
    spans: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    c, v, acceleration, factor = _fake(mass, force, c0, v0, damping, stiffness, dt, scheme, spans)
    held = [dense_or_none(tensor) for tensor in (mass, force, c0, v0, damping, stiffness)]
    mass_, force_, c0_, v0_, damping_, stiffness_ = map(buffer, held)
    sizes = _sizes(force, dt, scheme, spans)
    scratch, fault = workspace(force, _core.euler_rollout_fwd_workspace, sizes), fault_flag(force)
    kind, index = _core.euler_rollout_fwd(
        sizes,
        mass_,
        force_,
        c0_,
        v0_,
        damping_,
        stiffness_,
        buffer(c),
        buffer(v),
        buffer(acceleration),
        buffer(factor),
        buffer(scratch),
        buffer(fault),
        place(c),
    )
    if fault is not None and (code := int(fault)) >= 0:
        kind, index = divmod(code, 2**48)
    if kind:
        raise _fault(kind, index, mass, factor, damping, stiffness, force.ndim - 2)
    return c, v, acceleration, factor


def _fault(
    kind: int,
    index: int,
    mass: Tensor,
    factor: Tensor,
    damping: Tensor | None,
    stiffness: Tensor | None,
    num_batch_axes: int,
) -> ValueError:
    """What the kernel found wrong (RolloutFault in csrc/euler_rollout/euler_rollout.h), in words."""
    name, matrix, error = {
        1: ("mass", mass, _check.not_symmetric),
        2: ("damping", damping, _check.not_symmetric),
        3: ("stiffness", stiffness, _check.not_symmetric),
        4: ("mass", mass, _check.not_positive_definite),
        5: (reference.IMPLICIT_SYSTEM, factor, _check.not_positive_definite),
    }[kind]
    axes = () if matrix is None else tuple(matrix.shape[:-2])
    return error(name, _check.place(index, axes, num_batch_axes))


def _fake(
    mass: Tensor,
    force: Tensor,
    c0: Tensor,
    v0: Tensor,
    damping: Tensor | None,
    stiffness: Tensor | None,
    dt: float,
    scheme: int,
    spans: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    c, v, acceleration = (empty_of(force) for _ in range(3))
    return c, v, acceleration, force.new_empty(_factor_shape(force, scheme, spans))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    mass, _, c0, v0, damping, stiffness, *ctx.settings = inputs
    ctx.save_for_backward(mass, c0, v0, damping, stiffness, *output)
    ctx.mark_non_differentiable(*output[2:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_c: Tensor | None, grad_v: Tensor | None, *_: Any) -> tuple[Any, ...]:
    needs = list(ctx.needs_input_grad[:6])
    if grad_c is None and grad_v is None:
        return (None,) * 9
    grads = _bwd_op(*ctx.saved_tensors, *ctx.settings, grad_c, grad_v, needs)
    return wanted_gradients(grads, needs, others=3)


def _bwd(
    mass: Tensor,
    c0: Tensor,
    v0: Tensor,
    damping: Tensor | None,
    stiffness: Tensor | None,
    c: Tensor,
    v: Tensor,
    acceleration: Tensor,
    factor: Tensor,
    dt: float,
    scheme: int,
    spans: list[int],
    grad_c: Tensor | None,
    grad_v: Tensor | None,
    needs: list[bool],
) -> list[Tensor]:
    grads = _bwd_fake(mass, c0, v0, damping, stiffness, c, needs)
    grad_mass, grad_force, grad_c0, grad_v0, grad_damping, grad_stiffness = map(buffer, grads)
    read = (mass, c0, v0, damping, stiffness, c, v, acceleration, factor, grad_c, grad_v)
    held = [dense_or_none(tensor) for tensor in read]
    mass_, c0_, v0_, damping_, stiffness_, c_, v_, acceleration_, factor_, grad_c_, grad_v_ = map(buffer, held)
    sizes = _sizes(c, dt, scheme, spans)
    scratch = workspace(c, _core.euler_rollout_bwd_workspace, sizes)
    _core.euler_rollout_bwd(
        sizes,
        mass_,
        c0_,
        v0_,
        damping_,
        stiffness_,
        c_,
        v_,
        acceleration_,
        factor_,
        grad_c_,
        grad_v_,
        grad_mass,
        grad_force,
        grad_c0,
        grad_v0,
        grad_damping,
        grad_stiffness,
        buffer(scratch),
        place(c),
    )
    return grads


def _bwd_fake(
    mass: Tensor, c0: Tensor, v0: Tensor, damping: Tensor | None, stiffness: Tensor | None, c: Tensor, *rest: Any
) -> list[Tensor]:
    # The adjoint passes through the gradient of the force: it is always computed.
    need_mass, _, *others = rest[-1]
    return empty_gradients([need_mass, True, *others], mass, c, c0, v0, damping, stiffness)


_bwd_op = register(
    "euler_rollout_bwd",
    "(Tensor mass, Tensor c0, Tensor v0, Tensor? damping, Tensor? stiffness, Tensor c, Tensor v, Tensor acceleration, "
    "Tensor factor, float dt, int scheme, int[] spans, Tensor? grad_c, Tensor? grad_v, bool[] needs) -> Tensor[]",
    _bwd,
    _bwd_fake,
)
_op = register(
    "euler_rollout",
    "(Tensor mass, Tensor force, Tensor c0, Tensor v0, Tensor? damping, Tensor? stiffness, float dt, int scheme, "
    "int[] spans) -> (Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _fake,
    _setup_context,
    _backward,
)
