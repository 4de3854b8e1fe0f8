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
};

constexpr int product_patch = 4;   // a thread owns 4 x 4 results
constexpr int product_depth = 16;  // steps of l that are loaded together
constexpr int product_threads = (product_tile / product_patch) * (product_tile / product_patch);
constexpr int product_stride = product_tile + 4;  // rows of a tile begin at multiples of four values
constexpr int product_loads = product_tile * product_depth / product_threads;

// What a thread loads of the tiles (depth, stride) of A or B: entries of one row or of one step of l, a few apart, so
// that neighbouring threads read neighbouring memory.
struct TileShare {
  int row, inner;            // of its first entry in the tile
  int row_step, inner_step;  // to the next one: one of them is 0

  __device__ explicit TileShare(bool inner_first) {
    const int thread = static_cast<int>(threadIdx.x);
    row = inner_first ? thread / product_depth : thread % product_tile;
    inner = inner_first ? thread % product_depth : thread / product_tile;
    row_step = inner_first ? product_threads / product_depth : 0;
    inner_step = inner_first ? 0 : product_threads / product_tile;
  }
  // Entries of the thread within `rows` rows and `depth` steps of l that are left.
  __device__ int count(std::int64_t rows, std::int64_t depth) const {
    if (row >= rows || inner >= depth) return 0;
    const int step = row_step + inner_step;
    const std::int64_t left = row_step > 0 ? rows - row : depth - inner;
    return left >= product_loads * step ? product_loads : (static_cast<int>(left) + step - 1) / step;
  }
  template <class T> __device__ void store(const T* values, T* tile) const {
    T* own = tile + inner * product_stride + row;
    const int step = inner_step * product_stride + row_step;
#pragma unroll
    for (int n = 0; n < product_loads; ++n) own[n * step] = values[n];
  }
};

// Loads a thread's share of one tile after the other, zero beyond the ends: here from any function (batch, row, inner).
template <class T, class Matrix> struct TileLoader {
  const Matrix& matrix;
  TileShare share;
  std::int64_t batch, row0, rows;

  __device__ TileLoader(const Matrix& matrix_, bool inner_first, std::int64_t batch_, std::int64_t row0_,
                        std::int64_t rows_, std::int64_t)
      : matrix(matrix_), share(inner_first), batch(batch_), row0(row0_), rows(rows_) {}
  __device__ void load(std::int64_t inner, std::int64_t end, T* values) {
    const int count = share.count(rows - row0, end - inner);
#pragma unroll
    for (int n = 0; n < product_loads; ++n) {
      values[n] = 0;
      if (n < count)
        values[n] = matrix(batch, row0 + share.row + n * share.row_step, inner + share.inner + n * share.inner_step);
    }
  }
};

// From memory, where the next entry and the next tile lie at constant distances.
template <class T> struct TileLoader<T, Strided<T>> {
  TileShare share;
  const T* own;
  std::int64_t step, tile_step, rows;

  __device__ TileLoader(const Strided<T>& matrix, bool inner_first, std::int64_t batch, std::int64_t row0,
                        std::int64_t rows_, std::int64_t inner)
      : share(inner_first),
        own(matrix.data + batch * matrix.batch_stride + (row0 + share.row) * matrix.row_stride +
            (inner + share.inner) * matrix.inner_stride),
        step(share.row_step * matrix.row_stride + share.inner_step * matrix.inner_stride),
        tile_step(product_depth * matrix.inner_stride),
        rows(rows_ - row0) {}
  __device__ void load(std::int64_t inner, std::int64_t end, T* values) {
    const int count = share.count(rows, end - inner);
    const T* from = own;
#pragma unroll
    for (int n = 0; n < product_loads; ++n) {
      values[n] = 0;
      if (n < count) values[n] = *from;
      from += step;
    }
    own += tile_step;
  }
};

// out (batches, pieces, rows, cols)
template <class T, class A, class B>
__global__ void __launch_bounds__(product_threads)
    product_kernel(ProductSizes sizes, A a, bool a_inner_first, B b, bool b_inner_first, T* out) {
  T* tile_a = shared_memory<T>();
  T* tile_b = tile_a + product_depth * product_stride;
  const auto col_tiles = static_cast<unsigned>((sizes.cols + product_tile - 1) / product_tile);
  const auto row_tiles = static_cast<unsigned>((sizes.rows + product_tile - 1) / product_tile);
  const auto pieces = static_cast<unsigned>(sizes.pieces);
  unsigned task = blockIdx.x;
  const std::int64_t col0 = std::int64_t(task % col_tiles) * product_tile;
  task /= col_tiles;
  const std::int64_t row0 = std::int64_t(task % row_tiles) * product_tile;
  task /= row_tiles;
  const std::int64_t piece = task % pieces, batch = task / pieces;
  const std::int64_t length = (sizes.inner + sizes.pieces - 1) / sizes.pieces;
  const std::int64_t begin = piece * length, end = smaller(sizes.inner, begin + length);
  const int patch_row = threadIdx.x / (product_tile / product_patch) * product_patch;
  const int patch_col = threadIdx.x % (product_tile / product_patch) * product_patch;

  TileLoader<T, A> load_a(a, a_inner_first, batch, row0, sizes.rows, begin);
  TileLoader<T, B> load_b(b, b_inner_first, batch, col0, sizes.cols, begin);
  T sum[product_patch][product_patch] = {}, next_a[product_loads], next_b[product_loads];
  load_a.load(begin, end, next_a);
  load_b.load(begin, end, next_b);
  for (std::int64_t inner = begin; inner < end; inner += product_depth) {
    load_a.share.store(next_a, tile_a);
    load_b.share.store(next_b, tile_b);
    __syncthreads();
    // The next tiles are on their way while this one is multiplied.
    load_a.load(inner + product_depth, end, next_a);
    load_b.load(inner + product_depth, end, next_b);
#pragma unroll
    for (int l = 0; l < product_depth; ++l) {
      const Four<T> left = four_at(tile_a + l * product_stride + patch_row);
      const Four<T> right = four_at(tile_b + l * product_stride + patch_col);
#pragma unroll
      for (int i = 0; i < product_patch; ++i)
#pragma unroll
        for (int j = 0; j < product_patch; ++j) sum[i][j] += left.values[i] * right.values[j];
    }
    __syncthreads();
  }
  T* own = out + (batch * sizes.pieces + piece) * sizes.rows * sizes.cols + (row0 + patch_row) * sizes.cols + col0 +
           patch_col;
#pragma unroll
  for (int i = 0; i < product_patch; ++i)
#pragma unroll
    for (int j = 0; j < product_patch; ++j)
      if (row0 + patch_row + i < sizes.rows && col0 + patch_col + j < sizes.cols) own[i * sizes.cols + j] = sum[i][j];
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
