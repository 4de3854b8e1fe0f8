// One entry of the Chebyshev recurrence, and of its transpose right beneath. V is a number or a vector of numbers.
//
// Shared by the CPU and CUDA kernels: all of this file. Not shared: products with S and with the weights (cpu/band.h,
// cpu/tiles.h, chebyshev_conv.cu, products.cuh).
//
// S is symmetric, so the derivative of y = sum_k T_k(S) x W_k is of the same kind: grad_x = sum_k T_k(S) grad_y W_k^T,
// grad_W_k = (T_k(S) x)^T grad_y.
#pragma once

#include "common/isa.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// T_k = 2 S T_{k-1} - T_{k-2} for k >= 2; T_1 = S T_0.
template <class V> BIOMECHAU_INLINE V next_term(const V& product, const V& before) { return product + product - before; }

// Clenshaw: y = sum_k T_k(S) h_k = h_0 + S b_1 - b_2 with b_k = h_k + 2 S b_{k+1} - b_{k+2}.
template <class V> BIOMECHAU_INLINE V clenshaw_term(const V& h, const V& product, const V& after) {
  return h + (product + product - after);
}
template <class V> BIOMECHAU_INLINE V clenshaw_sum(const V& h, const V& product, const V& after) {
  return h + (product - after);
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
