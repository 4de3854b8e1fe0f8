// The matrices of a rollout on a GPU: checked, made symmetric, inverted; one block per matrix.
//
// A matrix is inverted by sweeping it. With d = A_pp the step of pivot p makes of A
//   -1 / d at (p, p),   A_pj / d in row p,   A_ip / d in column p,   A_ij - A_ip A_pj / d elsewhere.
// The pivots are those of the Cholesky factorization, and after all steps A is minus the inverse of what it was. It stays
// symmetric, so that row p, kept while the others change, is all that a step reads of other threads: one barrier a step.
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

// Whether a matrix is finite and equals its transpose up to the tolerance.
template <class T> struct Symmetry {
  T largest[2] = {0, 0};  // entry, difference

  __device__ void add(T entry, T mirrored) {
    const T size = fabs(entry), gap = fabs(entry - mirrored);
    if (!(size <= largest[0])) largest[0] = isfinite(size) ? size : T(INFINITY);
    if (gap > largest[1]) largest[1] = gap;
  }
  // The same answer in every thread of the block.
  __device__ bool holds(T* scratch) {
    largest_in_block<2>(largest, scratch);
    const bool good = isfinite(scratch[0]) && scratch[1] <= T(symmetry_tolerance) * scratch[0];
    __syncthreads();
    return good;
  }
};

// What the kernels of one call read: the arguments, and where the symmetric parts of D and K lie.
template <class T> struct System {
  EulerRollout<T> args;
  T* damping;    // (1 or S, K, K), or null
  T* stiffness;  // likewise
  std::int64_t* fault;

  BIOMECHAU_INLINE std::int64_t num_symmetric_parts() const {
    return (damping ? args.count(args.damping_span) : 0) + (stiffness ? args.count(args.stiffness_span) : 0);
  }
};

// A matrix (n, n) that a block sweeps in memory: shared memory and double precision, whatever T is, as the CPU kernels do;
// or, where it does not fit there, in place and in its own precision.
template <class T, class Work_> struct SweptMemory {
  using Work = Work_;
  int n;
  Work *work, *diagonal, *rows;  // (n, n), (n), (2, n)
  T* scratch;
  const T* matrix = nullptr;  // the last one that was read

  static std::size_t vectors(std::int64_t n) { return 3 * n * sizeof(Work); }
  static std::size_t scratch_bytes() { return 2 * prepare_threads / warp_size * sizeof(T); }

  __device__ void read(const T* from) { matrix = from; }
  __device__ bool is_symmetric() const {
    Symmetry<T> symmetry;
    for_entries(n, [&](std::int64_t i, std::int64_t j) { symmetry.add(matrix[i * n + j], matrix[j * n + i]); });
    return symmetry.holds(scratch);
  }
  __device__ void write_symmetric(T* out, bool good) const {
    for_entries(n, [&](std::int64_t i, std::int64_t j) {
      out[i * n + j] = good ? symmetric_entry(matrix, n, i, j) : not_a_number<T>();
    });
  }
  __device__ void assign() {
    for_entries(n, [&](std::int64_t i, std::int64_t j) { work[i * n + j] = symmetric_entry(matrix, n, i, j); });
  }
  __device__ void add(Work factor) {
    for_entries(n, [&](std::int64_t i, std::int64_t j) { work[i * n + j] += factor * symmetric_entry(matrix, n, i, j); });
  }
  // False, in every thread, when a pivot is not above `tolerance` times its diagonal entry.
  __device__ bool sweep(Work tolerance, bool) {
    const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size, warps = blockDim.x / warp_size;
    __syncthreads();
    for (int k = threadIdx.x; k < n; k += blockDim.x) {
      diagonal[k] = work[std::int64_t(k) * n + k];
      rows[k] = work[k];
    }
    __syncthreads();
    for (int p = 0; p < n; ++p) {
      const Work* row = rows + p % 2 * n;
      Work* next = rows + (p + 1) % 2 * n;
      const Work pivot = row[p];
      if (!(pivot > tolerance * diagonal[p] && isfinite(pivot))) return false;
      const Work inverse = 1 / pivot;
      for (int i = warp; i < n; i += warps) {
        const Work scale = i == p ? -inverse : row[i] * inverse;
        Work* own = work + std::int64_t(i) * n;
        for (int j = lane; j < n; j += warp_size) {
          const Work entry = j == p ? scale : (i == p ? Work(0) : own[j]) - scale * row[j];
          own[j] = entry;
          if (i == p + 1) next[j] = entry;
        }
      }
      __syncthreads();
    }
    return true;
  }
  __device__ void store(T* out, bool good) const {
    for_entries(n, [&](std::int64_t i, std::int64_t j) {
      out[i * n + j] = good ? static_cast<T>(-work[i * n + j]) : not_a_number<T>();
    });
  }
};

