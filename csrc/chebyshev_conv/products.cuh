// The products of a convolution on a GPU: all terms or sums with all weights, and all terms with grad_y.
#pragma once

#include "chebyshev_conv/cuda.h"
#include "common/product.cuh"

namespace biomechau {
namespace cuda {

constexpr int tile_cols = 16;
constexpr int depth = 16;  // of a tile
constexpr int patch = 4;   // a thread owns 4 x 4 results

// Terms or sums, one behind the other: each (X, N, channels). The first may lie elsewhere.
template <class T> struct Planes {
  T *first, *others;
  std::int64_t size;
  unsigned channels;

  __device__ T* of(unsigned plane) const { return plane == 0 ? first : others + (plane - 1) * size; }
};

// The rows that have an output, (X V) of them, and where they lie among all (X N).
struct KeptRows {
  unsigned count, num_kept, num_vertices;
  const std::int64_t* vertices;  // null: all

  static constexpr int missing = -1, beyond = -2;
  __device__ int index(unsigned row) const {
    if (row >= count) return beyond;
    if (!vertices) return static_cast<int>(row);
    const unsigned frame = row / num_kept;
    const std::int64_t i = vertices[row - frame * num_kept];
    return i >= 0 && i < num_vertices ? static_cast<int>(frame * num_vertices + static_cast<unsigned>(i)) : missing;
  }
};

template <class T> KeptRows kept_rows(const ChebyshevConv<T>& args) {
  return {static_cast<unsigned>(args.num_frames * args.num_kept), static_cast<unsigned>(args.num_kept),
          static_cast<unsigned>(args.laplacian.num_vertices), args.vertices};
}

// The tiles of a block of `rows` threads: a (depth, rows), b (depth, tile_cols). Rows begin at multiples of four entries,
// which are read together.
template <int rows, class T> struct Tiles {
  static constexpr int stride = rows + 4;
  T *a, *b;
  int* index;  // of rows

  static constexpr std::size_t size(int indices) {
    return depth * (stride + tile_cols) * sizeof(T) + indices * sizeof(int);
  }
  __device__ Tiles() {
    a = shared_memory<T>();
    b = a + depth * stride;
    index = reinterpret_cast<int*>(b + depth * tile_cols);
  }
  // The results that the thread owns: rows from row() on, columns from col() on.
  __device__ static int row() { return threadIdx.x / (tile_cols / patch) * patch; }
  __device__ static int col() { return threadIdx.x % (tile_cols / patch) * patch; }

  __device__ void multiply(T (*sum)[patch]) const {
#pragma unroll
    for (int l = 0; l < depth; ++l) {
      const Four<T> left = four_at(a + l * stride + row()), right = four_at(b + l * tile_cols + col());
#pragma unroll
      for (int i = 0; i < patch; ++i)
#pragma unroll
        for (int j = 0; j < patch; ++j) sum[i][j] += left.values[i] * right.values[j];
    }
  }
};

// out = x V for the weights V, inner index and column each (plane, channel).
template <class T> struct Multiplication {
  KeptRows rows;
  bool gathers, scatters;  // whether x, or out, has all rows, not only those that are kept
  Planes<const T> x;
  Planes<T> out;
  unsigned num_inner, num_cols;
  const T* weight;
  unsigned inner_plane, inner_channel, col_plane, col_channel;  // strides of the weight
  const T* bias;                                                // (cols), or null
};

constexpr int product_rows = 128;

template <class T>
__global__ void __launch_bounds__(product_rows) multiply_kernel(Multiplication<T> m, unsigned col_tiles) {
  const Tiles<product_rows, T> tiles;
  const unsigned col0 = blockIdx.x % col_tiles * tile_cols, row0 = blockIdx.x / col_tiles * product_rows;
  const auto index = [&](unsigned row, bool among_all) {
    return among_all || row >= m.rows.count ? m.rows.index(row) : static_cast<int>(row);
  };
  tiles.index[threadIdx.x] = index(row0 + threadIdx.x, m.gathers);
  const unsigned lane = threadIdx.x % depth, part = threadIdx.x / depth, parts = product_rows / depth;
  const unsigned col = col0 + lane, col_plane = col / m.out.channels, col_channel = col - col_plane * m.out.channels;
  const T* weight = m.weight + (col_plane * m.col_plane + col_channel * m.col_channel);
  __syncthreads();

  T sum[patch][patch] = {};
  for (unsigned inner0 = 0; inner0 < m.num_inner; inner0 += depth) {
    const unsigned inner = inner0 + lane, plane = inner / m.x.channels, channel = inner - plane * m.x.channels;
    const T* x = m.x.of(plane) + channel;
#pragma unroll
    for (int n = 0; n < depth; ++n) {
      const unsigned r = part + n * parts;
      const int at = tiles.index[r];
      T value = at == KeptRows::missing ? T(NAN) : T(0);
      if (at >= 0 && inner < m.num_inner) value = x[static_cast<std::int64_t>(at) * m.x.channels];
      tiles.a[lane * tiles.stride + r] = value;
    }
#pragma unroll
    for (unsigned l = part; l < depth; l += parts) {
      const unsigned other = inner0 + l, its_plane = other / m.x.channels;
      const unsigned its_channel = other - its_plane * m.x.channels;
      tiles.b[l * tile_cols + lane] = other < m.num_inner && col < m.num_cols
                                          ? weight[its_plane * m.inner_plane + its_channel * m.inner_channel]
                                          : T(0);
    }
    __syncthreads();
    tiles.multiply(sum);
    __syncthreads();
  }
#pragma unroll
  for (int j = 0; j < patch; ++j) {
    const unsigned own = col0 + tiles.col() + j, plane = own / m.out.channels, channel = own - plane * m.out.channels;
    if (own >= m.num_cols) break;
    T* out = m.out.of(plane) + channel;
    const T bias = m.bias ? m.bias[own] : T(0);
#pragma unroll
    for (int i = 0; i < patch; ++i) {
      const int at = index(row0 + tiles.row() + i, m.scatters);
      if (at >= 0) out[static_cast<std::int64_t>(at) * m.out.channels] = sum[i][j] + bias;
    }
  }
}

template <class T> void launch_multiply(const Launcher& launch, const Multiplication<T>& m) {
  const std::int64_t col_tiles = blocks_for(m.num_cols, tile_cols);
  launch(multiply_kernel<T>, blocks_for(m.rows.count, product_rows) * col_tiles, product_rows,
         Tiles<product_rows, T>::size(product_rows), m, static_cast<unsigned>(col_tiles));
}

// partial (pieces, rows, cols): sums over rows of features of terms times grad_out; the last row's are of grad_out.
template <class T> struct WeightProduct {
  KeptRows rows;
  Planes<const T> terms;
  unsigned num_weights, num_results;  // rows of the result: of the weights, and with those of the bias
  unsigned num_cols, length;          // columns of the result; rows of features of a piece
  const T* grad_out;                  // (X V, cols)
  T* partial;
};

template <int tile_rows, class T>
__global__ void __launch_bounds__(tile_rows)
    weight_sums_kernel(WeightProduct<T> p, unsigned row_tiles, unsigned col_tiles) {
  const Tiles<tile_rows, T> tiles;
  unsigned task = blockIdx.x;
  const unsigned col0 = task % col_tiles * tile_cols;
  task /= col_tiles;
  const unsigned row0 = task % row_tiles * tile_rows, piece = task / row_tiles;
  const unsigned begin = piece * p.length, left = p.rows.count - begin;
  const unsigned end = begin + (left < p.length ? left : p.length);
  const unsigned own = row0 + threadIdx.x, plane = own / p.terms.channels, channel = own - plane * p.terms.channels;
  const bool is_weight = own < p.num_weights;
  const T* term = is_weight ? p.terms.of(plane) + channel : nullptr;
  const T one = own < p.num_results ? 1 : 0;  // of the bias

  T sum[patch][patch] = {};
  for (unsigned row = begin; row < end; row += depth) {
    if (threadIdx.x < depth) {
      const unsigned own_row = row + threadIdx.x;
      tiles.index[threadIdx.x] = own_row < end ? p.rows.index(own_row) : KeptRows::beyond;
    }
    __syncthreads();
#pragma unroll
    for (int l = 0; l < depth; ++l) {
      const int at = tiles.index[l];
      T value = one;
      if (is_weight && at >= 0)
        value = term[static_cast<std::int64_t>(at) * p.terms.channels];
      else if (is_weight)
        value = T(NAN);  // a vertex that is missing
      tiles.a[l * tiles.stride + threadIdx.x] = at == KeptRows::beyond ? T(0) : value;
    }
#pragma unroll
    for (unsigned i = threadIdx.x; i < depth * tile_cols; i += tile_rows) {
      const unsigned l = i / tile_cols, col = col0 + i % tile_cols;
      tiles.b[i] = row + l < end && col < p.num_cols
                       ? p.grad_out[static_cast<std::int64_t>(row + l) * p.num_cols + col]
                       : T(0);
    }
    __syncthreads();
    tiles.multiply(sum);
    __syncthreads();
  }
  T* partial = p.partial + static_cast<std::int64_t>(piece) * p.num_results * p.num_cols;
#pragma unroll
  for (int i = 0; i < patch; ++i)
#pragma unroll
    for (int j = 0; j < patch; ++j) {
      const unsigned r = row0 + tiles.row() + i, col = col0 + tiles.col() + j;
      if (r < p.num_results && col < p.num_cols) partial[static_cast<std::int64_t>(r) * p.num_cols + col] = sum[i][j];
    }
}

template <int tile_rows, class T>
void launch_weight_sums(const Launcher& launch, const WeightProduct<T>& p, std::int64_t pieces) {
  const std::int64_t row_tiles = blocks_for(p.num_results, tile_rows), col_tiles = blocks_for(p.num_cols, tile_cols);
  launch(weight_sums_kernel<tile_rows, T>, pieces * row_tiles * col_tiles, tile_rows,
         Tiles<tile_rows, T>::size(depth), p, static_cast<unsigned>(row_tiles), static_cast<unsigned>(col_tiles));
}

// The sums over the pieces: first those of the weights, then those of the bias.
template <class T>
__global__ void __launch_bounds__(sum_threads, 4)
    sum_weights_kernel(std::int64_t pieces, std::int64_t num_weights, std::int64_t count, const T* partial,
                       T* grad_weight, T* grad_bias) {
  const std::int64_t i = blockIdx.x * std::int64_t(sum_columns) + threadIdx.x % sum_columns;
  const T* own = partial + i;
  const T total = sum_pieces<T>(pieces, [&](std::int64_t piece) { return i < count ? own[piece * count] : T(0); });
  if (threadIdx.x >= sum_columns || i >= count) return;
  if (i < num_weights)
    grad_weight[i] = total;
  else
    grad_bias[i - num_weights] = total;
}

}  // namespace cuda
}  // namespace biomechau
