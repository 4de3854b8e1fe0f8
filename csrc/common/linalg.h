// Small dense linear algebra of the CPU kernels. Row-major; every loop runs along contiguous memory and in an order
// that does not depend on the number of threads.
#pragma once

#include <cmath>
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

// y (n) += a S x for a symmetric S (n, n)
template <class T> inline void symmetric_apply(std::int64_t n, T a, const T* matrix, const T* x, T* y) {
  for (std::int64_t j = 0; j < n; ++j) axpy(n, a * x[j], matrix + j * n, y);
}

// out (n, n) = (in + in^T) / 2
template <class T> inline void symmetrize(std::int64_t n, const T* in, T* out) {
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j <= i; ++j) out[i * n + j] = out[j * n + i] = (in[i * n + j] + in[j * n + i]) / 2;
}

// Whether a matrix (n, n) is finite and equals its transpose up to `tolerance` times its largest entry.
template <class T> inline bool is_symmetric(std::int64_t n, T tolerance, const T* matrix) {
  T largest = 0, difference = 0;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      const T size = std::fabs(matrix[i * n + j]), gap = std::fabs(matrix[i * n + j] - matrix[j * n + i]);
      if (!std::isfinite(size)) return false;
      largest = size > largest ? size : largest;
      difference = gap > difference ? gap : difference;
    }
  return difference <= tolerance * largest;
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

// Upper factor U of S = U^T U, in place in the upper triangle of S (n, n); the diagonal holds 1 / U_jj.
// False when a pivot is not above rounding against its diagonal entry: S is singular or indefinite.
template <class T> bool cholesky(std::int64_t n, T epsilon, T* matrix) {
  for (std::int64_t j = 0; j < n; ++j) {
    T* row = matrix + j * n;
    T removed = 0;  // what the rows above took from this diagonal entry: pivot + removed = S_jj
    for (std::int64_t i = 0; i < j; ++i) removed += matrix[i * n + j] * matrix[i * n + j];
    const T pivot = row[j];
    if (!(pivot > epsilon * static_cast<T>(n) * (pivot + removed)) || !std::isfinite(pivot)) return false;
    const T inverse = 1 / std::sqrt(pivot);
    row[j] = inverse;
    for (std::int64_t l = j + 1; l < n; ++l) row[l] *= inverse;
    for (std::int64_t i = j + 1; i < n; ++i) axpy(n - i, -row[i], row + i, matrix + i * n + i);
  }
  return true;
}

// x (n) = S^-1 x, from the factor that `cholesky` left.
template <class T> inline void cholesky_solve(std::int64_t n, const T* factor, T* x) {
  for (std::int64_t j = 0; j < n; ++j) {
    x[j] *= factor[j * n + j];
    axpy(n - j - 1, -x[j], factor + j * n + j + 1, x + j + 1);
  }
  for (std::int64_t j = n; j-- > 0;)
    x[j] = (x[j] - dot(n - j - 1, factor + j * n + j + 1, x + j + 1)) * factor[j * n + j];
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
