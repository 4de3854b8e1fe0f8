// What the two kernels of the forward pass share: which entries of M a block owns, and how it loads shapes and masses.
#pragma once

#include "common/launch.cuh"
#include "generalized_mass/cuda.h"
#include "generalized_mass/math.h"

namespace biomechau {
namespace cuda {

template <class T> struct MassSums {
  GeneralizedMass<T> args;
  MassPieces sizes;
  T* partial;           // (pieces, S, slots)
  std::int64_t* fault;  // or null
};

// The tile of a block: the part of M where it lies, and its first square there.
struct MassTile {
  MassPart part;
  int first;

  __device__ MassTile(int num_shapes, const MassPieces& sizes, int tile) : part(mass_part(num_shapes, 0, 0)) {
    for (;; part = next_part(num_shapes, part)) {
      const int tiles = (part.squares(sizes.edge) + sizes.squares - 1) / sizes.squares;
      if (tile < tiles) break;
      tile -= tiles;
    }
    first = tile * sizes.squares;
  }
  __device__ bool has(int square, const MassPieces& sizes) const {
    return square < sizes.squares && first + square < part.squares(sizes.edge);
  }
};

// What a block owns besides: sequences from s0 on, vertices [begin, end) of a piece.
struct MassTask {
  int tile;
  std::int64_t s0, piece, begin, end;

  template <class T> __device__ MassTask(const MassSums<T>& sums, int sequences) {
    const auto tiles = static_cast<unsigned>(sums.sizes.tiles);
    const auto groups = static_cast<unsigned>((sums.args.num_sequences + sequences - 1) / sequences);
    const unsigned rest = blockIdx.x / tiles;
    tile = static_cast<int>(blockIdx.x % tiles);
    s0 = std::int64_t(rest % groups) * sequences;
    piece = rest / groups;
    begin = piece * sums.sizes.length;
    end = smaller(sums.args.num_vertices, begin + sums.sizes.length);
  }
};

template <class T> constexpr int loads = 48 / sizeof(T);  // on their way together

// values[k * shape_stride + at * inner_stride], k < count: the shapes [k0, k0 + available) at the vertices
// [start, end), three displacements each; zero beyond. A block has num_threads.
template <int tile_vertices, class T>
__device__ inline void load_shapes(int num_threads, const GeneralizedMass<T>& args, int k0, int available, int count,
                                   std::int64_t start, std::int64_t end, T* values, int shape_stride,
                                   int inner_stride) {
  constexpr int row = tile_vertices * 3;
  const int at = static_cast<int>(threadIdx.x) % row, rows = num_threads / row;
  if (at >= (end - start) * 3) available = 0;
  int k = static_cast<int>(threadIdx.x) / row;
  if (k >= rows) return;
  const T* from = args.blendshapes + ((std::int64_t(k0) + k) * args.num_vertices + start) * 3 + at;
  const std::int64_t step = rows * args.num_vertices * 3;
  T* to = values + k * shape_stride + at * inner_stride;
#pragma unroll 1
  for (; k < count; k += rows * loads<T>) {
    T loaded[loads<T>];
#pragma unroll
    for (int n = 0; n < loads<T>; ++n) {
      loaded[n] = 0;
      if (k + n * rows < available) loaded[n] = *from;
      from += step;
    }
#pragma unroll
    for (int n = 0; n < loads<T>; ++n) {
      if (k + n * rows < count) to[n * rows * shape_stride] = loaded[n];
    }
    to += rows * loads<T> * shape_stride;
  }
}

// masses (tile_vertices, stride) of the task's sequences at the vertices from `start` on, zero beyond. A bad mass is
// NaN, and on_bad is called with its sequence.
template <int tile_vertices, int sequences, class T, class OnBad>
__device__ inline void load_masses(int num_threads, const MassSums<T>& sums, const MassTask& task, std::int64_t start,
                                   T* masses, int stride, const OnBad& on_bad) {
  constexpr int together = sequences < 4 ? sequences : 4;  // loads on their way
  const std::int64_t num_vertices = sums.args.num_vertices;
  const int v = static_cast<int>(threadIdx.x) % tile_vertices, rows = num_threads / tile_vertices;
  const bool inside = v < task.end - start;
  const int available = inside ? static_cast<int>(smaller(sequences, sums.args.num_sequences - task.s0)) : 0;
  int s = static_cast<int>(threadIdx.x) / tile_vertices;
  const T* from = sums.args.mass + (task.s0 + s) * num_vertices + start + v;
#pragma unroll 1
  for (; s < sequences; s += rows * together) {
    T loaded[together];
#pragma unroll
    for (int n = 0; n < together; ++n) {
      loaded[n] = 0;
      if (s + n * rows < available) loaded[n] = *from;
      from += rows * num_vertices;
    }
#pragma unroll
    for (int n = 0; n < together; ++n) {
      const int own = s + n * rows;
      if (own >= sequences) break;
      if (!(loaded[n] >= 0) || !isfinite(loaded[n])) {
        loaded[n] = T(NAN);
        on_bad(own);
        if (sums.fault && task.tile == 0)
          atomicMin(reinterpret_cast<unsigned long long*>(sums.fault),
                    static_cast<unsigned long long>((task.s0 + own) * num_vertices + start + v));
      }
      masses[v * stride + own] = loaded[n];
    }
  }
}

}  // namespace cuda
}  // namespace biomechau
