// One Euler step and, right beneath, its adjoint. All three schemes are one formula:
//   a = F^-1 (Q - D v - K (c + theta v)),   v+ = v + h a,   c+ = c + h v (explicit, Eq. 6) or c + h v+ (the others),
// with F = M and theta = 0, for the implicit scheme F = M + h D + h^2 K and theta = h, which is
//   (M + h D + h^2 K) v+ = M v + h (Q - K c)
// solved for the increment of v, so that no digits are lost when the step is short.
#pragma once

#include <cstdint>

#include "common/linalg.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// One coordinate of the step, given its acceleration.
template <class T> BIOMECHAU_INLINE void advance(T h, bool explicit_position, T a, T* c, T* v) {
  const T before = *v;
  *v += h * a;
  *c += h * (explicit_position ? before : *v);
}
// lambda, mu: gradients of c+ and v+ in, of c and v out as far as they do not pass through a; returns that of a.
template <class T> BIOMECHAU_INLINE T advance_vjp(T h, bool explicit_position, T* lambda, T* mu) {
  if (!explicit_position) *mu += h * *lambda;
  const T grad_a = h * *mu;
  if (explicit_position) *mu += h * *lambda;
  return grad_a;
}

template <class T> struct Step {
  std::int64_t n;
  T h, theta;
  bool explicit_position;
  const T* damping;    // (n, n) symmetric, or null
  const T* stiffness;  // (n, n) symmetric, or null
  const T* factor;     // of F
};

// force, c, v (n) -> a, c_next, v_next (n)
template <class T>
inline void euler_step(const Step<T>& step, const T* force, const T* c, const T* v, T* a, T* c_next, T* v_next) {
  const std::int64_t n = step.n;
  for (std::int64_t k = 0; k < n; ++k) {
    a[k] = force[k];
    c_next[k] = c[k] + step.theta * v[k];
  }
  if (step.damping) symmetric_apply(n, T(-1), step.damping, v, a);
  if (step.stiffness) symmetric_apply(n, T(-1), step.stiffness, c_next, a);
  cholesky_solve(n, step.factor, a);
  for (std::int64_t k = 0; k < n; ++k) {
    c_next[k] = c[k];
    v_next[k] = v[k];
    advance(step.h, step.explicit_position, a[k], c_next + k, v_next + k);
  }
}

// lambda, mu (n): gradients of c+ and v+ in, of c and v out; r (n): gradient of Q out. The gradients of the matrices
// are sums over the frames of r with what multiplies them:
//   grad_M -= r a^T,   grad_D -= r v*^T,   grad_K -= r c*^T,   (c*, v*) = (c, v), for the implicit scheme (c+, v+).
template <class T> inline void euler_step_vjp(const Step<T>& step, T* lambda, T* mu, T* r) {
  const std::int64_t n = step.n;
  for (std::int64_t k = 0; k < n; ++k) r[k] = advance_vjp(step.h, step.explicit_position, lambda + k, mu + k);
  cholesky_solve(n, step.factor, r);
  if (step.damping) symmetric_apply(n, T(-1), step.damping, r, mu);
  if (step.stiffness) {
    if (step.theta != 0) symmetric_apply(n, -step.theta, step.stiffness, r, mu);
    symmetric_apply(n, T(-1), step.stiffness, r, lambda);
  }
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
