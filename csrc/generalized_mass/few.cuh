// The forward pass for few sequences: a thread owns a square of M for a group of sequences. It makes the products of
// the square's shapes at a vertex in registers, and scales them by the group's masses.
#pragma once

#include "common/product.cuh"
#include "generalized_mass/pairs.cuh"

namespace biomechau {
namespace cuda {

constexpr int few_edge = 4;                        // rows and columns of a square
constexpr int few_stride = 2 * mass_panel + few_edge;  // of the shapes of one or two panels
template <class T> constexpr int few_group = 32 / sizeof(T);     // sequences
template <class T> constexpr int few_vertices = 64 / sizeof(T);  // that are loaded together

template <int sequences, class T> struct FewMemory {
  T *shapes, *masses;  // (few_vertices, 3, few_stride), (few_vertices, sequences)

  static constexpr std::size_t size() { return few_vertices<T> * (3 * few_stride + sequences) * sizeof(T); }
  __device__ FewMemory() : shapes(shared_memory<T>()), masses(shapes + few_vertices<T> * 3 * few_stride) {}
};

template <int sequences, class T>
__global__ void __launch_bounds__(mass_few_threads) sum_few_kernel(MassSums<T> sums) {
  constexpr int tile_vertices = few_vertices<T>;
  const FewMemory<sequences, T> memory;
  const GeneralizedMass<T>& args = sums.args;
  const MassTask task(sums, sequences);
  const MassTile tile(static_cast<int>(args.num_shapes), sums.sizes, task.tile);
  const MassPart& part = tile.part;
  int row = 0, col = 0;
  if (tile.has(threadIdx.x, sums.sizes)) part.square(tile.first + threadIdx.x, few_edge, &row, &col);
  const T* rows = memory.shapes + row;
  const T* cols = memory.shapes + (part.is_diagonal() ? 0 : mass_panel) + col;
  const auto whole = [](int shapes) { return (shapes + few_edge - 1) / few_edge * few_edge; };

  T sum[sequences][few_edge][few_edge] = {};
  for (std::int64_t start = task.begin; start < task.end; start += tile_vertices) {
    load_shapes<tile_vertices>(blockDim.x, args, part.k0, part.rows, whole(part.rows), start, task.end,
                               memory.shapes, 1, few_stride);
    if (!part.is_diagonal())
      load_shapes<tile_vertices>(blockDim.x, args, part.l0, part.cols, whole(part.cols), start, task.end,
                                 memory.shapes + mass_panel, 1, few_stride);
    load_masses<tile_vertices, sequences>(blockDim.x, sums, task, start, memory.masses, sequences, [](int) {});
    __syncthreads();
    const int vertices = static_cast<int>(smaller(tile_vertices, task.end - start));
    for (int v = 0; v < vertices; ++v) {
      Four<T> left[3], right[3];
#pragma unroll
      for (int a = 0; a < 3; ++a) {
        left[a] = four_at(rows + (v * 3 + a) * few_stride);
        right[a] = four_at(cols + (v * 3 + a) * few_stride);
      }
      T mass[sequences];
      if constexpr (sequences == 1) {
        mass[0] = memory.masses[v];
      } else {
#pragma unroll
        for (int s = 0; s < sequences; s += 4) {
          const Four<T> some = four_at(memory.masses + v * sequences + s);
#pragma unroll
          for (int j = 0; j < 4; ++j) mass[s + j] = some.values[j];
        }
      }
#pragma unroll
      for (int i = 0; i < few_edge; ++i)
#pragma unroll
        for (int j = 0; j < few_edge; ++j) {
          const T shape[3] = {left[0].values[i], left[1].values[i], left[2].values[i]};
          const T product = pair(shape, right[0].values[j], right[1].values[j], right[2].values[j]);
#pragma unroll
          for (int s = 0; s < sequences; ++s) sum[s][i][j] += mass[s] * product;
        }
    }
    __syncthreads();
  }
  if (!tile.has(threadIdx.x, sums.sizes)) return;
  const std::int64_t slots = sums.sizes.slots();
  T* own = sums.partial + (task.piece * args.num_sequences + task.s0) * slots +
           (std::int64_t(task.tile) * sums.sizes.squares + threadIdx.x) * few_edge * few_edge;
#pragma unroll
  for (int s = 0; s < sequences; ++s) {
    if (task.s0 + s >= args.num_sequences) break;
#pragma unroll
    for (int i = 0; i < few_edge; ++i) {
      Four<T> values;
#pragma unroll
      for (int j = 0; j < few_edge; ++j) values.values[j] = sum[s][i][j];
      four_at(own + s * slots + i * few_edge) = values;
    }
  }
}

template <int sequences, class T> void launch_few(const Launcher& launch, const MassSums<T>& sums) {
  const MassPieces& sizes = sums.sizes;
  launch(sum_few_kernel<sequences, T>, sizes.tiles * blocks_for(sums.args.num_sequences, sequences) * sizes.pieces,
         sizes.squares, FewMemory<sequences, T>::size(), sums);
}

}  // namespace cuda
}  // namespace biomechau
