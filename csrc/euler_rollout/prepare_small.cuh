// The matrices of a rollout with at most 64 coordinates: each thread of a block holds one column in registers.
#pragma once

#include "euler_rollout/prepare.cuh"

namespace biomechau {
namespace cuda {

// The matrix (n, n), n <= rows, that a block of `rows` threads sweeps in double precision. A step moves the rows up by one,
// and row p, which is the first by then, behind the last: so the entries that a step needs are always in the same registers.
template <class T, int rows> struct SweptColumns {
  static_assert((rows & (rows - 1)) == 0, "rows are counted in a ring");
  using Work = double;
  int n, own;  // the column
  double column[rows];

  // In shared memory: two rows, the diagonal, scratch, and the matrix that was read last, zero beyond n. Its stride is
  // odd, so that neither its rows nor its columns lie in one bank.
  static constexpr int num_scratch = 2 * rows / warp_size, stride = rows + 1;
  static constexpr std::size_t shared_bytes = 3 * rows * sizeof(double) + (num_scratch + rows * stride) * sizeof(T);

  __device__ static double* diagonal() { return shared_memory<double>() + 2 * rows; }
  __device__ static T* scratch() { return reinterpret_cast<T*>(diagonal() + rows); }
  __device__ static T& matrix(int i, int j) { return scratch()[num_scratch + i * stride + j]; }
  __device__ static T symmetric(int i, int j) { return (matrix(i, j) + matrix(j, i)) / 2; }

  __device__ explicit SweptColumns(std::int64_t n_) : n(static_cast<int>(n_)), own(threadIdx.x) {
    for (int i = 0; i < rows; ++i) matrix(i, own) = 0;
  }

  __device__ void read(const T* from) {
    __syncthreads();
    if (own < n) {
#pragma unroll 8
      for (int i = 0; i < n; ++i) matrix(i, own) = from[i * n + own];
    }
    __syncthreads();
  }
  __device__ bool is_symmetric() const {
    Symmetry<T> symmetry;
#pragma unroll 8
    for (int i = 0; i < rows; ++i) symmetry.add(matrix(i, own), matrix(own, i));
    return symmetry.holds(scratch());
  }
  __device__ void write_symmetric(T* out, bool good) const {
    if (own >= n) return;
#pragma unroll 4
    for (int i = 0; i < n; ++i) out[i * n + own] = good ? symmetric(i, own) : not_a_number<T>();
  }
  __device__ void assign() {
    __syncthreads();  // the diagonal of before may still be read
#pragma unroll
    for (int i = 0; i < rows; ++i) column[i] = symmetric(i, own);
    diagonal()[own] = matrix(own, own);
  }
  __device__ void add(double factor) {
#pragma unroll
    for (int i = 0; i < rows; ++i) column[i] += factor * symmetric(i, own);
    diagonal()[own] += factor * matrix(own, own);
  }
  // False, in every thread, as above. Where the inverse is not wanted the rows of former pivots are left out.
  __device__ bool sweep(double tolerance, bool inverts) {
    constexpr int together = 16;
    __syncthreads();
#pragma unroll 1
    for (int p = 0; p < n; ++p) {
      double* row = shared_memory<double>() + p % 2 * rows;  // its pivot first
      row[(own - p) & (rows - 1)] = column[0];
      __syncthreads();
      const double pivot = row[0];
      if (!(pivot > tolerance * diagonal()[p] && isfinite(pivot))) return false;
      const double inverse = 1 / pivot;
      if (own == p) {  // column p is row p
#pragma unroll
        for (int i = 0; i < rows; ++i) column[i] = i + 1 < rows ? row[i + 1] * inverse : -inverse;
        continue;
      }
      const double scale = column[0] * inverse;
      const int used = inverts ? rows : n - p;
#pragma unroll
      for (int first = 0; first < rows; first += together) {
        if (first >= used) break;
#pragma unroll
        for (int i = first; i < first + together; ++i)
          column[i] = i + 1 < rows ? column[i + 1] - row[i + 1] * scale : scale;
      }
    }
    return true;
  }
  __device__ void store(T* out, bool good) const {
    if (own >= n) return;
    T* to = out + own - (rows - n) * n;
#pragma unroll
    for (int place = 0; place < rows; ++place) {
      if (place >= rows - n) *to = good ? static_cast<T>(-column[place]) : not_a_number<T>();
      to += n;
    }
  }
};

// As many blocks share a multiprocessor as have the registers.
template <class T, int rows>
__global__ void __launch_bounds__(rows, rows == 64 ? 4 : 12) prepare_small_kernel(System<T> system) {
  SweptColumns<T, rows> swept(system.args.num_coordinates);
  prepare(swept, system);
}

// Whether it was launched: the matrices may be larger, or not fit into shared memory.
template <class T, int rows>
bool launch_prepare_small(const Launcher& launch, std::int64_t num_blocks, const System<T>& system) {
  constexpr std::size_t shared_bytes = SweptColumns<T, rows>::shared_bytes;
  if (system.args.num_coordinates > rows || shared_bytes > launch.most_shared_bytes()) return false;
  launch(prepare_small_kernel<T, rows>, num_blocks, rows, shared_bytes, system);
  return true;
}

}  // namespace cuda
}  // namespace biomechau
