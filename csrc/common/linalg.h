// Small dense linear algebra of the CPU kernels. Row-major; every loop runs along contiguous memory and in an order
// that does not depend on the number of threads.
#pragma once

#include <cstdint>

#include "common/cpu.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// y (n) += a x (n)
template <class T> inline void axpy(std::int64_t n, T a, const T* __restrict x, T* __restrict y) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

// <x, y> of two vectors (n)
template <class T> inline T dot(std::int64_t n, const T* x, const T* y) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

// C (rows, cols) = A (rows, inner) B (inner, cols), rows of C in parallel.
template <class T>
void matmul(std::int64_t rows, std::int64_t inner, std::int64_t cols, const T* a, const T* b, T* c, int num_threads) {
  constexpr std::int64_t block = 16;
  parallel_for((rows + block - 1) / block, 2.0 * rows * inner * cols, num_threads, [=](std::int64_t task) {
    for (std::int64_t i = task * block; i < min_of(rows, (task + 1) * block); ++i) {
      T* row = c + i * cols;
      for (std::int64_t j = 0; j < cols; ++j) row[j] = 0;
      for (std::int64_t l = 0; l < inner; ++l) axpy(cols, a[i * inner + l], b + l * cols, row);
    }
  });
}

// C (rows, cols) = A^T B for A (inner, rows) and B (inner, cols), rows of C in parallel; the sum runs over `inner` in order.
template <class T>
void matmul_transposed(std::int64_t rows, std::int64_t inner, std::int64_t cols, const T* a, const T* b, T* c,
                       int num_threads) {
  parallel_for(rows, 2.0 * rows * inner * cols, num_threads, [=](std::int64_t i) {
    T* row = c + i * cols;
    for (std::int64_t j = 0; j < cols; ++j) row[j] = 0;
    for (std::int64_t l = 0; l < inner; ++l) axpy(cols, a[l * rows + i], b + l * cols, row);
  });
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
