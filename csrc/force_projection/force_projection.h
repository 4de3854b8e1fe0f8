// Muscle forces to vertices (Eq. 1) and to blendshape coordinates (Eq. 9).
//
// X frames, N vertices, K blendshapes, M muscles, E entries of the distribution matrix P (N, M).
// P is held twice: by vertex (crow, col) and by muscle (muscle_crow, muscle_row, muscle_entry), so that every sum is
// gathered by the thread that owns its result. D = 3 for force vectors, D = 1 for scalar forces along fibres.
#pragma once

#include <cstdint>

#include "common/isa.h"
#include "common/packed_blendshapes.h"

namespace biomechau {

template <class T> struct Distribution {
  std::int64_t num_vertices, num_muscles, num_entries;
  bool fibre;                        // forces are scalars along `directions`
  const std::int64_t* crow;          // (N + 1)
  const std::int64_t* col;           // (E) muscle of each entry
  const std::int64_t* muscle_crow;   // (M + 1)
  const std::int64_t* muscle_row;    // (E) vertex of each entry, sorted by muscle
  const std::int64_t* muscle_entry;  // (E) position of each of those in the order by vertex
  const T* val;                      // (E)
  const T* directions;               // (E, 3), read only where `fibre`

  // D
  BIOMECHAU_INLINE std::int64_t force_size() const { return fibre ? 1 : 3; }
};

template <class T> struct DistributeForces {  // F_ext(i) = sum_m P(i,m) F_m
  Distribution<T> distribution;
  std::int64_t num_frames;
  const T* force;        // (X, M, D)
  T* out;                // (X, N, 3)
  const T* grad_out;     // (X, N, 3)
  T* grad_val;           // (E), or null
  T* grad_force;         // (X, M, D), or null
  T* grad_directions;    // (E, 3), or null
};

// Vertices of a tensor B that the CPU kernels take together. Their displacements, turned to one row per vertex, stay in
// the first-level cache.
constexpr std::int64_t projection_block = 32;

// The entries of P in the order of the groups of packed blendshapes, or of the blocks of a tensor, in lists of one
// muscle each, then those of the vertices that no shape moves.
struct SortedEntries {
  const std::int64_t* group_crow;  // (G + 1) start of each group's lists
  const std::int32_t* muscle;      // (L) of each list; a muscle may have several lists in a group
  const std::int64_t* list_crow;   // (L + 1) start of each list's entries
  const std::int32_t* vertex;      // vertex of each entry in a list, counted in its group
  const std::int32_t* entry;       // (E) position of each in the order by vertex
};

template <class T> struct ReducedProjection {  // A[k,m,:] = sum_i P(i,m) B_k(i)
  Distribution<T> distribution;
  std::int64_t num_shapes;
  bool is_packed;        // B is `packed`, otherwise `blendshapes`
  bool is_sorted;        // the entries of P are listed in `sorted`; only on the CPU
  const T* blendshapes;  // (K, N, 3)
  T* out;                // (K, M, D)
  const T* grad_out;     // (K, M, D)
  T* grad_blendshapes;   // (K, N, 3), or null
  T* grad_val;           // (E), or null
  T* grad_directions;    // (E, 3), or null
  // Values of a group of n vertices and U shapes: (n, 3 U, with zeros to a multiple of 16).
  PackedBlendshapes<T> packed;
  SortedEntries sorted;
};

template <class T> struct ApplyProjection {  // Q[x,k] = sum_j F[x,j] A[k,j], j = (muscle, axis)
  std::int64_t num_frames, num_shapes, num_inputs;
  const T* projection;   // (K, J)
  const T* force;        // (X, J)
  T* out;                // (X, K)
  const T* grad_out;     // (X, K)
  T* grad_projection;    // (K, J), or null
  T* grad_force;         // (X, J), or null
};

template <class T> struct ForceProjectionKernels {
  void (*distribute_forces_fwd)(const DistributeForces<T>&, int num_threads);
  void (*distribute_forces_bwd)(const DistributeForces<T>&, int num_threads);
  void (*reduced_projection_fwd)(const ReducedProjection<T>&, int num_threads);
  void (*reduced_projection_bwd)(const ReducedProjection<T>&, int num_threads);
  void (*apply_projection_fwd)(const ApplyProjection<T>&, int num_threads);
  void (*apply_projection_bwd)(const ApplyProjection<T>&, int num_threads);
};

BIOMECHAU_DECLARE_KERNELS(ForceProjectionKernels, force_projection_kernels)

}  // namespace biomechau
