// Groups of vertices with the shapes that move them: the unit of work of the ops that read blendshapes.
#pragma once

#include <cstring>

#include "common/cpu.h"
#include "common/packed_blendshapes.h"
#include "common/panel.h"
#include "common/vector.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

template <class T> struct ShapeGroup {
  std::int64_t num_vertices, num_shapes;
  const std::int32_t* vertex;
  const std::int32_t* shape;
  const T* values;
};

// The two arrangements of a group's displacements. Each says how many vertices a group has where B is not packed, how
// many values, about what work, and fills them from the rows of B, `blendshapes + shape * step`.

// (vector of vertices, shape, 3, width), 0 beyond the last vertex.
template <class T> struct Lanes {
  static constexpr std::int64_t width = Vector<T>::width, block = 128;

  static std::int64_t num_vectors(std::int64_t vertices) { return (vertices + width - 1) / width; }
  static std::int64_t size(std::int64_t vertices, std::int64_t shapes) {
    return num_vectors(vertices) * shapes * 3 * width;
  }
  static std::int64_t cost(std::int64_t vertices, std::int64_t shapes) {
    return num_vectors(vertices) * width * (shapes * (shapes + 1) / 2 + 1);
  }
  static void fill(const ShapeGroup<T>& group, const T* blendshapes, std::int64_t step, T* values) {
    for (std::int64_t j = 0; j < group.num_shapes; ++j)
      for (std::int64_t vector = 0; vector < num_vectors(group.num_vertices); ++vector) {
        const T* rows = blendshapes + group.shape[j] * step + vector * width * 3;
        T* out = values + (vector * group.num_shapes + j) * 3 * width;
        const std::int64_t left = group.num_vertices - vector * width;
        if (left >= width) {
          for (std::int64_t l = 0; l < width; ++l)
            for (int a = 0; a < 3; ++a) out[a * width + l] = rows[3 * l + a];
        } else {
          for (std::int64_t l = 0; l < width; ++l)
            for (int a = 0; a < 3; ++a) out[a * width + l] = l < left ? rows[3 * l + a] : T(0);
        }
      }
  }
};

// A row a vertex, the three axes of a shape side by side, 0 beyond the last shape.
template <class T> struct VertexRows {
  static constexpr std::int64_t block = 64;

  static std::int64_t size(std::int64_t vertices, std::int64_t shapes) { return vertices * padded(3 * shapes); }
  static std::int64_t cost(std::int64_t vertices, std::int64_t shapes) { return vertices * (3 * shapes + 16); }
  static void fill(const ShapeGroup<T>& group, const T* blendshapes, std::int64_t step, T* values) {
    const std::int64_t row = padded(3 * group.num_shapes);
    for (std::int64_t v = 0; v < group.num_vertices; ++v) {
      const T* from = blendshapes + 3 * v;
      T* out = values + v * row;
      // Four elements are one load and one store; the fourth is overwritten by the next.
      for (std::int64_t j = 0; j + 1 < group.num_shapes; ++j)
        std::memcpy(out + 3 * j, from + group.shape[j] * step, 4 * sizeof(T));
      if (group.num_shapes > 0) {
        const std::int64_t j = group.num_shapes - 1;
        std::memcpy(out + 3 * j, from + group.shape[j] * step, 3 * sizeof(T));
      }
      for (std::int64_t i = 3 * group.num_shapes; i < row; ++i) out[i] = 0;
    }
  }
};

