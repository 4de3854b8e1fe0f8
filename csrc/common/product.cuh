// Matrix products of the CUDA kernels: C = sum over l of A(r, l) B(l, c), by tiles, in many batches, the sum cut into
// pieces where it is long. The pieces are added in order, so the result has the same bits every time.
#pragma once

#include "common/launch.cuh"

namespace biomechau {
namespace cuda {

// A matrix in memory; `row` runs over r or c, `inner` over l.
template <class T> struct Strided {
  const T* data;
  std::int64_t batch_stride, row_stride, inner_stride;

  __device__ T operator()(std::int64_t batch, std::int64_t row, std::int64_t inner) const {
    return data[batch * batch_stride + row * row_stride + inner * inner_stride];
  }
};

constexpr int product_patch = 4;    // a thread owns 4 x 4 results
constexpr int product_depth = 16;   // steps of l that are loaded together
constexpr int product_threads = (product_tile / product_patch) * (product_tile / product_patch);
constexpr int product_stride = product_tile + 1;  // keeps columns of the tile in different banks

// tile (depth, stride) of A or B; neighbouring threads read neighbouring memory.
template <class T, class Matrix>
__device__ inline void load_tile(const Matrix& matrix, bool inner_first, std::int64_t batch, std::int64_t row0,
                                 std::int64_t rows, std::int64_t inner0, std::int64_t inner_end, T* tile) {
  for (int i = threadIdx.x; i < product_tile * product_depth; i += product_threads) {
    const int row = inner_first ? i / product_depth : i % product_tile;
    const int inner = inner_first ? i % product_depth : i / product_tile;
    const bool inside = row0 + row < rows && inner0 + inner < inner_end;
    tile[inner * product_stride + row] = inside ? matrix(batch, row0 + row, inner0 + inner) : T(0);
  }
}

// out (batches, pieces, rows, cols)
template <class T, class A, class B>
__global__ void __launch_bounds__(product_threads)
    product_kernel(ProductSizes sizes, A a, bool a_inner_first, B b, bool b_inner_first, T* out) {
  T* tile_a = shared_memory<T>();
  T* tile_b = tile_a + product_depth * product_stride;
  const std::int64_t col_tiles = (sizes.cols + product_tile - 1) / product_tile;
  const std::int64_t row_tiles = (sizes.rows + product_tile - 1) / product_tile;
  std::int64_t task = blockIdx.x;
  const std::int64_t col0 = task % col_tiles * product_tile;
  task /= col_tiles;
  const std::int64_t row0 = task % row_tiles * product_tile;
  task /= row_tiles;
  const std::int64_t piece = task % sizes.pieces, batch = task / sizes.pieces;
  const std::int64_t length = (sizes.inner + sizes.pieces - 1) / sizes.pieces;
  const std::int64_t end = smaller(sizes.inner, (piece + 1) * length);
  const int patch_row = threadIdx.x / (product_tile / product_patch) * product_patch;
  const int patch_col = threadIdx.x % (product_tile / product_patch) * product_patch;

  T sum[product_patch][product_patch] = {};
  for (std::int64_t inner = piece * length; inner < end; inner += product_depth) {
    load_tile(a, a_inner_first, batch, row0, sizes.rows, inner, end, tile_a);
    load_tile(b, b_inner_first, batch, col0, sizes.cols, inner, end, tile_b);
    __syncthreads();
    for (int l = 0; l < product_depth; ++l) {
      T left[product_patch], right[product_patch];
      for (int i = 0; i < product_patch; ++i) {
        left[i] = tile_a[l * product_stride + patch_row + i];
        right[i] = tile_b[l * product_stride + patch_col + i];
      }
      for (int i = 0; i < product_patch; ++i)
        for (int j = 0; j < product_patch; ++j) sum[i][j] += left[i] * right[j];
    }
    __syncthreads();
  }
  T* own = out + (batch * sizes.pieces + piece) * sizes.rows * sizes.cols;
  for (int i = 0; i < product_patch; ++i)
    for (int j = 0; j < product_patch; ++j) {
      const std::int64_t row = row0 + patch_row + i, col = col0 + patch_col + j;
      if (row < sizes.rows && col < sizes.cols) own[row * sizes.cols + col] = sum[i][j];
    }
}

template <class T, class A, class B>
void launch_product(const Launcher& launch, const ProductSizes& sizes, const A& a, bool a_inner_first, const B& b,
                    bool b_inner_first, T* out) {
  launch(product_kernel<T, A, B>, sizes.tiles() * sizes.pieces, product_threads,
         2 * product_depth * product_stride * sizeof(T), sizes, a, a_inner_first, b, b_inner_first, out);
}

// Sums over pieces, by blocks of 32 results and 8 threads for each.
constexpr int sum_columns = 32;
constexpr int sum_parts = 8;
constexpr int sum_threads = sum_columns * sum_parts;

// The sum of value(piece), in the first 32 threads of the block: one result each.
template <class T, class Value> __device__ inline T sum_pieces(std::int64_t pieces, const Value& value) {
  T* scratch = shared_memory<T>();
  T sum = 0;
  for (std::int64_t piece = threadIdx.x / sum_columns; piece < pieces; piece += sum_parts) sum += value(piece);
  scratch[threadIdx.x] = sum;
  __syncthreads();
  T total = 0;
  if (threadIdx.x < sum_columns)
    for (int part = 0; part < sum_parts; ++part) total += scratch[part * sum_columns + threadIdx.x];
  return total;
}

// With more than 5 blocks on a multiprocessor it would spill registers; sm_75 has room for 4.
// out (batches, count) = sum over the pieces of partial (batches, pieces, count)
template <class T>
__global__ void __launch_bounds__(sum_threads, 4)
    sum_pieces_kernel(std::int64_t pieces, std::int64_t count, const T* partial, T* out) {
  const std::int64_t blocks = (count + sum_columns - 1) / sum_columns, batch = blockIdx.x / blocks;
  const std::int64_t i = blockIdx.x % blocks * sum_columns + threadIdx.x % sum_columns;
  const T* own = partial + batch * pieces * count;
  const T total = sum_pieces<T>(pieces, [&](std::int64_t piece) { return i < count ? own[piece * count + i] : T(0); });
  if (threadIdx.x < sum_columns && i < count) out[batch * count + i] = total;
}

template <class T>
void launch_sum_pieces(const Launcher& launch, std::int64_t batches, std::int64_t pieces, std::int64_t count,
                       const T* partial, T* out) {
  launch(sum_pieces_kernel<T>, batches * blocks_for(count, sum_columns), sum_threads, sum_threads * sizeof(T), pieces,
         count, partial, out);
}

}  // namespace cuda
}  // namespace biomechau
