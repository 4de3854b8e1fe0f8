// Symmetric matrices in panels (see panel.h): their symmetric part, their definiteness, their inverse.
#pragma once

#include <cmath>

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

// Pivots [p, p + count) in the Gauss-Jordan elimination of a symmetric matrix; their columns lie in one vector, and
// only columns from `begin` on are kept up. The matrix stays symmetric, but for the signs of done rows in the columns of
// pivots to come: the pivots' columns are read from their rows, which `columns` (count, row) keeps as they were.
template <class T> class Pivots {
 public:
  Pivots(std::int64_t p, std::int64_t count, std::int64_t begin, std::int64_t row, T* panel, T* columns)
      : p_(p), count_(count), begin_(begin), row_(row), panel_(panel), columns_(columns), at_(p / width * width) {
    for (std::int64_t l = 0; l < width; ++l) {
      sign_[l] = at_ + l < p ? T(1) : T(-1);
      others_[l] = T(at_ + l < p || at_ + l >= p + count);
    }
    const V sign = V::load(sign_);
    for (std::int64_t k = 0; k < count; ++k)
      for (std::int64_t j = begin; j < row; j += width) {
        const V x = V::load(panel + (p + k) * row + j);
        (j < at_ ? x : j > at_ ? T(-1) * x : sign * x).store(columns + k * row + j);
      }
  }

  // With D the diagonal block: its rows become D^-1 times what they are, and D itself D^-1. False when a pivot is not
  // above `tolerance` times its entry of `diagonal`, or not finite.
  bool scale(T tolerance, const T* diagonal) const {
    alignas(64) T inverse[pivot_block][pivot_block], own[pivot_block][width] = {};
    T* const to = panel_ + p_ * row_;
    if (!invert_block(count_, tolerance, diagonal + p_, to + p_, row_, inverse)) return false;
    for (std::int64_t r = 0; r < count_; ++r)
      for (std::int64_t k = 0; k < count_; ++k) own[r][p_ + k - at_] = inverse[r][k];
    product(count_, count_, Rows<T>{inverse[0], pivot_block}, columns_, row_, begin_, row_, FromZero<T>{},
            [&](std::int64_t r, std::int64_t j, const V& sum) BIOMECHAU_INLINE_LAMBDA {
              (j < at_ ? sum : j > at_ ? T(-1) * sum : V::load(others_) * V::load(sign_) * sum + V::load(own[r]))
                  .store(to + r * row_ + j);
            });
    return true;
  }

  // Rows [first, last) lose what they have in the pivots' columns.
  void eliminate(std::int64_t first, std::int64_t last) const {
    T* const rest = panel_ + first * row_;
    const std::int64_t row = row_;
    const V others = V::load(others_);
    for (T* x = rest + at_; x < panel_ + last * row; x += row) (others * V::load(x)).store(x);
    product(last - first, count_, Rows<T>{columns_ + first, 1, row}, panel_ + p_ * row, row, begin_, row,
            [&](std::int64_t r, std::int64_t j) BIOMECHAU_INLINE_LAMBDA { return V::load(rest + r * row + j); },
            ToPanel<T>{rest, row});
  }

 private:
  static constexpr std::int64_t width = width_of<T>;
  using V = Vector<T>;
  std::int64_t p_, count_, begin_, row_;
  T *panel_, *columns_;
  std::int64_t at_;  // the vector of the pivots' columns
  alignas(64) T sign_[width], others_[width];
};

// Gauss-Jordan elimination of a symmetric positive definite matrix (n, n): the panel becomes the inverse, or, if only
// the definiteness is asked for, nothing of use. The rows of as many pivots as a vector has lanes are done first, some
// at a time, then all other rows at once. Pivots are those of the Cholesky factorization squared. False when one is not
// above rounding against its diagonal entry: singular or indefinite.
template <class T> bool invert(std::int64_t n, T* panel, bool only_definiteness = false) {
  constexpr std::int64_t width = width_of<T>;
  const std::int64_t row = padded(n);
  Scratch<T> memory((1 + pivot_block + width) * row);
  T *const diagonal = memory.data(), *const inner = diagonal + row;
  T* const outer = inner + pivot_block * row;
  for (std::int64_t i = 0; i < n; ++i) diagonal[i] = panel[i * row + i];
  for (std::int64_t p = 0; p < n; p += width) {
    const std::int64_t end = min_of(n, p + width), begin = only_definiteness ? p : 0;
    const Pivots<T> block(p, end - p, begin, row, panel, outer);
    for (std::int64_t q = p; q < end; q += pivot_block) {
      const std::int64_t count = min_of(pivot_block, end - q);
      const Pivots<T> few(q, count, begin, row, panel, inner);
      if (!few.scale(epsilon<T> * static_cast<T>(n), diagonal)) return false;
      few.eliminate(p, q);
      few.eliminate(q + count, end);
    }
    if (!only_definiteness) block.eliminate(0, p);
    block.eliminate(end, n);
  }
  return true;
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
