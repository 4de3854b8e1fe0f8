// One entry of the distribution matrix: what it adds, and its derivative right beneath.
//
// Shared by the CPU and CUDA kernels: all of this file. Not shared: the sums of whole vectors by which the CPU projects
// blendshapes (cpu/dense_projection.h, cpu/packed_projection.h); they take from here the gradient of one entry alone.
#pragma once

#include "common/isa.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// out (3) += p f
template <class T> BIOMECHAU_INLINE void spread_vector(T p, const T* f, T* out) {
  for (int a = 0; a < 3; ++a) out[a] += p * f[a];
}
template <class T> BIOMECHAU_INLINE T spread_vector_vjp_p(const T* f, const T* grad_out) {
  return f[0] * grad_out[0] + f[1] * grad_out[1] + f[2] * grad_out[2];
}
template <class T> BIOMECHAU_INLINE void spread_vector_vjp_f(T p, const T* grad_out, T* grad_f) {
  for (int a = 0; a < 3; ++a) grad_f[a] += p * grad_out[a];
}

// out (3) += p d f, one scalar force along the direction d (3)
template <class T> BIOMECHAU_INLINE void spread_fibre(T p, const T* d, T f, T* out) {
  for (int a = 0; a < 3; ++a) out[a] += p * f * d[a];
}
template <class T> BIOMECHAU_INLINE T spread_fibre_vjp_f(T p, const T* d, const T* grad_out) {
  return p * (d[0] * grad_out[0] + d[1] * grad_out[1] + d[2] * grad_out[2]);
}
// The two remaining derivatives share w (3) = sum over what multiplies p d of (f grad_out):
// grad_p = <w, d>, grad_d = p w.

// The reduced projection A is the same with a shape for a frame, transposed: A[k,m] takes the vjp_f of B_k(i).

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
