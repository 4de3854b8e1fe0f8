// Generalized mass (Eq. 4): M_s = scale sum_i m_si B(i)^T B(i), B(i) = [B_1(i) ... B_K(i)] (3, K).
//
// S sequences, N vertices, K blendshapes.
#pragma once

#include <cstdint>

#include "common/isa.h"
#include "common/packed_blendshapes.h"

namespace biomechau {

template <class T> struct GeneralizedMass {
  std::int64_t num_sequences, num_vertices, num_shapes;
  T scale;
  bool is_packed;        // B is `packed`, otherwise `blendshapes`
  const T* blendshapes;  // (K, N, 3)
  const T* mass;         // (S, N)
  T* out;                // (S, K, K)
  const T* grad_out;     // (S, K, K)
  T* grad_blendshapes;   // (K, N, 3), or null
  T* grad_mass;          // (S, N), or null
  // Values of a group of V vectors of vertices and U shapes: (V, U, 3, width of a vector of 64 bytes), 0 beyond the
  // group's last vertex.
  PackedBlendshapes<T> packed;
};

template <class T> struct GeneralizedMassKernels {
  // Returns the flat index of the first mass that is negative or not finite, or -1.
  std::int64_t (*generalized_mass_fwd)(const GeneralizedMass<T>&, int num_threads);
  void (*generalized_mass_bwd)(const GeneralizedMass<T>&, int num_threads);
};

BIOMECHAU_DECLARE_KERNELS(GeneralizedMassKernels, generalized_mass_kernels)

}  // namespace biomechau
