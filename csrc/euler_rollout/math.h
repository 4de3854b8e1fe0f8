// One Euler step of each scheme and, right beneath, its adjoint.
//
// `Matrices` holds, for one frame, the symmetric M, D, K (D, K may be null) and the Cholesky factor of what the scheme
// solves with. In the adjoints lambda and mu come in as the gradients of c+ and v+ and leave as those of c and v;
// r leaves as the gradient of Q. The gradients of the matrices are sums of r with the states that multiply them:
//   grad_M -= r ((v+ - v) / h)^T,   grad_D -= r v*^T,   grad_K -= r c*^T,
// with (c*, v*) = (c, v), for the implicit scheme (c+, v+).
#pragma once

#include <cstdint>

#include "common/linalg.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

template <class T> struct Matrices {
  std::int64_t n;
  const T* mass;
  const T* damping;
  const T* stiffness;
  const T* factor;
};

// c+ = c + h v;  v+ = v + h M^-1 (Q - D v - K c)          (explicit, Eq. 6)
// v+ = v + h M^-1 (Q - D v - K c);  c+ = c + h v+          (semi-implicit)
template <class T>
inline void step_with_acceleration(const Matrices<T>& m, T h, bool explicit_position, const T* force, const T* c,
                                   const T* v, T* c_next, T* v_next) {
  for (std::int64_t k = 0; k < m.n; ++k) v_next[k] = force[k];
  if (m.damping) symmetric_apply(m.n, T(-1), m.damping, v, v_next);
  if (m.stiffness) symmetric_apply(m.n, T(-1), m.stiffness, c, v_next);
  cholesky_solve(m.n, m.factor, v_next);
  for (std::int64_t k = 0; k < m.n; ++k) {
    v_next[k] = v[k] + h * v_next[k];
    c_next[k] = c[k] + h * (explicit_position ? v[k] : v_next[k]);
  }
}
template <class T>
inline void step_with_acceleration_vjp(const Matrices<T>& m, T h, bool explicit_position, T* lambda, T* mu, T* r) {
  if (!explicit_position) axpy(m.n, h, lambda, mu);
  for (std::int64_t k = 0; k < m.n; ++k) r[k] = h * mu[k];
  cholesky_solve(m.n, m.factor, r);
  if (explicit_position) axpy(m.n, h, lambda, mu);
  if (m.damping) symmetric_apply(m.n, T(-1), m.damping, r, mu);
  if (m.stiffness) symmetric_apply(m.n, T(-1), m.stiffness, r, lambda);
}

// (M + h D + h^2 K) v+ = M v + h (Q - K c);  c+ = c + h v+   (implicit)
template <class T>
inline void step_implicit(const Matrices<T>& m, T h, const T* force, const T* c, const T* v, T* c_next, T* v_next) {
  for (std::int64_t k = 0; k < m.n; ++k) v_next[k] = h * force[k];
  symmetric_apply(m.n, T(1), m.mass, v, v_next);
  if (m.stiffness) symmetric_apply(m.n, -h, m.stiffness, c, v_next);
  cholesky_solve(m.n, m.factor, v_next);
  for (std::int64_t k = 0; k < m.n; ++k) c_next[k] = c[k] + h * v_next[k];
}
template <class T> inline void step_implicit_vjp(const Matrices<T>& m, T h, T* lambda, T* mu, T* r) {
  axpy(m.n, h, lambda, mu);
  for (std::int64_t k = 0; k < m.n; ++k) r[k] = mu[k];
  cholesky_solve(m.n, m.factor, r);
  for (std::int64_t k = 0; k < m.n; ++k) mu[k] = 0;
  symmetric_apply(m.n, T(1), m.mass, r, mu);
  for (std::int64_t k = 0; k < m.n; ++k) r[k] *= h;
  if (m.stiffness) symmetric_apply(m.n, T(-1), m.stiffness, r, lambda);
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
