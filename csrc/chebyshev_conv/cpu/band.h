// The operator with its rows in visiting order, and those rows of its operand that are needed at a time.
#pragma once

#include <type_traits>

#include "chebyshev_conv/chebyshev_conv.h"
#include "common/cpu/threads.h"
#include "common/cpu/vector.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

constexpr std::int64_t block = 32;  // rows that pass from one term to the next together

// Row i is vertex order[i]; columns are counted in the same order.
template <class T> struct Band {
  std::int64_t num_rows, num_blocks;
  std::int64_t reach;  // largest distance of a row's block from that of its farthest neighbour, in blocks
  Scratch<std::int64_t> vertex, start;
  Scratch<std::int32_t> col;
  Scratch<T> val;

  explicit Band(const SymmetricOperator<T>& s)
      : num_rows(s.num_vertices),
        num_blocks((s.num_vertices + block - 1) / block),
        reach(0),
        vertex(s.num_vertices),
        start(s.num_vertices + 1),
        col(s.num_entries),
        val(s.num_entries) {
    Scratch<std::int32_t> place(num_rows);
    for (std::int64_t i = 0; i < num_rows; ++i) {
      vertex[i] = s.order ? s.order[i] : i;
      place[vertex[i]] = static_cast<std::int32_t>(i);
    }
    std::int64_t end = 0;
    for (std::int64_t i = 0; i < num_rows; ++i) {
      start[i] = end;
      std::int64_t first = i, last = i;
      for (std::int64_t e = s.crow[vertex[i]]; e < s.crow[vertex[i] + 1]; ++e, ++end) {
        col[end] = place[s.col[e]];
        val[end] = s.val[e];
        first = min_of(first, col[end]);
        last = max_of(last, col[end]);
      }
      reach = max_of(reach, max_of(i / block - first / block, last / block - i / block));
    }
    start[num_rows] = end;
  }
};

// Rows (.., stride) of which only the latest are held: a power of two of them, so that row i lies at i & mask.
template <class T> struct Ring {
  T* data;
  std::int64_t mask, stride;

  T* row(std::int64_t i) const { return data + (i & mask) * stride; }
};

// Rows of a ring that must hold a number of blocks of a matrix that has only `num_blocks`.
inline std::int64_t ring_rows(std::int64_t blocks, std::int64_t num_blocks) {
  std::int64_t rows = block;
  while (rows < block * min_of(blocks, num_blocks)) rows *= 2;
  return rows;
}

// sum (Count vectors) = row i of S times the rows of x, from column `first` of those on
template <int Count, class T>
inline void multiply_row(Band<T>& s, std::int64_t i, const Ring<T>& x, std::int64_t first, Vector<T> (&sum)[Count]) {
  for (int v = 0; v < Count; ++v) sum[v] = Vector<T>::zero();
  const std::int64_t end = s.start[i + 1];
  for (std::int64_t e = s.start[i]; e < end; ++e) {
    const T* row = x.row(s.col[e]) + first;
    for (int v = 0; v < Count; ++v) sum[v].add_scaled(s.val[e], Vector<T>::load(row + v * Vector<T>::width));
  }
}

// Calls fn.template operator()<Count>(first) for runs of Count vectors that together make up a row.
template <class T, class Fn> inline void for_each_column(std::int64_t stride, const Fn& fn) {
  constexpr int width = Vector<T>::width;
  std::int64_t first = 0;
  for (; first + 4 * width <= stride; first += 4 * width) fn(first, std::integral_constant<int, 4>{});
  switch ((stride - first) / width) {
    case 3: fn(first, std::integral_constant<int, 3>{}); break;
    case 2: fn(first, std::integral_constant<int, 2>{}); break;
    case 1: fn(first, std::integral_constant<int, 1>{}); break;
    default: break;
  }
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
