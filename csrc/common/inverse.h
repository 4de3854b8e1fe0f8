// Symmetric matrices in panels (see panel.h): their symmetric part, their definiteness, their inverse.
#pragma once

#include <cmath>
#include <cstring>

#include "common/transpose.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

template <class T> constexpr T epsilon = sizeof(T) == 4 ? T(1.1920929e-07) : T(2.220446049250313e-16);

// panel = (matrix + matrix^T) / 2 of a matrix (n, n) of a tensor. Whether that is finite and the matrix equals its
// transpose up to `tolerance` times the largest entry.
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

// Pivots that are eliminated together.
constexpr std::int64_t pivot_block = 4;

// The inverse of the first `count` rows and columns of a block, by Gauss-Jordan elimination; the rest is that of the
// unit matrix. False when a pivot is not above `tolerance` times its entry of `diagonal`, or not finite.
template <class T>
inline bool invert_block(std::int64_t count, T tolerance, const T* diagonal, const T* rows, std::int64_t row,
                         T (&inverse)[pivot_block][pivot_block]) {
  for (std::int64_t i = 0; i < pivot_block; ++i)
    for (std::int64_t j = 0; j < pivot_block; ++j)
      inverse[i][j] = i < count && j < count ? rows[i * row + j] : T(i == j);
  bool good = true;
  repeat<pivot_block>([&](int k) BIOMECHAU_INLINE_LAMBDA {
    const T pivot = inverse[k][k];
    good = good && (k >= count || (pivot > tolerance * diagonal[k] && std::isfinite(pivot)));
    const T scale = 1 / pivot;
    inverse[k][k] = 1;
    repeat<pivot_block>([&](int j) BIOMECHAU_INLINE_LAMBDA { inverse[k][j] *= scale; });
    repeat<pivot_block>([&](int i) BIOMECHAU_INLINE_LAMBDA {
      if (i == k) return;
      const T factor = inverse[i][k];
      inverse[i][k] = 0;
      repeat<pivot_block>([&](int j) BIOMECHAU_INLINE_LAMBDA { inverse[i][j] -= factor * inverse[k][j]; });
    });
  });
  return good;
}

// Gauss-Jordan elimination of a symmetric positive definite matrix (n, n), some pivots at a time: the panel becomes the
// inverse, or, if only the definiteness is asked for, nothing of use. Pivots are those of the Cholesky factorization
// squared. False when one is not above rounding against its diagonal entry: singular or indefinite.
template <class T> bool invert(std::int64_t n, T* panel, bool only_definiteness = false) {
  constexpr std::int64_t width = width_of<T>;
  using V = Vector<T>;
  const std::int64_t row = padded(n);
  Scratch<T> memory((pivot_block + 1) * row + pivot_block * n);
  T *const diagonal = memory.data(), *const minus_pivots = diagonal + row;
  T* const factors = minus_pivots + pivot_block * row;
  for (std::int64_t i = 0; i < n; ++i) diagonal[i] = panel[i * row + i];

  for (std::int64_t p = 0; p < n; p += pivot_block) {
    const std::int64_t count = min_of(pivot_block, n - p), begin = only_definiteness ? p / width * width : 0;
    T* const rows = panel + p * row;
    // With D the diagonal block: its rows become D^-1 times what they are, and D itself D^-1.
    alignas(64) T inverse[pivot_block][pivot_block];
    if (!invert_block(count, epsilon<T> * static_cast<T>(n), diagonal + p, rows + p, row, inverse)) return false;
    const std::int64_t at = p / width * width;  // the vector that holds D
    alignas(64) T lanes[width], own[pivot_block][width] = {};
    for (std::int64_t l = 0; l < width; ++l) lanes[l] = T(at + l < p || at + l >= p + count);
    for (std::int64_t r = 0; r < count; ++r)
      for (std::int64_t k = 0; k < count; ++k) own[r][p + k - at] = inverse[r][k];
    product(count, count, Rows<T>{inverse[0], pivot_block}, rows, row, begin, row, FromZero<T>{},
            [&](std::int64_t r, std::int64_t j, const V& sum) BIOMECHAU_INLINE_LAMBDA {
              const V minus = T(-1) * (j == at ? V::load(lanes) * sum + V::load(own[r]) : sum);
              minus.store(minus_pivots + r * row + j);
            });
    // The other rows lose what they have in D's columns, all at once: a vector that was stored to in part a moment ago
    // is slow to load.
    for (std::int64_t i = 0; i < n; ++i) {
      std::memcpy(factors + i * pivot_block, panel + i * row + p, pivot_block * sizeof(T));
      std::memset(panel + i * row + p, 0, pivot_block * sizeof(T));
    }
    const auto eliminate = [&](std::int64_t first, std::int64_t last) {
      T* const rest = panel + first * row;
      product(last - first, count, Rows<T>{factors + first * pivot_block, pivot_block}, minus_pivots, row, begin, row,
              [&](std::int64_t r, std::int64_t j) BIOMECHAU_INLINE_LAMBDA { return V::load(rest + r * row + j); },
              ToPanel<T>{rest, row});
    };
    if (!only_definiteness) eliminate(0, p);
    eliminate(p + count, n);
    for (std::int64_t r = 0; r < count; ++r)
      for (std::int64_t j = begin; j < row; j += width)
        (T(-1) * V::load(minus_pivots + r * row + j)).store(rows + r * row + j);
  }
  return true;
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
