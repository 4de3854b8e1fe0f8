// M c'' + D c' + K c = Q integrated by Euler steps (Eq. 4-6), and its adjoint.
//
// S sequences, T frames, K coordinates. M, D, K are symmetric: only their symmetric parts are read, gradients are
// symmetric. M has L matrices: one in all, one per sequence, or (not with the implicit scheme) one per frame.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace biomechau {

// Python uses the numbers below too, and reads their names from here, in the same order.
enum class Scheme : int { explicit_euler = 0, semi_implicit = 1, implicit = 2 };
constexpr const char* scheme_names[] = {"explicit", "semi_implicit", "implicit"};

// How many matrices there are of one kind.
enum class Span : int { none = 0, shared = 1, per_sequence = 2, per_frame = 3 };
constexpr const char* span_names[] = {"none", "shared", "per_sequence", "per_frame"};

// Largest difference of a matrix from its transpose, as a share of its largest entry: far above rounding, far below a
// matrix passed by mistake.
constexpr double symmetry_tolerance = 1e-3;

template <class T> struct EulerRollout {
  std::int64_t num_sequences, num_frames, num_coordinates;
  Scheme scheme;
  T dt;
  Span mass_span, damping_span, stiffness_span;
  // inputs
  const T* mass;       // (L, K, K)
  const T* force;      // (S, T, K)
  const T* c0;         // (S, K)
  const T* v0;         // (S, K)
  const T* damping;    // (1 or S, K, K), or null
  const T* stiffness;  // (1 or S, K, K), or null
  // outputs
  T* c;                // (S, T, K) c_1 .. c_T
  T* v;                // (S, T, K) v_1 .. v_T
  T* acceleration;     // (S, T, K) (v_t+1 - v_t) / h, kept for the backward pass: the difference would lose digits
  T* inverse;          // (L', K, K) inverses of the matrices that are solved with, kept for the backward pass
  // gradients of the outputs; null: zero
  const T* grad_c;     // (S, T, K)
  const T* grad_v;     // (S, T, K)
  // gradients of the inputs; null: not wanted (grad_force is always written, the others are sums over it)
  T* grad_mass;        // (L, K, K)
  T* grad_force;       // (S, T, K)
  T* grad_c0;          // (S, K)
  T* grad_v0;          // (S, K)
  T* grad_damping;     // as damping
  T* grad_stiffness;   // as stiffness

  // The implicit scheme solves with M + h D + h^2 K, the others with M.
  BIOMECHAU_INLINE Span inverse_span() const {
    if (scheme != Scheme::implicit) return mass_span;
    Span widest = mass_span;
    if (damping_span > widest) widest = damping_span;
    if (stiffness_span > widest) widest = stiffness_span;
    return widest;
  }
  BIOMECHAU_INLINE std::int64_t count(Span span) const {
    switch (span) {
      case Span::none: return 0;
      case Span::shared: return 1;
      case Span::per_sequence: return num_sequences;
      default: return num_sequences * num_frames;
    }
  }
  // Index of the matrix that frame t of sequence s uses.
  BIOMECHAU_INLINE std::int64_t index(Span span, std::int64_t s, std::int64_t t) const {
    switch (span) {
      case Span::per_sequence: return s;
      case Span::per_frame: return s * num_frames + t;
      default: return 0;
    }
  }
};

// Why a rollout cannot run: which matrix is not symmetric (or not finite), or not positive definite. The kinds are checked
// in this order.
struct RolloutFault {
  enum Kind : int {
    none = 0,
    mass_asymmetric = 1,
    damping_asymmetric = 2,
    stiffness_asymmetric = 3,
    mass_indefinite = 4,
    system_indefinite = 5
  };
  Kind kind = none;
  std::int64_t index = -1;
};
constexpr const char* fault_names[] = {"none",                 "mass_asymmetric", "damping_asymmetric",
                                       "stiffness_asymmetric", "mass_indefinite", "system_indefinite"};
// A GPU reports a fault as one number: the index in this many bits, the kind above them.
constexpr int fault_index_bits = 48;

template <class T> struct EulerRolloutKernels {
  RolloutFault (*euler_rollout_fwd)(const EulerRollout<T>&, int num_threads);
  void (*euler_rollout_bwd)(const EulerRollout<T>&, int num_threads);
};

BIOMECHAU_DECLARE_KERNELS(EulerRolloutKernels, euler_rollout_kernels)

}  // namespace biomechau
