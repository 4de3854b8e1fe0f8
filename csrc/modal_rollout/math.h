// One Euler step of one mode and, right beneath, its adjoint; V is a scalar or a vector of modes.
//
// Shared by the CPU and CUDA kernels: all of this file, and the steps of euler_rollout/math.h. Not shared: the products
// that lead into the modes and out of them (modal_rollout.cpp, modal_rollout.cu).
//
//   a = g (q - d w - k (y + theta w)),   w+ = w + h a,   y+ = y + h w (explicit) or y + h w+ (the others)
#pragma once

#include "euler_rollout/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

template <class V> struct Mode {
  V gain, damping, stiffness;
};

// force q; y, w -> y+, w+
template <class T, class V>
BIOMECHAU_INLINE void modal_step(const Step<T>& step, const Mode<V>& mode, V force, V* y, V* w) {
  const V a = mode.gain * (force - mode.damping * *w - mode.stiffness * ahead(step.theta, *y, *w));
  advance(step.h, step.explicit_position, a, y, w);
}

// lambda, mu: gradients of y+, w+ in, of y and w out; returns the gradient of q
template <class T, class V>
BIOMECHAU_INLINE V modal_step_vjp(const Step<T>& step, const Mode<V>& mode, V* lambda, V* mu) {
  const V r = mode.gain * advance_vjp(step.h, step.explicit_position, lambda, mu);
  ahead_vjp(step.theta, mode.stiffness * r, lambda, mu);
  *mu = *mu - mode.damping * r;
  return r;
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
