// Groups of vertices with the shapes that move them: the unit of work of the ops that read blendshapes.
#pragma once

#include "common/cpu/axes.h"
#include "common/cpu/panel.h"
#include "common/cpu/threads.h"
#include "common/cpu/vector.h"
#include "common/packed_blendshapes.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

template <class T> struct ShapeGroup {
  std::int64_t num_vertices, num_shapes;
  std::int64_t num_slots;  // shapes that the layout has room for
  const std::int32_t* vertex;
  const std::int32_t* shape;
  const T* values;
};

// The two layouts of a group's displacements. Each gives a group's number of values and an estimate of its work.

// (vector of vertices, slot of a shape, 3, width), 0 beyond the last vertex. Blocks of vertices of a tensor have it too.
template <class T> struct Lanes {
  static constexpr bool packed_only = false;
  static constexpr std::int64_t width = Vector<T>::width, block = 128;

  static std::int64_t num_vectors(std::int64_t vertices) { return (vertices + width - 1) / width; }
  static std::int64_t size(std::int64_t vertices, std::int64_t shapes) {
    return num_vectors(vertices) * shapes * 3 * width;
  }
  static std::int64_t cost(std::int64_t vertices, std::int64_t shapes) {
    return num_vectors(vertices) * width * (shapes * (shapes + 1) / 2 + 1);
  }
  // One shape: its rows (vertices, 3) to slots that lie `step` apart.
  static void fill(const T* rows, std::int64_t vertices, std::int64_t step, T* slot) {
    for (std::int64_t v = 0; v < vertices; v += width, slot += step) {
      Vector<T> axis[3];
      split_axes(rows + 3 * v, min_of(width, vertices - v), axis);
      repeat<3>([&](int a) BIOMECHAU_INLINE_LAMBDA { axis[a].store(slot + a * width); });
    }
  }
};

// One row per vertex, the three axes of a shape side by side, 0 beyond the last shape.
template <class T> struct VertexRows {
  static constexpr bool packed_only = true;

  static std::int64_t size(std::int64_t vertices, std::int64_t shapes) { return vertices * padded(3 * shapes); }
  static std::int64_t cost(std::int64_t vertices, std::int64_t shapes) { return vertices * (3 * shapes + 16); }
};

// The groups of packed blendshapes, or else blocks of vertices in order, which are filled when they are requested.
template <class T, class Layout> class ShapeGroups {
 public:
  // Reads `packed` if `is_packed`, else `blendshapes` (K, N, 3).
  ShapeGroups(bool is_packed, const T* blendshapes, const PackedBlendshapes<T>& packed, std::int64_t num_shapes,
              std::int64_t num_vertices)
      : is_packed_(is_packed),
        blendshapes_(blendshapes),
        packed_(packed),
        num_shapes_(num_shapes),
        num_vertices_(num_vertices),
        count_(is_packed ? packed.num_groups : (num_vertices + block() - 1) / block()),
        start_(count_ + 1),
        cost_(count_ + 1) {
    start_[0] = 0;
    cost_[0] = 0;
    for (std::int64_t g = 0; g < count_; ++g) {
      const std::int64_t shapes = is_packed ? packed.shape_crow[g + 1] - packed.shape_crow[g] : num_shapes;
      const std::int64_t vertices = num_group_vertices(g);
      start_[g + 1] = start_[g] + Layout::size(vertices, shapes);
      cost_[g + 1] = cost_[g] + Layout::cost(vertices, shapes);
      largest_ = max_of(largest_, vertices);
    }
  }

  std::int64_t count() const { return count_; }
  double cost() const { return static_cast<double>(cost_[count_]); }
  // Vertices of the largest group.
  std::int64_t largest() const { return largest_; }
  // First vertex of a group where B is not packed.
  std::int64_t first(std::int64_t g) const { return min_of(num_vertices_, g * block()); }
  // Vertices that are in a group; the others do not move.
  std::int64_t num_moving() const { return is_packed_ ? packed_.vertex_crow[count_] : num_vertices_; }

  // Where piece `piece` of `pieces` of about the same cost begins.
  std::int64_t begin(std::int64_t piece, std::int64_t pieces) const {
    const std::int64_t wanted = (cost_[count_] * piece + pieces - 1) / pieces;
    std::int64_t g = 0;
    while (g < count_ && cost_[g] < wanted) ++g;
    return g;
  }

  // Fetches part `part` of `parts` of a packed group's values into the second-level cache.
  BIOMECHAU_INLINE void prefetch(std::int64_t g, std::int64_t part, std::int64_t parts) const {
    const T* values = packed_.values + start_[g];
    const std::int64_t size = start_[g + 1] - start_[g];
    prefetch_for_read(values + size * part / parts, values + size * (part + 1) / parts);
  }

  // Memory that `get` needs.
  std::int64_t values_size() const { return is_packed_ ? 0 : Layout::size(block(), num_shapes_); }
  std::int64_t index_size() const { return is_packed_ ? 0 : num_shapes_ + block(); }

  ShapeGroup<T> get(std::int64_t g, T* values, std::int32_t* index) const {
    ShapeGroup<T> group{};
    group.num_vertices = num_group_vertices(g);
    if constexpr (!Layout::packed_only)
      if (!is_packed_) {
        fill(first(g), values, index, group);
        return group;
      }
    group.num_shapes = group.num_slots = packed_.shape_crow[g + 1] - packed_.shape_crow[g];
    group.vertex = packed_.vertex + packed_.vertex_crow[g];
    group.shape = packed_.shape + packed_.shape_crow[g];
    group.values = packed_.values + start_[g];
    return group;
  }

 private:
  static constexpr std::int64_t block() {
    if constexpr (Layout::packed_only)
      return 1;
    else
      return Layout::block;
  }
  std::int64_t num_group_vertices(std::int64_t g) const {
    return is_packed_ ? packed_.vertex_crow[g + 1] - packed_.vertex_crow[g]
                      : min_of(block(), num_vertices_ - g * block());
  }

  // The shapes that move a vertex of the block, while the rows of the next block are on their way.
  void fill(std::int64_t first, T* values, std::int32_t* index, ShapeGroup<T>& group) const {
    std::int32_t *shape = index, *vertex = index + num_shapes_;
    const std::int64_t size = 3 * group.num_vertices, next = min_of(size, 3 * (num_vertices_ - first) - size);
    for (std::int64_t k = 0; k < num_shapes_; ++k) {
      const T* rows = blendshapes_ + (k * num_vertices_ + first) * 3;
      prefetch_for_read(rows + size, rows + size + next);
      int moves = 0;
      for (std::int64_t i = 0; i < size; ++i) moves |= rows[i] != 0;
      if (!moves) continue;
      Layout::fill(rows, group.num_vertices, Layout::size(1, num_shapes_), values + Layout::size(1, group.num_shapes));
      shape[group.num_shapes++] = static_cast<std::int32_t>(k);
    }
    for (std::int64_t v = 0; v < group.num_vertices; ++v) vertex[v] = static_cast<std::int32_t>(first + v);
    group.num_slots = num_shapes_;
    group.vertex = vertex;
    group.shape = shape;
    group.values = values;
  }

  bool is_packed_;
  const T* blendshapes_;
  const PackedBlendshapes<T>& packed_;
  std::int64_t num_shapes_, num_vertices_, count_, largest_ = 0;
  Scratch<std::int64_t> start_, cost_;
};

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
