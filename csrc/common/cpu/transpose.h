// Blocks of matrices transposed in registers, and symmetric parts of matrices by such blocks.
#pragma once

#include <cstddef>
#include <utility>

#include "common/cpu/panel.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// Numbers in a register: the side of the square blocks that are transposed.
template <class T> inline constexpr int block_side = register_bytes / sizeof(T);

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define BIOMECHAU_SHUFFLES
#endif
#endif

#if defined(BIOMECHAU_SHUFFLES)
// Of two rows that lie `span` apart in a square block: the blocks of `span` columns off the diagonal change places.
template <int span, class Lanes, std::size_t... lane>
BIOMECHAU_INLINE void swap_off_diagonal(Lanes* a, Lanes* b, std::index_sequence<lane...>) {
  constexpr int side = sizeof...(lane);
  const Lanes first = __builtin_shufflevector(*a, *b, (lane & span ? side + lane - span : lane)...);
  *b = __builtin_shufflevector(*a, *b, (lane & span ? side + lane : lane + span)...);
  *a = first;
}

// A block becomes its transpose: its quarters change places, then theirs.
template <int span, int side, class Lanes> BIOMECHAU_INLINE void transpose_quarters(Lanes (&rows)[side]) {
  repeat<side>([&](int i) BIOMECHAU_INLINE_LAMBDA {
    if (!(i & span)) swap_off_diagonal<span>(&rows[i], &rows[i + span], std::make_index_sequence<side>());
  });
  if constexpr (span > 1) transpose_quarters<span / 2>(rows);
}
#endif

// Transposes a square block: its rows lie at from(i), and its columns go to to(j), i and j in [0, block_side).
template <class T, class From, class To> BIOMECHAU_INLINE void transpose_block(const From& from, const To& to) {
  constexpr int side = block_side<T>;
#if defined(BIOMECHAU_SHUFFLES)
  typename Registers<T, register_bytes>::Lanes rows[side];
  repeat<side>([&](int i) BIOMECHAU_INLINE_LAMBDA { std::memcpy(&rows[i], from(i), register_bytes); });
  transpose_quarters<side / 2>(rows);
  repeat<side>([&](int j) BIOMECHAU_INLINE_LAMBDA { std::memcpy(to(j), &rows[j], register_bytes); });
#else
  T columns[side][side];
  for (int i = 0; i < side; ++i) {
    const T* row = from(i);
    for (int j = 0; j < side; ++j) columns[j][i] = row[j];
  }
  for (int j = 0; j < side; ++j) std::memcpy(to(j), columns[j], sizeof(columns[j]));
#endif
}

// Likewise a square block of vectors.
template <class T>
inline void transpose(const T (&from)[width_of<T>][width_of<T>], T (&to)[width_of<T>][width_of<T>]) {
  for (int i = 0; i < width_of<T>; i += block_side<T>)
    for (int j = 0; j < width_of<T>; j += block_side<T>)
      transpose_block<T>([&](int r) BIOMECHAU_INLINE_LAMBDA { return &from[i + r][j]; },
                         [&](int c) BIOMECHAU_INLINE_LAMBDA { return &to[j + c][i]; });
}

// The transpose of a matrix (rows, columns) of a tensor as a panel.
template <class T>
inline void to_transposed_panel(std::int64_t rows, std::int64_t columns, const T* matrix, T* panel) {
  constexpr int width = Vector<T>::width;
  const std::int64_t row = padded(rows);
  for (std::int64_t i = 0; i < row; i += width)
    for (std::int64_t j = 0; j < columns; j += width) {
      alignas(64) T block[width][width], turned[width][width];
      for (int r = 0; r < width; ++r)
        (i + r < rows ? Vector<T>::load_first(matrix + (i + r) * columns + j, columns - j) : Vector<T>::zero())
            .store(block[r]);
      transpose(block, turned);
      for (int c = 0; c < width && j + c < columns; ++c) Vector<T>::load(turned[c]).store(panel + (j + c) * row + i);
    }
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
      alignas(64) T below[width][width], above[width][width];
      for (int r = 0; r < width; ++r) load(j + r, i).store(below[r]);
      transpose(below, above);
      for (int r = 0; r < width && i + r < n; ++r) {
        const Vector<T> value = mean(load(i + r, j), Vector<T>::load(above[r]));
        value.store(above[r]);
        store(i + r, j, value);
      }
      if (j == i || j >= n) continue;
      transpose(above, below);
      for (int r = 0; r < width && j + r < n; ++r) store(j + r, i, Vector<T>::load(below[r]));
    }
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
