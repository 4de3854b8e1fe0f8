// The matrices of a rollout on a GPU: checked, made symmetric, inverted; one block per matrix.
#pragma once

#include "common/launch.cuh"
#include "common/pivots.h"
#include "euler_rollout/cuda.h"

namespace biomechau {
namespace cuda {

constexpr int prepare_threads = 256;

template <class T> __device__ inline T not_a_number() { return T(NAN); }

// Reports a fault; the first of all faults is kept.
__device__ inline void report(std::int64_t* fault, RolloutFault::Kind kind, std::int64_t index) {
  if (fault && threadIdx.x == 0)
    atomicMin(reinterpret_cast<unsigned long long*>(fault),
              (static_cast<unsigned long long>(kind) << fault_index_bits) + static_cast<unsigned long long>(index));
}

// Calls fn(row, col) for every entry of an (n, n) matrix, warps along rows.
template <class Fn> __device__ inline void for_entries(std::int64_t n, const Fn& fn) {
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size, warps = blockDim.x / warp_size;
  for (std::int64_t i = warp; i < n; i += warps)
    for (std::int64_t j = lane; j < n; j += warp_size) fn(i, j);
}

template <class T> __device__ inline T symmetric_entry(const T* matrix, std::int64_t n, std::int64_t i, std::int64_t j) {
  return (matrix[i * n + j] + matrix[j * n + i]) / 2;
}

// Whether a matrix is finite and equals its transpose up to the tolerance; the same answer in every thread.
template <class T> __device__ bool block_is_symmetric(std::int64_t n, const T* matrix, T* scratch) {
  T largest[2] = {0, 0};  // entry, difference
  for_entries(n, [&](std::int64_t i, std::int64_t j) {
    const T size = fabs(matrix[i * n + j]), gap = fabs(matrix[i * n + j] - matrix[j * n + i]);
    if (!(size <= largest[0])) largest[0] = isfinite(size) ? size : T(INFINITY);
    if (gap > largest[1]) largest[1] = gap;
  });
  largest_in_block<2>(largest, scratch);
  const bool good = isfinite(scratch[0]) && scratch[1] <= T(symmetry_tolerance) * scratch[0];
  __syncthreads();
  return good;
}

// From the upper triangle of S = L L^T in work (n, n) to L^-1, strictly below the diagonal of work and in `diagonal`: the
// steps of the Cholesky factorization, done to the unit matrix as well. Rows are divided by the roots of their pivots at
// the end, so that a step needs one barrier. False, in every thread, when a pivot is not above `tolerance` times its
// diagonal entry.
template <class T> __device__ bool invert_factor(std::int64_t n, T tolerance, T* work, T* diagonal) {
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size, warps = blockDim.x / warp_size;
  for (std::int64_t k = threadIdx.x; k < n; k += blockDim.x) diagonal[k] = work[k * n + k];
  __syncthreads();
  for (std::int64_t j = 0; j < n; ++j) {
    const T* row = work + j * n;
    const T pivot = row[j];
    if (!(pivot > tolerance * diagonal[j] && isfinite(pivot))) return false;
    const T inverse = 1 / pivot;
    for (std::int64_t i = j + 1 + warp; i < n; i += warps) {
      const T scale = row[i] * inverse;
      T* below = work + i * n;
      for (std::int64_t l = lane; l < n; l += warp_size) {
        if (l == j)
          below[l] = -scale;
        else if (l < j || l >= i)
          below[l] -= scale * row[l];
      }
    }
    __syncthreads();
  }
  for (std::int64_t k = threadIdx.x; k < n; k += blockDim.x) diagonal[k] = 1 / sqrt(work[k * n + k]);
  __syncthreads();
  for_entries(n, [&](std::int64_t i, std::int64_t j) {
    if (j < i) work[i * n + j] *= diagonal[i];
  });
  __syncthreads();
  return true;
}

// From L^-1, as invert_factor leaves it, to S^-1 = L^-T L^-1: into the upper triangle first, which L^-1 does not need,
// then mirrored.
template <class T> __device__ void multiply_factor(std::int64_t n, T* work, const T* diagonal) {
  for_entries(n, [&](std::int64_t i, std::int64_t j) {
    if (i > j) return;
    T sum = diagonal[j] * (i == j ? diagonal[j] : work[j * n + i]);
    for (std::int64_t k = j + 1; k < n; ++k) sum += work[k * n + i] * work[k * n + j];
    work[i * n + j] = sum;
  });
  __syncthreads();
  for_entries(n, [&](std::int64_t i, std::int64_t j) {
    if (i > j) work[i * n + j] = work[j * n + i];
  });
}

// What the kernels of one call read: the arguments, and where the symmetric parts of D and K lie.
template <class T> struct System {
  EulerRollout<T> args;
  T* damping;    // (1 or S, K, K), or null
  T* stiffness;  // likewise
  std::int64_t* fault;
  int kept;      // which matrices a rollout holds in shared memory: 1 inverse, 2 damping, 4 stiffness
};

template <class T>
__device__ void prepare_symmetric(const T* matrix, std::int64_t n, T* out, std::int64_t* fault,
                                  RolloutFault::Kind kind, std::int64_t index) {
  const bool good = block_is_symmetric(n, matrix, shared_memory<T>());
  if (!good) report(fault, kind, index);
  for_entries(n, [&](std::int64_t i, std::int64_t j) {
    out[i * n + j] = good ? symmetric_entry(matrix, n, i, j) : not_a_number<T>();
  });
}

// Checks the mass and inverts the matrix that the scheme solves with. The block owns `work` (n, n) and `diagonal` (n).
template <class Work, class T>
__device__ void prepare_inverse(const System<T>& system, std::int64_t index, Work* work, Work* diagonal, T* scratch) {
  const EulerRollout<T>& args = system.args;
  const std::int64_t n = args.num_coordinates;
  const Work tolerance = pivot_tolerance<T, Work>(n);
  const bool implicit = args.scheme == Scheme::implicit;
  // With the implicit scheme an inverse is shared or per sequence, and its index is that of a sequence that uses it.
  const std::int64_t mass_index = implicit ? args.index(args.mass_span, index, 0) : index;
  const T* mass = args.mass + mass_index * n * n;

  bool good = block_is_symmetric(n, mass, scratch);
  if (!good) report(system.fault, RolloutFault::mass_asymmetric, mass_index);
  // The mass must be positive definite in every scheme: stiffness could hide a negative one.
  if (good) {
    for_entries(n, [&](std::int64_t i, std::int64_t j) { work[i * n + j] = symmetric_entry(mass, n, i, j); });
    __syncthreads();
    good = invert_factor(n, tolerance, work, diagonal);
    if (!good) report(system.fault, RolloutFault::mass_indefinite, mass_index);
  }
  if (good && implicit) {
    const Work h = args.dt;
    const T* damping = args.damping ? args.damping + args.index(args.damping_span, index, 0) * n * n : nullptr;
    const T* stiffness =
        args.stiffness ? args.stiffness + args.index(args.stiffness_span, index, 0) * n * n : nullptr;
    for_entries(n, [&](std::int64_t i, std::int64_t j) {
      Work entry = symmetric_entry(mass, n, i, j);
      if (damping) entry += h * symmetric_entry(damping, n, i, j);
      if (stiffness) entry += h * h * symmetric_entry(stiffness, n, i, j);
      work[i * n + j] = entry;
    });
    __syncthreads();
    good = invert_factor(n, tolerance, work, diagonal);
    if (!good) report(system.fault, RolloutFault::system_indefinite, index);
  }
  if (good) multiply_factor(n, work, diagonal);
  __syncthreads();
  T* out = args.inverse + index * n * n;
  for_entries(n, [&](std::int64_t i, std::int64_t j) {
    out[i * n + j] = good ? static_cast<T>(work[i * n + j]) : not_a_number<T>();
  });
}

// Where a block prepares a matrix: in shared memory and in double precision, whatever T is, as the CPU kernels do; or,
// where the matrix does not fit there, in place and in its own precision.
template <class T> __device__ void prepare_inverse(const System<T>& system, std::int64_t index, bool work_in_shared) {
  const std::int64_t n = system.args.num_coordinates;
  if (work_in_shared) {
    double *diagonal = shared_memory<double>(), *work = diagonal + n;
    prepare_inverse(system, index, work, diagonal, reinterpret_cast<T*>(work + n * n));
  } else {
    T* diagonal = shared_memory<T>();
    prepare_inverse(system, index, system.args.inverse + index * n * n, diagonal, diagonal + n);
  }
}

// One block per matrix: those of D, those of K, then the inverses. As many blocks share a multiprocessor as get along
// without spilling registers.
template <class T>
__global__ void __launch_bounds__(prepare_threads, 3)
    prepare_kernel(System<T> system, bool work_in_shared) {
  const EulerRollout<T>& args = system.args;
  const std::int64_t n = args.num_coordinates;
  std::int64_t index = blockIdx.x;
  if (system.damping) {
    const std::int64_t count = args.count(args.damping_span);
    if (index < count) {
      prepare_symmetric(args.damping + index * n * n, n, system.damping + index * n * n, system.fault,
                        RolloutFault::damping_asymmetric, index);
      return;
    }
    index -= count;
  }
  if (system.stiffness) {
    const std::int64_t count = args.count(args.stiffness_span);
    if (index < count) {
      prepare_symmetric(args.stiffness + index * n * n, n, system.stiffness + index * n * n, system.fault,
                        RolloutFault::stiffness_asymmetric, index);
      return;
    }
    index -= count;
  }
  prepare_inverse(system, index, work_in_shared);
}

}  // namespace cuda
}  // namespace biomechau
