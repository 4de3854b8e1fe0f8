// Products of short rows with small matrices that stay in cache.
//
// A panel is a matrix whose rows are padded to whole vectors of 16 elements, so that kernels load and store only
// whole vectors; the padding is 0 or never read as a result. Rows of tensors are not padded: they enter as the left
// factor of a product, element by element, or through Vector::load_first and leave through Vector::store_first.
#pragma once

#include "common/cpu/threads.h"
#include "common/cpu/vector.h"
#include "common/isa.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// Length of a panel's row.
inline std::int64_t padded(std::int64_t size) { return (size + 15) / 16 * 16; }

template <class T> inline constexpr std::int64_t width_of = Vector<T>::width;

// Left factor of a product: element (r, i) lies at data[r * row + i * step].
template <class T> struct Rows {
  const T* data;
  std::int64_t row;
  std::int64_t step = 1;
};

// Rows and vectors of a tile whose sums fit the registers.
#if defined(__AVX512F__)
constexpr int tile_rows = 4, tile_cols = 4;
#else
constexpr int tile_rows = 4, tile_cols = 1;
#endif

// fn(0), ..., fn(N - 1), written out before the optimizer looks: arrays that fn indexes become registers.
#if defined(__GNUC__)
#define BIOMECHAU_INLINE_LAMBDA __attribute__((always_inline))
#else
#define BIOMECHAU_INLINE_LAMBDA
#endif
template <int N, class Fn> BIOMECHAU_INLINE void repeat(const Fn& fn) {
  if constexpr (N > 0) {
    repeat<N - 1>(fn);
    fn(N - 1);
  }
}

// For rows [r0, r0 + R) and C vectors at column j: sum = start(row, column) + sum over i < depth of a(row, i) b[i], then
// finish(row, column, sum), rows in rising order.
template <int R, int C, class T, class Start, class Finish>
inline void product_tile(std::int64_t depth, const Rows<T>& a, const T* b, std::int64_t b_row, std::int64_t j,
                         std::int64_t r0, const Start& start, const Finish& finish) {
  constexpr std::int64_t width = width_of<T>;
  using V = Vector<T>;
  V sum[R][C];
  repeat<R>([&](int r) BIOMECHAU_INLINE_LAMBDA {
    repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA { sum[r][c] = start(r0 + r, j + c * width); });
  });
  const T* left = a.data + r0 * a.row;
  const T* right = b + j;
  for (std::int64_t i = 0; i < depth; ++i, left += a.step, right += b_row) {
    V x[C];
    repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA { x[c] = V::load(right + c * width); });
    repeat<R>([&](int r) BIOMECHAU_INLINE_LAMBDA {
      const T factor = left[r * a.row];
      repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA { sum[r][c].add_scaled(factor, x[c]); });
    });
  }
  repeat<R>([&](int r) BIOMECHAU_INLINE_LAMBDA {
    repeat<C>([&](int c) BIOMECHAU_INLINE_LAMBDA {
      const V value = sum[r][c];  // finish may take its address: that of the sum would keep it out of registers above
      finish(r0 + r, j + c * width, value);
    });
  });
}

template <int C, class T, class Start, class Finish>
inline void product_column(std::int64_t rows, std::int64_t depth, const Rows<T>& a, const T* b, std::int64_t b_row,
                           std::int64_t j, const Start& start, const Finish& finish) {
  std::int64_t r = 0;
  for (; r + tile_rows <= rows; r += tile_rows)
    product_tile<tile_rows, C>(depth, a, b, b_row, j, r, start, finish);
  if (r + 2 <= rows) {
    product_tile<2, C>(depth, a, b, b_row, j, r, start, finish);
    r += 2;
  }
  if (r < rows) product_tile<1, C>(depth, a, b, b_row, j, r, start, finish);
}

// A (rows, depth) times columns [begin, end) of a panel b (depth, b_row); begin and end are multiples of the vector's
// width. Each sum runs over `depth` in order, so a result does not depend on how rows and columns are split.
template <class T, class Start, class Finish>
inline void product(std::int64_t rows, std::int64_t depth, const Rows<T>& a, const T* b, std::int64_t b_row,
                    std::int64_t begin, std::int64_t end, const Start& start, const Finish& finish) {
  constexpr std::int64_t width = width_of<T>;
  std::int64_t j = begin;
  for (; j + tile_cols * width <= end; j += tile_cols * width)
    product_column<tile_cols>(rows, depth, a, b, b_row, j, start, finish);
  if constexpr (tile_cols == 4) {
    const std::int64_t left = (end - j) / width;
    if (left == 3) product_column<3>(rows, depth, a, b, b_row, j, start, finish);
    if (left == 2) product_column<2>(rows, depth, a, b, b_row, j, start, finish);
    if (left == 1) product_column<1>(rows, depth, a, b, b_row, j, start, finish);
  }
}

// The usual beginning of a product.
template <class T> struct FromZero {
  Vector<T> operator()(std::int64_t, std::int64_t) const { return Vector<T>::zero(); }
};

// The usual ends: into a panel, or into the rows of a tensor with n columns.
template <class T> struct ToPanel {
  T* data;
  std::int64_t row;
  void operator()(std::int64_t r, std::int64_t j, const Vector<T>& sum) const { sum.store(data + r * row + j); }
};
template <class T> struct ToTensor {
  T* data;
  std::int64_t n;
  void operator()(std::int64_t r, std::int64_t j, const Vector<T>& sum) const {
    if (j < n) sum.store_first(data + r * n + j, n - j);
  }
};

// Rows of a tensor with n columns into a panel, the padding 0; null: all 0.
template <class T> inline void to_panel(std::int64_t rows, std::int64_t n, const T* from, T* panel) {
  const std::int64_t row = padded(n);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t j = 0; j < row; j += width_of<T>)
      (from && j < n ? Vector<T>::load_first(from + r * n + j, n - j) : Vector<T>::zero()).store(panel + r * row + j);
}

// And back.
template <class T> inline void from_panel(std::int64_t rows, std::int64_t n, const T* panel, T* to) {
  const std::int64_t row = padded(n);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t j = 0; j < n; j += width_of<T>)
      Vector<T>::load(panel + r * row + j).store_first(to + r * n + j, n - j);
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
