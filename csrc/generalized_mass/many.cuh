// The forward pass for many sequences, as a matrix product: masses (sequences, vertices) times products (vertices,
// pairs of shapes). A block makes the products of its pairs at some vertices in shared memory, once, and multiplies them by
// the masses of up to 64 sequences; a thread owns 8 pairs of a few sequences in registers. Runs of 32 pairs whose
// products are all zero there are left out.
#pragma once

#include "common/product.cuh"
#include "generalized_mass/pairs.cuh"

namespace biomechau {
namespace cuda {

constexpr int run = warp_size;                                  // pairs that are left out together
constexpr int runs = mass_tile / run;
constexpr int halves = 2;                                       // a thread owns four pairs of each half of the tile
template <class T> constexpr int many_vertices = 64 / sizeof(T);  // that are loaded together
template <class T> constexpr int many_patch = 32 / sizeof(T);     // sequences that a thread owns

template <int sequences, class T> struct ManyMemory {
  static constexpr int tile_vertices = many_vertices<T>;
  static constexpr int shape_stride = tile_vertices * 3 + 16 / sizeof(T);  // an odd number of 16 bytes
  static constexpr int mass_stride = sequences + 4;
  static constexpr int num_threads = mass_tile / 8 * (sequences / many_patch<T>);

  T *products, *masses, *spoiled, *shapes;
  int* used;

  // products (vertices, pairs), masses (2, vertices, mass_stride), spoiled (sequences), shapes (K', shape_stride),
  // used (runs)
  static std::size_t size(std::int64_t num_shapes) {
    const std::int64_t held = num_shapes < 2 * mass_panel ? num_shapes : 2 * mass_panel;
    return (tile_vertices * (mass_tile + 2 * mass_stride) + sequences + held * shape_stride) * sizeof(T) +
           runs * sizeof(int);
  }
  __device__ explicit ManyMemory(int held)  // shapes
      : products(shared_memory<T>()),
        masses(products + tile_vertices * mass_tile),
        spoiled(masses + 2 * tile_vertices * mass_stride),
        shapes(spoiled + sequences),
        used(reinterpret_cast<int*>(shapes + held * shape_stride)) {}
};

template <int sequences, class T>
__global__ void __launch_bounds__(ManyMemory<sequences, T>::num_threads, 512 / ManyMemory<sequences, T>::num_threads)
    sum_many_kernel(MassSums<T> sums) {
  using Memory = ManyMemory<sequences, T>;
  constexpr int tile_vertices = Memory::tile_vertices, num_threads = Memory::num_threads, patch = many_patch<T>;
  constexpr int own_pairs = mass_tile / num_threads;  // that a thread makes
  constexpr int together = 16 / sizeof(T);
  struct alignas(16) Points {
    T values[together * 3];  // of as many vertices
  };
  const GeneralizedMass<T>& args = sums.args;
  const MassTask task(sums, sequences);
  const MassTile tile(static_cast<int>(args.num_shapes), sums.sizes, task.tile);
  const MassPart& part = tile.part;
  const Memory memory(part.is_diagonal() ? part.rows : part.rows + part.cols);
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;

  const auto load = [&](std::int64_t start, int buffer) {
    load_shapes<tile_vertices>(num_threads, args, part.k0, part.rows, part.rows, start, task.end, memory.shapes,
                               Memory::shape_stride, 1);
    if (!part.is_diagonal())
      load_shapes<tile_vertices>(num_threads, args, part.l0, part.cols, part.cols, start, task.end,
                                 memory.shapes + part.rows * Memory::shape_stride, Memory::shape_stride, 1);
    load_masses<tile_vertices, sequences>(num_threads, sums, task, start,
                                          memory.masses + buffer * tile_vertices * Memory::mass_stride,
                                          Memory::mass_stride, [&](int s) { memory.spoiled[s] = T(NAN); });
  };

  // The pairs whose products the thread makes.
  const T *left[own_pairs], *right[own_pairs];
  bool exists[own_pairs];
#pragma unroll
  for (int n = 0; n < own_pairs; ++n) {
    const int p = threadIdx.x + n * num_threads;
    int row = 0, col = 0;
    exists[n] = tile.has(p, sums.sizes);
    if (exists[n]) part.square(tile.first + p, 1, &row, &col);
    left[n] = memory.shapes + row * Memory::shape_stride;
    right[n] = memory.shapes + ((part.is_diagonal() ? 0 : part.rows) + col) * Memory::shape_stride;
  }
  // The pairs and sequences that the thread owns: four of a run of each half, and fours that lie four lanes apart.
  const int own_run = warp % (runs / halves), own_pair = own_run * run + lane % 8 * 4;
  const int own_sequence = warp / (runs / halves) * 4 * patch + lane / 8 * 4;

  T sum[halves][4][patch] = {};
  int buffer = 0;
  for (int s = threadIdx.x; s < sequences; s += num_threads) memory.spoiled[s] = 0;
  __syncthreads();
  if (task.begin < task.end) load(task.begin, buffer);
  for (std::int64_t start = task.begin; start < task.end; start += tile_vertices) {
    __syncthreads();
#pragma unroll
    for (int n = 0; n < own_pairs; ++n) {
      const int p = threadIdx.x + n * num_threads;
      bool moves = false;
#pragma unroll
      for (int v0 = 0; v0 < tile_vertices; v0 += together) {
        const Points one = *reinterpret_cast<const Points*>(left[n] + v0 * 3);
        const Points other = *reinterpret_cast<const Points*>(right[n] + v0 * 3);
#pragma unroll
        for (int v = 0; v < together; ++v) {
          const T* point = other.values + v * 3;
          const T product = pair(one.values + v * 3, point[0], point[1], point[2]);
          moves = moves || product != 0;
          memory.products[(v0 + v) * mass_tile + p] = product;
        }
      }
      const unsigned any = __ballot_sync(whole_warp, moves && exists[n]);
      if (lane == 0) memory.used[p / run] = any != 0;
    }
    __syncthreads();
    // The shapes are not needed any more; the next ones come while others multiply.
    if (start + tile_vertices < task.end) load(start + tile_vertices, buffer ^ 1);
    const T* masses = memory.masses + buffer * tile_vertices * Memory::mass_stride + own_sequence;
#pragma unroll
    for (int half = 0; half < halves; ++half) {
      if (!memory.used[half * (runs / halves) + own_run]) continue;
      const T* products = memory.products + half * (mass_tile / halves) + own_pair;
#pragma unroll
      for (int v = 0; v < tile_vertices; ++v) {
        const Four<T> product = four_at(products + v * mass_tile);
#pragma unroll
        for (int first = 0; first < patch; first += 4) {
          const Four<T> mass = four_at(masses + v * Memory::mass_stride + first * 4);
#pragma unroll
          for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) sum[half][i][first + j] += product.values[i] * mass.values[j];
        }
      }
    }
    buffer ^= 1;
  }
  const std::int64_t slots = sums.sizes.slots();
  T* own = sums.partial + (task.piece * args.num_sequences + task.s0) * slots +
           std::int64_t(task.tile) * sums.sizes.squares;
#pragma unroll
  for (int j = 0; j < patch; ++j) {
    const int s = own_sequence + j / 4 * 16 + j % 4;
    if (task.s0 + s >= args.num_sequences) continue;
    const T spoiled = memory.spoiled[s];  // NaN in all sums of a sequence with a bad mass
#pragma unroll
    for (int half = 0; half < halves; ++half) {
      const int p = half * (mass_tile / halves) + own_pair;
      if (p >= sums.sizes.squares) continue;
      Four<T> values;
#pragma unroll
      for (int i = 0; i < 4; ++i) values.values[i] = sum[half][i][j] + spoiled;
      four_at(own + s * slots + p) = values;
    }
  }
}

template <int sequences, class T> void launch_many(const Launcher& launch, const MassSums<T>& sums) {
  const MassPieces& sizes = sums.sizes;
  using Memory = ManyMemory<sequences, T>;
  launch(sum_many_kernel<sequences, T>, sizes.tiles * blocks_for(sums.args.num_sequences, sequences) * sizes.pieces,
         Memory::num_threads, Memory::size(sums.args.num_shapes), sums);
}

}  // namespace cuda
}  // namespace biomechau
