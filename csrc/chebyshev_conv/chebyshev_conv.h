// Chebyshev graph convolution: y = sum_k T_k(S) x W_k + b, with T_0 = 1, T_1 = S, T_k = 2 S T_{k-1} - T_{k-2}.
//
// X frames, N vertices, C channels in, D channels out, K terms, E entries of the operator S (N, N), which is symmetric.
// With `vertices` only P of the N vertices have an output: V = P, otherwise V = N.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace biomechau {

template <class T> struct SymmetricOperator {
  std::int64_t num_vertices, num_entries;
  const std::int64_t* crow;   // (N + 1)
  const std::int64_t* col;    // (E)
  const T* val;               // (E)
  const std::int64_t* order;  // (N) a permutation of the vertices with neighbours close to each other; a hint
};

template <class T> struct ChebyshevConv {
  SymmetricOperator<T> laplacian;
  std::int64_t num_frames, num_terms, num_inputs, num_outputs, num_kept;
  const T* x;                    // (X, N, C)
  const T* weight;               // (K, C, D)
  const T* bias;                 // (D), or null; forward only
  const std::int64_t* vertices;  // (P) ascending, or null: every vertex has an output
  T* out;                        // (X, V, D)
  const T* grad_out;             // (X, V, D)
  T* grad_x;                     // (X, N, C), or null
  T* grad_weight;                // (K, C, D), or null
  T* grad_bias;                  // (D), or null
};

template <class T> struct ChebyshevConvKernels {
  void (*chebyshev_conv_fwd)(const ChebyshevConv<T>&, int num_threads);
  void (*chebyshev_conv_bwd)(const ChebyshevConv<T>&, int num_threads);
};

BIOMECHAU_DECLARE_KERNELS(ChebyshevConvKernels, chebyshev_conv_kernels)

}  // namespace biomechau