// The groups of packed blendshapes, or blocks of vertices in order that are filled when they are asked for.
template <class T, class Layout> class ShapeGroups {
 public:
  ShapeGroups(const T* blendshapes, const PackedBlendshapes<T>& packed, std::int64_t num_shapes,
              std::int64_t num_vertices)
      : blendshapes_(blendshapes),
        packed_(packed),
        num_shapes_(num_shapes),
        num_vertices_(num_vertices),
        count_(blendshapes ? (num_vertices + Layout::block - 1) / Layout::block : packed.num_groups),
        start_(count_ + 1),
        cost_(count_ + 1) {
    start_[0] = 0;
    cost_[0] = 0;
    for (std::int64_t g = 0; g < count_; ++g) {
      const std::int64_t shapes = blendshapes ? num_shapes : packed.shape_crow[g + 1] - packed.shape_crow[g];
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
  std::int64_t first(std::int64_t g) const { return min_of(num_vertices_, g * Layout::block); }
  // Vertices that are in a group; the others do not move.
  std::int64_t num_moving() const { return blendshapes_ ? num_vertices_ : packed_.vertex_crow[count_]; }

  // Where piece `piece` of `pieces` of about the same cost begins.
  std::int64_t begin(std::int64_t piece, std::int64_t pieces) const {
    const std::int64_t wanted = (cost_[count_] * piece + pieces - 1) / pieces;
    std::int64_t g = 0;
    while (g < count_ && cost_[g] < wanted) ++g;
    return g;
  }

  // Fetches part `part` of `parts` of what `get` will read into the second-level cache.
  void prefetch(std::int64_t g, std::int64_t part, std::int64_t parts) const {
    if (!blendshapes_) {
      const T* values = packed_.values + start_[g];
      const std::int64_t size = start_[g + 1] - start_[g];
      prefetch_for_read(values + size * part / parts, values + size * (part + 1) / parts);
      return;
    }
    for (std::int64_t k = num_shapes_ * part / parts; k < num_shapes_ * (part + 1) / parts; ++k) {
      const T* rows = blendshapes_ + (k * num_vertices_ + first(g)) * 3;
      prefetch_for_read(rows, rows + 3 * num_group_vertices(g));
    }
  }

  // Memory that `get` needs.
  std::int64_t values_size() const { return blendshapes_ ? Layout::size(Layout::block, num_shapes_) : 0; }
  std::int64_t index_size() const { return blendshapes_ ? num_shapes_ + Layout::block : 0; }

  ShapeGroup<T> get(std::int64_t g, T* values, std::int32_t* index) const {
    ShapeGroup<T> group{};
    group.num_vertices = num_group_vertices(g);
    if (blendshapes_) {
      fill(g * Layout::block, values, index, group);
    } else {
      group.num_shapes = packed_.shape_crow[g + 1] - packed_.shape_crow[g];
      group.vertex = packed_.vertex + packed_.vertex_crow[g];
      group.shape = packed_.shape + packed_.shape_crow[g];
      group.values = packed_.values + start_[g];
    }
    return group;
  }

 private:
  std::int64_t num_group_vertices(std::int64_t g) const {
    return blendshapes_ ? min_of(Layout::block, num_vertices_ - g * Layout::block)
                        : packed_.vertex_crow[g + 1] - packed_.vertex_crow[g];
  }

  void fill(std::int64_t first, T* values, std::int32_t* index, ShapeGroup<T>& group) const {
    std::int32_t *shape = index, *vertex = index + num_shapes_;
    const T* from = blendshapes_ + 3 * first;
    for (std::int64_t k = 0; k < num_shapes_; ++k) {
      const T* rows = from + k * num_vertices_ * 3;
      int moves = 0;
      for (std::int64_t i = 0; i < 3 * group.num_vertices; ++i) moves |= rows[i] != 0;
      shape[group.num_shapes] = static_cast<std::int32_t>(k);  // stays when the shape moves a vertex
      group.num_shapes += moves;
    }
    for (std::int64_t v = 0; v < group.num_vertices; ++v) vertex[v] = static_cast<std::int32_t>(first + v);
    group.vertex = vertex;
    group.shape = shape;
    group.values = values;
    Layout::fill(group, from, num_vertices_ * 3, values);
  }

  const T* blendshapes_;  // (K, N, 3), or null: packed
  const PackedBlendshapes<T>& packed_;
  std::int64_t num_shapes_, num_vertices_, count_, largest_ = 0;
  Scratch<std::int64_t> start_, cost_;
};

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
