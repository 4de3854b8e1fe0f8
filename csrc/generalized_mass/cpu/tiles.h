// Shared by the forward and backward pass of the generalized mass: sizes of tiles, pairs of shapes, panels of masses.
#pragma once

#include <type_traits>

#include "common/cpu/shape_group.h"
#include "generalized_mass/generalized_mass.h"
#include "generalized_mass/math.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// With at least this many, vectors hold sequences; with fewer, vertices.
constexpr std::int64_t many_sequences = 12;

// Tiles whose sums fit the registers.
#if defined(__AVX512F__)
constexpr int tile_columns = 4;                        // many sequences: vectors of them, times four pairs or vertices
constexpr int tile_pairs = 4, tile_sequences = 4;      // forward, several sequences
constexpr int tile_shapes = 4;                         // forward, one sequence: two shapes times so many
constexpr int tile_vectors = 2, tile_gradients = 8;    // backward to the masses, several sequences
constexpr int gradient_rows = 4;                       // backward, one sequence
#else
constexpr int tile_columns = 1;
constexpr int tile_pairs = 2, tile_sequences = 2;
constexpr int tile_shapes = 2;
constexpr int tile_vectors = 1, tile_gradients = 4;
constexpr int gradient_rows = 1;
#endif

// Pairs (k, l) of shapes with k <= l, row after row.
struct Pairs {
  std::int64_t num_shapes;
  std::int64_t count() const { return num_shapes * (num_shapes + 1) / 2; }
  std::int64_t row(std::int64_t k) const { return k * (2 * num_shapes - k - 1) / 2; }  // (k, l) is row(k) + l
};

inline std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

template <class T> std::int64_t vectors(const ShapeGroup<T>& group) { return Lanes<T>::num_vectors(group.num_vertices); }

// The displacements (3, width) of shape j of a group at a vector of its vertices.
template <class T> const T* at(const ShapeGroup<T>& group, std::int64_t vector, std::int64_t j) {
  return group.values + (vector * group.num_slots + j) * 3 * Vector<T>::width;
}

// panel (sequences, vertices padded to vectors): the masses of a group, 0 where there is no vertex or no sequence;
// `by_vertex`: (vertices, sequences).
template <class T>
void load_masses(const GeneralizedMass<T>& args, const ShapeGroup<T>& group, std::int64_t sequences, bool by_vertex,
                 T* panel) {
  const std::int64_t stride = vectors(group) * Vector<T>::width;
  if (by_vertex) {
    for (std::int64_t v = 0; v < group.num_vertices; ++v) {
      const T* mass = args.mass + group.vertex[v];
      T* row = panel + v * sequences;
      for (std::int64_t s = 0; s < args.num_sequences; ++s) row[s] = mass[s * args.num_vertices];
      for (std::int64_t s = args.num_sequences; s < sequences; ++s) row[s] = 0;
    }
    return;
  }
  for (std::int64_t s = 0; s < sequences; ++s) {
    const T* mass = args.mass + s * args.num_vertices;
    T* row = panel + s * stride;
    const std::int64_t num = s < args.num_sequences ? group.num_vertices : 0;
    for (std::int64_t v = 0; v < num; ++v) row[v] = mass[group.vertex[v]];
    for (std::int64_t v = num; v < stride; ++v) row[v] = 0;
  }
}

template <int Count, class T> inline void load(const T* from, Vector<T>* to) {
  for (int i = 0; i < Count; ++i) to[i] = Vector<T>::load(from + i * Vector<T>::width);
}

// Calls fn of as many vectors as a tile has, then fewer, for all vectors of sequences.
template <int C, class T, class Fn> void for_each_vector(std::int64_t s, std::int64_t sequences, const Fn& fn) {
  constexpr int width = Vector<T>::width;
  for (; s + C * width <= sequences; s += C * width) fn(std::integral_constant<int, C>{}, s);
  if constexpr (C > 1)
    if (s < sequences) for_each_vector<C - 1, T>(s, sequences, fn);
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
