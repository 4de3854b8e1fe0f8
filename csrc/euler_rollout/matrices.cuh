// Products of the rollout's symmetric matrices (n, n) with vectors in shared memory. Four threads of a warp share the sum of
// a row, each a part of it. A part is a run of terms: if neighbouring shapes are nearly equal, their large terms cancel
// before the parts are added.
#pragma once

#include "common/launch.cuh"

namespace biomechau {
namespace cuda {

constexpr int parts = 4;
constexpr int warp_rows = warp_size / parts;  // lane = part * warp_rows + row

// Calls fn(row, part) so that whole warps take part, with rows beyond n too.
template <class Fn> __device__ inline void for_rows(int n, const Fn& fn) {
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size, warps = blockDim.x / warp_size;
  for (int base = warp * warp_rows; base < n; base += warps * warp_rows)
    fn(base + lane % warp_rows, lane / warp_rows);
}

template <class T> __device__ inline void clear(T* vector, int size) {
  for (int k = threadIdx.x; k < size; k += blockDim.x) vector[k] = 0;
}

// A matrix that stays in memory, and is read through the caches, by columns.
template <class T> struct ReadMatrix {
  static constexpr int most_threads = 512;
  static constexpr int blocks = 1;  // of as many threads that share a multiprocessor at least; 0: the compiler chooses
  static constexpr bool may_change = true;  // from frame to frame
  const T* data = nullptr;
  bool poisoned = false;  // whether it is NaN

  BIOMECHAU_INLINE static int vector_size(std::int64_t n) { return static_cast<int>(n); }
  __device__ void read(const T* from, int) {
    data = from;
    poisoned = isnan(data[0]);
  }
  // 0 for rows beyond the last. The length of a part is odd, so that the parts of a vector lie in different banks.
  __device__ T row_part(const T* vector, int n, int row, int part) const {
    if (row >= n) return T(0);
    const int length = (n + parts - 1) / parts | 1, begin = part * length;
    const int end = n < begin + length ? n : begin + length;
    T sum = 0;
    for (int j = begin; j < end; ++j) sum += data[static_cast<std::int64_t>(j) * n + row] * vector[j];
    return sum;
  }
};

// A matrix of which each thread holds its part of a row in registers. Vectors are padded with zeros.
template <class T> struct HeldMatrix {
  static constexpr int length = 16, most_rows = parts * length, most_threads = most_rows * parts;
  static constexpr int blocks = 0;
  static constexpr bool may_change = false;
  T own[length];
  bool poisoned = false;

  BIOMECHAU_INLINE static int vector_size(std::int64_t) { return most_rows; }
  __device__ void read(const T* data, int n) {
    poisoned = isnan(data[0]);
    for_rows(n, [&](int row, int part) {
#pragma unroll
      for (int l = 0; l < length; ++l) {
        const int j = part * length + l;
        own[l] = row < n && j < n ? data[j * n + row] : T(0);
      }
    });
  }
  __device__ T row_part(const T* vector, int, int, int part) const {
    T sum = 0;
#pragma unroll
    for (int l = 0; l < length; l += 4) {
      const Four<T> four = four_at(vector + part * length + l);
#pragma unroll
      for (int i = 0; i < 4; ++i) sum += own[l + i] * four.values[i];
    }
    return sum;
  }
};

}  // namespace cuda
}  // namespace biomechau
