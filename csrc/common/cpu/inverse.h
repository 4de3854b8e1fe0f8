// Symmetric matrices: their symmetric part in a panel (see panel.h), their definiteness, their inverse.
#pragma once

#include <cmath>
#include <cstring>

#include "common/cpu/transpose.h"
#include "common/pivots.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// panel = (matrix + matrix^T) / 2 of a matrix (n, n) of a tensor. Returns whether that is finite and the matrix equals
// its transpose up to `tolerance` times the largest entry.
template <class T> inline bool symmetric_part(std::int64_t n, T tolerance, const T* matrix, T* panel) {
  constexpr std::int64_t width = width_of<T>;
  using V = Vector<T>;
  V largest = V::zero(), difference = V::zero(), poison = V::zero();
  symmetrize(n, matrix, n, padded(n),
             [&](const V& x, const V& y) BIOMECHAU_INLINE_LAMBDA {
               const V mean = T(0.5) * (x + y);
               largest = V::max(largest, V::abs(mean));
               difference = V::max(difference, V::abs(x - y));
               poison = poison + T(0) * mean;  // NaN if any entry is NaN or infinite
               return mean;
             },
             ToPanel<T>{panel, padded(n)});
  T size[width], gap[width], bad[width];
  largest.store(size);
  difference.store(gap);
  poison.store(bad);
  for (std::int64_t l = 1; l < width; ++l) {
    size[0] = size[l] > size[0] ? size[l] : size[0];
    gap[0] = gap[l] > gap[0] ? gap[l] : gap[0];
    bad[0] += bad[l];
  }
  return bad[0] == 0 && gap[0] <= tolerance * size[0];
}

// Rows that are factored together.
constexpr std::int64_t pivot_block = 4;

// Operations on vectors of an inversion of a matrix (n, n).
inline double inversion_work(std::int64_t n) { return 1.0 * n * n * n / width_of<double>; }

// The Cholesky factor of a block on the diagonal, and what it does to the block's rows.
struct PivotBlock {
  double factor[pivot_block][pivot_block];  // the upper triangle of its transpose
  double scale[pivot_block];                // 1 / diagonal

  // Of minus the first `count` rows and columns in `sums`; the rest is that of the unit matrix. False when a pivot is not
  // above `tolerance` times its entry of `diagonal`, or not finite.
  bool set(std::int64_t count, const double* sums, std::int64_t row, double tolerance, const double* diagonal) {
    for (std::int64_t i = 0; i < pivot_block; ++i)
      for (std::int64_t j = 0; j < pivot_block; ++j)
        factor[i][j] = i < count && j < count ? -sums[i * row + j] : double(i == j);
    bool good = true;
    repeat<pivot_block>([&](int k) BIOMECHAU_INLINE_LAMBDA {
      const double pivot = factor[k][k];
      good = good && (k >= count || (pivot > tolerance * diagonal[k] && std::isfinite(pivot)));
      scale[k] = 1 / std::sqrt(pivot);
      repeat<pivot_block>([&](int j) BIOMECHAU_INLINE_LAMBDA {
        if (j > k) factor[k][j] *= scale[k];
      });
      repeat<pivot_block>([&](int i) BIOMECHAU_INLINE_LAMBDA {
        repeat<pivot_block>([&](int j) BIOMECHAU_INLINE_LAMBDA {
          if (k < i && i <= j) factor[i][j] -= factor[k][i] * factor[k][j];
        });
      });
    });
    return good;
  }

  // Columns [begin, end) of the first `count` rows become the solutions with the factor for minus them.
  void solve(std::int64_t count, double* rows, std::int64_t row, std::int64_t begin, std::int64_t end) const {
    using V = Vector<double>;
    for (std::int64_t j = begin; j < end; j += V::width) {
      V solution[pivot_block];
      repeat<pivot_block>([&](int r) BIOMECHAU_INLINE_LAMBDA {
        if (r >= count) return;
        V sum = V::load(rows + r * row + j);
        repeat<pivot_block>([&](int q) BIOMECHAU_INLINE_LAMBDA {
          if (q < r) sum.add_scaled(factor[q][r], solution[q]);
        });
        solution[r] = -scale[r] * sum;
        solution[r].store(rows + r * row + j);
      });
    }
  }
};

