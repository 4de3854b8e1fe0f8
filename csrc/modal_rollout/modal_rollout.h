// M c'' + D c' + K c = A F + Q with constant matrices, integrated by Euler steps in coordinates where every matrix is
// diagonal, and its adjoint: matrix products around independent scalar recurrences.
//
// S sequences, T frames, K coordinates and as many modes, I components of muscle force (0: no projection A). With the
// load matrix L, each mode by itself:
//   q = L Q + L A F,   a = gain (q - damping w - stiffness (y + theta w)), w+ = w + h a, y+ = ...
// With D or K (has_modes) the columns of E = L^T are the normal modes: E^T M E = 1, E^T K E = diag(stiffness),
// E^T D E = diag(damping), gain = 1 / (1 + h damping + h^2 stiffness) for the implicit scheme, 1 for the others;
//   c = E y, v = E w,  starting from y_0 = E^-1 c_0, w_0 = E^-1 v_0.
// Without them the coordinates stay, c = y and v = w, and L = M^-1, gain = 1.
#pragma once

#include <cstdint>

#include "common/isa.h"
#include "euler_rollout/euler_rollout.h"

namespace biomechau {

template <class T> struct ModalRollout {
  std::int64_t num_sequences, num_frames, num_coordinates, num_inputs;
  Scheme scheme;
  T dt;
  bool has_modes;
  // inputs
  const T* constants;     // see below
  const T* force;         // (S, T, K) Q, or null
  const T* muscle_force;  // (S, T, I) F, or null
  const T* c0;            // (S, K)
  const T* v0;            // (S, K)
  // outputs
  T* c;                   // (S, T, K) c_1 .. c_T
  T* v;                   // (S, T, K) v_1 .. v_T
  // gradients of the outputs; null: zero
  const T* grad_c;        // (S, T, K)
  const T* grad_v;        // (S, T, K)
  // gradients of the inputs; null: not wanted
  T* grad_force;          // (S, T, K)
  T* grad_muscle_force;   // (S, T, I)
  T* grad_c0;             // (S, K)
  T* grad_v0;             // (S, K)

  // The constants lie one after the other, rows padded with zeros to a multiple of 16 (K' and I' long), each matrix in
  // both orientations so that every product runs along rows:
  //   gain, damping, stiffness (K')
  //   L^T (K coordinates, K'), L (K modes, K')
  //   with modes: E^-T (K coordinates, K'), E^-1 (K modes, K')
  //   with a projection: (L A)^T (I, K'), L A (K modes, I')
  static constexpr std::int64_t row_multiple = 16;
  BIOMECHAU_INLINE std::int64_t row() const { return padded(num_coordinates); }
  BIOMECHAU_INLINE std::int64_t input_row() const { return padded(num_inputs); }
  BIOMECHAU_INLINE const T* gain() const { return constants; }
  BIOMECHAU_INLINE const T* damping() const { return constants + row(); }
  BIOMECHAU_INLINE const T* stiffness() const { return constants + 2 * row(); }
  BIOMECHAU_INLINE const T* load_t() const { return constants + 3 * row(); }
  BIOMECHAU_INLINE const T* load() const { return load_t() + square(); }
  BIOMECHAU_INLINE const T* inverse_t() const { return load_t() + 2 * square(); }
  BIOMECHAU_INLINE const T* inverse() const { return load_t() + 3 * square(); }
  BIOMECHAU_INLINE const T* projection_t() const { return load_t() + (has_modes ? 4 : 2) * square(); }
  BIOMECHAU_INLINE const T* projection() const { return projection_t() + num_inputs * row(); }
  BIOMECHAU_INLINE std::int64_t num_constants() const {
    return (3 + (has_modes ? 4 : 2) * num_coordinates + num_inputs) * row() + num_coordinates * input_row();
  }

 private:
  BIOMECHAU_INLINE static std::int64_t padded(std::int64_t size) {
    return (size + row_multiple - 1) / row_multiple * row_multiple;
  }
  BIOMECHAU_INLINE std::int64_t square() const { return num_coordinates * row(); }
};

template <class T> struct ModalRolloutKernels {
  void (*modal_rollout_fwd)(const ModalRollout<T>&, int num_threads);
  void (*modal_rollout_bwd)(const ModalRollout<T>&, int num_threads);
};

BIOMECHAU_DECLARE_KERNELS(ModalRolloutKernels, modal_rollout_kernels)

}  // namespace biomechau
