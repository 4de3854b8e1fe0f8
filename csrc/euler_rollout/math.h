// One Euler step in parts and, beneath each, its adjoint; V is a scalar or a vector of coordinates.
//
// Shared by the CPU and CUDA kernels, and by modal_rollout: all of this file. Not shared: F^-1 and products with it, with
// D and K (cpu/system.h and euler_rollout.cpp; the .cuh files and euler_rollout.cu), and the sums over the frames that make
// the gradients of the matrices (cpu/matrix_gradient.h; euler_rollout.cu).
//
// All three schemes are one formula:
//   a = F^-1 (Q - D v - K (c + theta v)),   v+ = v + h a,   c+ = c + h v (explicit, Eq. 6) or c + h v+ (the others),
// with F = M and theta = 0, for the implicit scheme F = M + h D + h^2 K and theta = h, which is
//   (M + h D + h^2 K) v+ = M v + h (Q - K c)
// solved for the increment of v, so that no digits are lost when the step is short.
//
// Adjoint of the whole: with (lambda, mu) the gradients of (c+, v+), r = F^-1 grad_a is the gradient of Q, and the
// gradients of the matrices are sums over the frames of r times the vector that each matrix multiplies:
//   grad_M -= r a^T,   grad_D -= r v*^T,   grad_K -= r c*^T,   (c*, v*) = (c, v), for the implicit scheme (c+, v+).
#pragma once

#include "euler_rollout/euler_rollout.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

template <class T> struct Step {
  T h, theta;
  bool explicit_position;
};
template <class T> BIOMECHAU_INLINE Step<T> step_of(Scheme scheme, T dt) {
  return {dt, scheme == Scheme::implicit ? dt : T(0), scheme == Scheme::explicit_euler};
}

// c + theta v: the position that the stiffness pulls back
template <class T, class V> BIOMECHAU_INLINE V ahead(T theta, V c, V v) { return c + theta * v; }

// pull: minus the gradient of c + theta v, K r; lambda, mu: gradients of c, v, added to
template <class T, class V> BIOMECHAU_INLINE void ahead_vjp(T theta, V pull, V* lambda, V* mu) {
  *lambda = *lambda - pull;
  *mu = *mu - theta * pull;
}

// The step of c, v, given the acceleration.
template <class T, class V> BIOMECHAU_INLINE void advance(T h, bool explicit_position, V a, V* c, V* v) {
  const V before = *v;
  *v = *v + h * a;
  *c = *c + h * (explicit_position ? before : *v);
}

// lambda, mu: gradients of c+ and v+ in, of c and v out as far as they do not pass through a; returns that of a.
template <class T, class V> BIOMECHAU_INLINE V advance_vjp(T h, bool explicit_position, V* lambda, V* mu) {
  const V before = *mu;
  *mu = *mu + h * *lambda;
  return h * (explicit_position ? before : *mu);
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
