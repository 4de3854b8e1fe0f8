// One entry of a vertex's pair product B(i)^T B(i), and its derivative. T is a number, or a vector with one per vertex.
//
// Shared by the CPU and CUDA kernels: all of this file. Not shared: which shapes move a vertex, products with masses and
// output gradients, sums over vertices (cpu/, generalized_mass.cu and the .cuh beside it).
//
// The mass multiplies the product as a whole: grad_m_si = scale <G_s, B(i)^T B(i)>, and grad_B(i) = 2 scale B(i)
// sum_s m_si G_s.
#pragma once

#include "common/isa.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// <b, (x, y, z)>
template <class T> BIOMECHAU_INLINE T pair(const T* b, T x, T y, T z) { return b[0] * x + b[1] * y + b[2] * z; }

// y (3) += b g, one pair's share of B(i) G
template <class T, class G> BIOMECHAU_INLINE void pair_vjp(const T* b, const G& g, T* y) {
  for (int a = 0; a < 3; ++a) y[a] = y[a] + g * b[a];
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