// Inverts a symmetric positive definite matrix (n, n): with S = L L^T, S^-1 = L^-T L^-1. `entries(i, j)` is the vector
// of row i from column j on; `inverse` is a panel, or null if only the definiteness is wanted. False if a pivot is
// rounding: the matrix is singular or indefinite.
//
// In double precision whatever T is. An inverse computed in single precision would add its own error to the solution of
// every right-hand side, however small the solution; one that is only rounded at the end gives solutions about as good
// as substitution with a factor in single precision. It costs no extra time: Gauss-Jordan elimination in single
// precision does not use the symmetry and takes twice the operations, on vectors of twice the elements.
template <class T, class Entries> bool invert(std::int64_t n, const Entries& entries, T* inverse) {
  constexpr std::int64_t width = width_of<double>, group = (tile_cols > 1 ? 2 : 1) * width;
  using V = Vector<double>;
  const std::int64_t end = (n + width - 1) / width * width, row = end + group, out_row = padded(n);
  Scratch<double> memory(n * row);
  double *const lower = memory.data(), *const upper = lower + group;  // L^-1 and L^T, no place is of both
  for (std::int64_t p = 0; p < n; p += pivot_block) {
    const std::int64_t count = min_of(pivot_block, n - p), at = p / width * width;  // the vector of the diagonal
    double *const upper_rows = upper + p * row, *const lower_rows = lower + p * row;
    double diagonal[pivot_block];
    alignas(64) double lanes[width], minus_unit[pivot_block][width] = {};
    for (std::int64_t r = 0; r < count; ++r) {
      entries(p + r, at).store(lanes);
      diagonal[r] = lanes[p + r - at];
      minus_unit[r][p + r - at] = -1;
    }
    const auto minus_entries = [&](std::int64_t r, std::int64_t j)
                                   BIOMECHAU_INLINE_LAMBDA { return -1.0 * entries(p + r, j); };
    const Rows<double> left{upper + p, 1, row};
    product(count, p, left, upper, row, at, at + width, minus_entries, ToPanel<double>{upper_rows, row});
    PivotBlock block;
    if (!block.set(count, upper_rows + p, row, pivot_tolerance<T, double>(n), diagonal)) return false;
    product(count, p, left, upper, row, at + width, end, minus_entries, ToPanel<double>{upper_rows, row});
    block.solve(count, upper_rows, row, at, end);
    if (!inverse) continue;
    // Column j of L^-1 begins in row j.
    const auto left_from = [&](std::int64_t k) { return Rows<double>{upper + k * row + p, 1, row}; };
    const ToPanel<double> to_lower{lower_rows, row};
    for (std::int64_t j = 0; j < at; j += group)
      product(count, p - j, left_from(j), lower + j * row, row, j, min_of(at, j + group), FromZero<double>{}, to_lower);
    product(count, p - at, left_from(at), lower + at * row, row, at, at + width,
            [&](std::int64_t r, std::int64_t) BIOMECHAU_INLINE_LAMBDA { return V::load(minus_unit[r]); }, to_lower);
    block.solve(count, lower_rows, row, 0, at + width);
    for (std::int64_t r = 0; r < count; ++r)
      std::memset(lower_rows + r * row + at + width, 0, (group - width) * sizeof(double));
  }
  if (!inverse) return true;
  for (std::int64_t p = 0; p < n; p += pivot_block) {
    const std::int64_t count = min_of(pivot_block, n - p), at = p / width * width;
    for (std::int64_t j = at; j < end; j += group) {
      const std::int64_t k = max_of(p, j);
      product(count, n - k, Rows<double>{lower + k * row + p, 1, row}, lower + k * row, row, j, min_of(end, j + group),
              FromZero<double>{}, [&](std::int64_t r, std::int64_t i, const V& sum) BIOMECHAU_INLINE_LAMBDA {
                sum.store_as(inverse + (p + r) * out_row + i);
              });
    }
    for (std::int64_t i = p; i < p + count; ++i) {
      for (std::int64_t j = 0; j < at; ++j) inverse[i * out_row + j] = inverse[j * out_row + i];
      std::memset(inverse + i * out_row + end, 0, (out_row - end) * sizeof(T));
    }
  }
  return true;
}

// The entries of a matrix in a panel.
template <class T> struct PanelEntries {
  const T* panel;
  std::int64_t row;
  Vector<double> operator()(std::int64_t i, std::int64_t j) const {
    return Vector<double>::load_as(panel + i * row + j);
  }
};

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
