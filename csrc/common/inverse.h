// Symmetric matrices in panels (see panel.h): their symmetric part, their definiteness, their inverse.
#pragma once

#include <cmath>

#include "common/panel.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

template <class T> constexpr T epsilon = sizeof(T) == 4 ? T(1.1920929e-07) : T(2.220446049250313e-16);

// panel = (matrix + matrix^T) / 2 of a matrix (n, n) of a tensor. Whether the matrix is finite and equals its transpose
// up to `tolerance` times its largest entry.
template <class T> inline bool symmetric_part(std::int64_t n, T tolerance, const T* matrix, T* panel) {
  constexpr std::int64_t width = width_of<T>;
  using V = Vector<T>;
  const std::int64_t row = padded(n);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) panel[j * row + i] = matrix[i * n + j];
    for (std::int64_t j = n; j < row; ++j) panel[i * row + j] = 0;
  }
  V largest = V::zero(), difference = V::zero(), poison = V::zero();
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; j += width) {
      const V x = V::load_first(matrix + i * n + j, n - j), y = V::load(panel + i * row + j);
      largest = V::max(largest, V::abs(x));
      difference = V::max(difference, V::abs(x - y));
      poison = poison + T(0) * x;  // NaN if any entry is NaN or infinite
      (T(0.5) * (x + y)).store(panel + i * row + j);
    }
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

// Gauss-Jordan elimination of a symmetric positive definite matrix (n, n), a few pivots at a time: the panel becomes
// the inverse, or, if only the definiteness is asked for, nothing of use. Pivots are those of the Cholesky
// factorization squared. False when one is not above rounding against its diagonal entry: singular or indefinite.
template <class T> bool invert(std::int64_t n, T* panel, bool only_definiteness = false) {
  constexpr std::int64_t block = 4, width = width_of<T>;
  using V = Vector<T>;
  const std::int64_t row = padded(n);
  Scratch<T> memory((1 + block) * n);
  T *const diagonal = memory.data(), *const factors = diagonal + n;  // what each row takes of the pivots' rows
  for (std::int64_t i = 0; i < n; ++i) diagonal[i] = panel[i * row + i];

  for (std::int64_t p = 0; p < n; p += block) {
    const std::int64_t count = min_of(block, n - p), begin = only_definiteness ? p / width * width : 0;
    for (std::int64_t k = p; k < p + count; ++k) {
      T* pivots = panel + k * row;
      const T pivot = pivots[k];
      if (!(pivot > epsilon<T> * static_cast<T>(n) * diagonal[k]) || !std::isfinite(pivot)) return false;
      const T inverse = 1 / pivot;
      pivots[k] = 1;
      for (std::int64_t j = begin; j < row; j += width) (inverse * V::load(pivots + j)).store(pivots + j);
      for (std::int64_t i = p; i < p + count; ++i) {
        if (i == k) continue;
        T* other = panel + i * row;
        const T factor = -other[k];
        other[k] = 0;
        for (std::int64_t j = begin; j < row; j += width) {
          V sum = V::load(other + j);
          sum.add_scaled(factor, V::load(pivots + j));
          sum.store(other + j);
        }
      }
    }
    const auto eliminate = [&](std::int64_t first, std::int64_t last) {
      T* const rows = panel + first * row;
      for (std::int64_t i = 0; i < last - first; ++i)
        for (std::int64_t k = 0; k < count; ++k) {
          factors[i * block + k] = -rows[i * row + p + k];
          rows[i * row + p + k] = 0;
        }
      product(last - first, count, Rows<T>{factors, block}, panel + p * row, row, begin, row,
              [&](std::int64_t r, std::int64_t j) { return V::load(rows + r * row + j); }, ToPanel<T>{rows, row});
    };
    if (!only_definiteness) eliminate(0, p);
    eliminate(p + count, n);
  }
  return true;
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