// Checks a matrix of D or K and writes its symmetric part.
template <class Swept, class T>
__device__ void prepare_symmetric(Swept& swept, const T* matrix, T* out, std::int64_t* fault, RolloutFault::Kind kind,
                                  unsigned index) {
  const std::int64_t begin = std::int64_t(index) * swept.n * swept.n;
  swept.read(matrix + begin);
  const bool good = swept.is_symmetric();
  if (!good) report(fault, kind, index);
  swept.write_symmetric(out + begin, good);
}

// Checks the mass and inverts the matrix that the scheme solves with.
template <class Swept, class T>
__device__ void prepare_inverse(Swept& swept, const System<T>& system, unsigned index) {
  using Work = typename Swept::Work;
  const EulerRollout<T>& args = system.args;
  const std::int64_t size = args.num_coordinates * args.num_coordinates;
  const Work tolerance = pivot_tolerance<T, Work>(args.num_coordinates), h = args.dt;
  const bool implicit = args.scheme == Scheme::implicit;
  // With the implicit scheme an inverse is shared or per sequence, and its index is that of a sequence that uses it.
  const unsigned mass_index = implicit && args.mass_span == Span::shared ? 0 : index;

  swept.read(args.mass + mass_index * size);
  bool good = swept.is_symmetric();
  if (!good) report(system.fault, RolloutFault::mass_asymmetric, mass_index);
  // The mass must be positive definite in every scheme: stiffness could hide a negative one.
  if (good) {
    swept.assign();
    good = swept.sweep(tolerance, !implicit);
    if (!good) report(system.fault, RolloutFault::mass_indefinite, mass_index);
  }
  if (good && implicit) {
    swept.assign();
    if (args.damping) {
      swept.read(args.damping + args.index(args.damping_span, index, 0) * size);
      swept.add(h);
    }
    if (args.stiffness) {
      swept.read(args.stiffness + args.index(args.stiffness_span, index, 0) * size);
      swept.add(h * h);
    }
    good = swept.sweep(tolerance, true);
    if (!good) report(system.fault, RolloutFault::system_indefinite, index);
  }
  swept.store(args.inverse + index * size, good);
}

// One block per matrix: those of D, those of K, then the inverses.
template <class Swept, class T> __device__ void prepare(Swept& swept, const System<T>& system) {
  const EulerRollout<T>& args = system.args;
  unsigned index = blockIdx.x;
  if (system.damping) {
    const auto count = static_cast<unsigned>(args.count(args.damping_span));
    if (index < count) {
      prepare_symmetric(swept, args.damping, system.damping, system.fault, RolloutFault::damping_asymmetric, index);
      return;
    }
    index -= count;
  }
  if (system.stiffness) {
    const auto count = static_cast<unsigned>(args.count(args.stiffness_span));
    if (index < count) {
      prepare_symmetric(swept, args.stiffness, system.stiffness, system.fault, RolloutFault::stiffness_asymmetric, index);
      return;
    }
    index -= count;
  }
  prepare_inverse(swept, system, index);
}

// As many blocks share a multiprocessor as get along without spilling registers.
template <class T>
__global__ void __launch_bounds__(prepare_threads, 3)
    prepare_kernel(System<T> system, bool work_in_shared) {
  const auto n = static_cast<int>(system.args.num_coordinates);
  if (work_in_shared) {
    double *diagonal = shared_memory<double>(), *work = diagonal + 3 * n;
    SweptMemory<T, double> swept{n, work, diagonal, diagonal + n, reinterpret_cast<T*>(work + n * n)};
    prepare(swept, system);
  } else {
    T* diagonal = shared_memory<T>();
    T* work = system.args.inverse + (blockIdx.x - system.num_symmetric_parts()) * n * n;
    SweptMemory<T, T> swept{n, work, diagonal, diagonal + n, diagonal + 3 * n};
    prepare(swept, system);
  }
}

}  // namespace cuda
}  // namespace biomechau
