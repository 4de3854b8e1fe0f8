// The forward pass of one group of vertices: masses times products of shapes, summed over the vertices.
#pragma once

#include "common/cpu/lane_sums.h"
#include "generalized_mass/cpu/tiles.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// out (pairs) += sum_i m_i b_k(i) . b_l(i) over the vertices of a group; weighted: room for two shapes' m_i b_k(i).
template <class T>
void add_products(const ShapeGroup<T>& group, const T* mass, Pairs pairs, T* weighted, T* out) {
  constexpr int width = Vector<T>::width, cols = tile_shapes;
  const std::int64_t last = group.num_shapes - 1;
  for (std::int64_t k = 0; k <= last; k += 2) {
    for (std::int64_t vector = 0; vector < vectors(group); ++vector) {
      const Vector<T> m = Vector<T>::load(mass + vector * width);
      for (int r = 0; r < 2; ++r) {
        Vector<T> b[3];
        load<3>(at(group, vector, min_of(k + r, last)), b);
        for (int a = 0; a < 3; ++a) (m * b[a]).store(weighted + ((vector * 2 + r) * 3 + a) * width);
      }
    }
    for (std::int64_t l = k; l <= last; l += cols) {
      Vector<T> sum[2 * cols];
      for (int i = 0; i < 2 * cols; ++i) sum[i] = Vector<T>::zero();
      std::int64_t offset[cols];
      for (int c = 0; c < cols; ++c) offset[c] = min_of(l + c, last) * 3 * width;
      for (std::int64_t vector = 0; vector < vectors(group); ++vector) {
        const T* values = at(group, vector, 0);
        Vector<T> b[2 * 3];
        load<6>(weighted + vector * 6 * width, b);
        for (int c = 0; c < cols; ++c) {
          Vector<T> other[3];
          load<3>(values + offset[c], other);
          for (int r = 0; r < 2; ++r) sum[r * cols + c] = sum[r * cols + c] + pair(b + 3 * r, other[0], other[1], other[2]);
        }
      }
      T sums[2 * cols];
      lane_sums<2 * cols>(sum, sums);
      for (int r = 0; r < 2; ++r)
        for (int c = 0; c < cols; ++c)
          if (k + r <= l + c && k + r <= last && l + c <= last)
            out[pairs.row(group.shape[k + r]) + group.shape[l + c]] += sums[r * cols + c];
    }
  }
}

// The products of two by two shapes at the vertices of a group, and where they belong among the pairs.
template <class T> struct ProductTile {
  const T* products;     // (4, vertices padded to vectors)
  std::int64_t stride;
  std::int64_t pair[4];  // -1: below the diagonal, or beyond the last shape
};

// Calls fn(tile) for every two by two shapes k <= l of a group; products: room for a tile's.
template <class T, class Fn>
void for_each_tile(const ShapeGroup<T>& group, Pairs pairs, T* products, const Fn& fn) {
  constexpr int width = Vector<T>::width;
  const std::int64_t last = group.num_shapes - 1, stride = vectors(group) * width;
  for (std::int64_t k = 0; k <= last; k += 2)
    for (std::int64_t l = k; l <= last; l += 2) {
      const std::int64_t k1 = min_of(k + 1, last) * 3 * width, l1 = min_of(l + 1, last) * 3 * width;
      for (std::int64_t vector = 0; vector < vectors(group); ++vector) {
        const T* values = at(group, vector, 0);
        Vector<T> b[2][3], c[2][3];
        load<3>(values + k * 3 * width, b[0]);
        load<3>(values + k1, b[1]);
        load<3>(values + l * 3 * width, c[0]);
        load<3>(values + l1, c[1]);
        for (int p = 0; p < 4; ++p)
          pair(b[p / 2], c[p % 2][0], c[p % 2][1], c[p % 2][2]).store(products + p * stride + vector * width);
      }
      ProductTile<T> tile{products, stride, {}};
      for (int p = 0; p < 4; ++p) {
        const std::int64_t row = k + p / 2, col = l + p % 2;
        tile.pair[p] = row <= col && col <= last ? pairs.row(group.shape[row]) + group.shape[col] : -1;
      }
      fn(tile);
    }
}

// out (pairs, sequences) += the sums over the vertices of products times masses (sequences, vertices): vectors of
// vertices, whose lanes are summed at the end.
template <class T> void add_tile(const ProductTile<T>& tile, const T* mass, std::int64_t sequences, T* out) {
  constexpr int width = Vector<T>::width, P = tile_pairs, Q = tile_sequences;
  const std::int64_t stride = tile.stride;
  for (int p0 = 0; p0 < 4; p0 += P)
    for (std::int64_t s = 0; s < sequences; s += Q) {
      Vector<T> sum[P * Q];
      for (int i = 0; i < P * Q; ++i) sum[i] = Vector<T>::zero();
      const T *product = tile.products + p0 * stride, *m = mass + s * stride;
      for (std::int64_t v = 0; v < stride; v += width) {
        Vector<T> factor[Q];
        for (int q = 0; q < Q; ++q) factor[q] = Vector<T>::load(m + q * stride + v);
        for (int p = 0; p < P; ++p) {
          const Vector<T> x = Vector<T>::load(product + p * stride + v);
          for (int q = 0; q < Q; ++q) sum[p * Q + q] = sum[p * Q + q] + x * factor[q];
        }
      }
      T sums[P * Q];
      lane_sums<P * Q>(sum, sums);
      for (int p = 0; p < P; ++p)
        if (tile.pair[p0 + p] >= 0)
          for (int q = 0; q < Q; ++q) out[tile.pair[p0 + p] * sequences + s + q] += sums[p * Q + q];
    }
}

// The same for many sequences, masses (vertices, sequences): vectors of sequences, C at a time, from sequence s on.
template <int C, class T>
void add_tile_of_many(const ProductTile<T>& tile, std::int64_t num_vertices, const T* mass, std::int64_t sequences,
                      std::int64_t s, T* out) {
  constexpr int width = Vector<T>::width, P = tile_pairs;
  for (int p0 = 0; p0 < 4; p0 += P) {
    Vector<T> sum[P][C];
    for (int p = 0; p < P; ++p)
      for (int c = 0; c < C; ++c) sum[p][c] = Vector<T>::zero();
    const T *product = tile.products + p0 * tile.stride, *m = mass + s;
    for (std::int64_t v = 0; v < num_vertices; ++v, m += sequences)
      for (int c = 0; c < C; ++c) {
        const Vector<T> factor = Vector<T>::load(m + c * width);
        for (int p = 0; p < P; ++p) sum[p][c].add_scaled(product[p * tile.stride + v], factor);
      }
    for (int p = 0; p < P; ++p)
      if (tile.pair[p0 + p] >= 0)
        for (int c = 0; c < C; ++c) {
          T* to = out + tile.pair[p0 + p] * sequences + s + c * width;
          (Vector<T>::load(to) + sum[p][c]).store(to);
        }
  }
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
