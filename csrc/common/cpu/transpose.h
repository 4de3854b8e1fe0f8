// Blocks of matrices transposed in registers, and symmetric parts of matrices by such blocks.
#pragma once

#include "common/cpu/panel.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// Numbers in a register: the side of the square blocks that are transposed.
template <class T> inline constexpr int block_side = register_bytes / sizeof(T);

#if defined(__AVX512F__)

// Rows of a square of vectors become its columns.
template <class T> inline void transpose(Vector<T> (&rows)[width_of<T>]) {
  constexpr int width = Vector<T>::width, half = width / 2;
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
}

// Transposes a square block: its rows lie at from(i), and its columns go to to(j), i and j in [0, block_side).
template <class T, class From, class To> BIOMECHAU_INLINE void transpose_block(const From& from, const To& to) {
  Vector<T> rows[width_of<T>];
  repeat<width_of<T>>([&](int i) BIOMECHAU_INLINE_LAMBDA { rows[i] = Vector<T>::load(from(i)); });
  transpose(rows);
  repeat<width_of<T>>([&](int j) BIOMECHAU_INLINE_LAMBDA { rows[j].store(to(j)); });
}

#else

#if defined(__AVX2__)
inline __m256 load_halves(const float* low, const float* high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}
inline __m256d load_halves(const double* low, const double* high) {
  return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(low)), _mm_loadu_pd(high), 1);
}
// Transposes a square block: its rows lie at from(i), and its columns go to to(j), i and j in [0, block_side). Half the
// columns at a time, a register holds as much of rows i and i + block_side / 2.
template <class T, class From, class To> BIOMECHAU_INLINE void transpose_block(const From& from, const To& to) {
  if constexpr (sizeof(T) == 4) {
    repeat<2>([&](int half) BIOMECHAU_INLINE_LAMBDA {
      __m256 row[4];
      repeat<4>([&](int i) BIOMECHAU_INLINE_LAMBDA {
        row[i] = load_halves(from(i) + 4 * half, from(i + 4) + 4 * half);
      });
      repeat<2>([&](int pair) BIOMECHAU_INLINE_LAMBDA {
        // Columns 2 pair and 2 pair + 1, two rows in turn.
        const __m256 a = pair ? _mm256_unpackhi_ps(row[0], row[1]) : _mm256_unpacklo_ps(row[0], row[1]);
        const __m256 b = pair ? _mm256_unpackhi_ps(row[2], row[3]) : _mm256_unpacklo_ps(row[2], row[3]);
        _mm256_storeu_ps(to(4 * half + 2 * pair), _mm256_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0)));
        _mm256_storeu_ps(to(4 * half + 2 * pair + 1), _mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2)));
      });
    });
  } else {
    repeat<2>([&](int half) BIOMECHAU_INLINE_LAMBDA {
      const __m256d a = load_halves(from(0) + 2 * half, from(2) + 2 * half);
      const __m256d b = load_halves(from(1) + 2 * half, from(3) + 2 * half);
      _mm256_storeu_pd(to(2 * half), _mm256_unpacklo_pd(a, b));
      _mm256_storeu_pd(to(2 * half + 1), _mm256_unpackhi_pd(a, b));
    });
  }
}
#else
// Likewise.
template <class T, class From, class To> BIOMECHAU_INLINE void transpose_block(const From& from, const To& to) {
  constexpr int side = block_side<T>;
  T columns[side][side];
  for (int i = 0; i < side; ++i) {
    const T* row = from(i);
    for (int j = 0; j < side; ++j) columns[j][i] = row[j];
  }
  for (int j = 0; j < side; ++j) std::memcpy(to(j), columns[j], sizeof(columns[j]));
}
#endif

// Rows of a square of vectors become its columns.
template <class T> inline void transpose(Vector<T> (&rows)[width_of<T>]) {
  constexpr int width = Vector<T>::width, side = block_side<T>;
  T from[width][width], to[width][width];
  for (int i = 0; i < width; ++i) rows[i].store(from[i]);
  for (int i = 0; i < width; i += side)
    for (int j = 0; j < width; j += side)
      transpose_block<T>([&](int r) BIOMECHAU_INLINE_LAMBDA { return &from[i + r][j]; },
                         [&](int c) BIOMECHAU_INLINE_LAMBDA { return &to[j + c][i]; });
  for (int i = 0; i < width; ++i) rows[i] = Vector<T>::load(to[i]);
}

#endif

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
