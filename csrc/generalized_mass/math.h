// One row of one vertex's pair product B(i)^T B(i), and the derivative of its contraction with G. The mass multiplies
// the product as a whole: grad_m_si = scale <G_s, B(i)^T B(i)>.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// <b, (x, y, z)>
template <class T> BIOMECHAU_INLINE T pair(const T* b, T x, T y, T z) { return b[0] * x + b[1] * y + b[2] * z; }

// y (3) += b g, one pair's share of Y below
template <class T> BIOMECHAU_INLINE void pair_vjp(const T* b, T g, T* y) {
  for (int a = 0; a < 3; ++a) y[a] += b[a] * g;
}

// row (n) = bx X + by Y + bz Z: the products of one shape's displacement b (3) with those of n shapes, by axis.
template <class T>
inline void pair_row(std::int64_t n, const T* b, const T* __restrict x, const T* __restrict y, const T* __restrict z,
                     T* __restrict row) {
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) row[j] = pair(b, x[j], y[j], z[j]);
}

// y_a (n) += b_a g: one shape's share of Y = B(i) G, with G = sum_s m_si G_s, from which grad_B(i) = 2 scale Y.
template <class T>
inline void pair_row_vjp(std::int64_t n, const T* b, const T* __restrict g, T* __restrict y0, T* __restrict y1,
                         T* __restrict y2) {
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) {
    y0[j] += b[0] * g[j];
    y1[j] += b[1] * g[j];
    y2[j] += b[2] * g[j];
  }
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
