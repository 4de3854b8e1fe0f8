// Symmetric parts of matrices, by blocks that are transposed in registers.
#pragma once

#include "common/cpu/panel.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// Rows of a square block become its columns.
template <class T> inline void transpose(Vector<T> (&rows)[width_of<T>]) {
  constexpr int width = Vector<T>::width;
#if defined(__AVX512F__)
  constexpr int half = width / 2;
  // Rows i and i + half, lane by lane in turn, are rows 2 i and 2 i + 1: log2(width) times that is the transpose.
  struct Turns {
    alignas(64) typename Vector<T>::Index first[width], second[width];
    constexpr Turns() : first{}, second{} {
      for (int l = 0; l < width; ++l) {
        first[l] = l / 2 + l % 2 * width;
        second[l] = first[l] + half;
      }
    }
  };
  static constexpr Turns turns;
  for (int span = 1; span < width; span *= 2) {
    Vector<T> next[width];
    repeat<half>([&](int i) BIOMECHAU_INLINE_LAMBDA {
      next[2 * i] = Vector<T>::pick(rows[i], rows[i + half], turns.first);
      next[2 * i + 1] = Vector<T>::pick(rows[i], rows[i + half], turns.second);
    });
    repeat<width>([&](int i) BIOMECHAU_INLINE_LAMBDA { rows[i] = next[i]; });
  }
#else
  T from[width][width], to[width][width];
  for (int i = 0; i < width; ++i) rows[i].store(from[i]);
  for (int i = 0; i < width; ++i)
    for (int j = 0; j < width; ++j) to[j][i] = from[i][j];
  for (int i = 0; i < width; ++i) rows[i] = Vector<T>::load(to[i]);
#endif
}

// Stores mean(x, y) for each vector x of a matrix (n, n) and y of its transpose, in all columns below `columns`; beyond
// n both are 0. A pair of blocks is visited once, and its mean stored at both places.
template <class T, class Mean, class Store>
inline void symmetrize(std::int64_t n, const T* matrix, std::int64_t row, std::int64_t columns, const Mean& mean,
                       const Store& store) {
  constexpr int width = Vector<T>::width;
  const auto load = [&](std::int64_t i, std::int64_t j) BIOMECHAU_INLINE_LAMBDA {
    return i < n && j < n ? Vector<T>::load_first(matrix + i * row + j, n - j) : Vector<T>::zero();
  };
  for (std::int64_t i = 0; i < n; i += width)
    for (std::int64_t j = i; j < columns; j += width) {
      Vector<T> rows[width];
      repeat<width>([&](int r) BIOMECHAU_INLINE_LAMBDA { rows[r] = load(j + r, i); });
      transpose(rows);
      repeat<width>([&](int r) BIOMECHAU_INLINE_LAMBDA {
        rows[r] = mean(load(i + r, j), rows[r]);
        if (i + r < n) store(i + r, j, rows[r]);
      });
      if (j == i || j >= n) continue;
      transpose(rows);
      repeat<width>([&](int r) BIOMECHAU_INLINE_LAMBDA {
        if (j + r < n) store(j + r, i, rows[r]);
      });
    }
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
