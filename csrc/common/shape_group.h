// Groups of vertices with the shapes that move them, vertex fastest: the unit of work of the generalized mass.
#pragma once

#include "common/cpu.h"
#include "common/packed_blendshapes.h"
#include "common/vector.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

constexpr std::int64_t block_vertices = 128;  // vertices of a group where B is not packed

template <class T> struct ShapeGroup {
  std::int64_t num_vertices, num_vectors, num_shapes;
  const std::int32_t* vertex;
  const std::int32_t* shape;
  const T* values;  // (vector of vertices, shape, 3, width)

  const T* at(std::int64_t vector, std::int64_t j) const {
    return values + (vector * num_shapes + j) * 3 * Vector<T>::width;
  }
};

// The groups of packed blendshapes, or blocks of vertices in order that are packed when they are asked for.
template <class T> class ShapeGroups {
 public:
  static constexpr std::int64_t width = Vector<T>::width;

  ShapeGroups(const T* blendshapes, const PackedBlendshapes<T>& packed, std::int64_t num_shapes,
              std::int64_t num_vertices)
      : blendshapes_(blendshapes),
        packed_(packed),
        num_shapes_(num_shapes),
        num_vertices_(num_vertices),
        count_(blendshapes ? (num_vertices + block_vertices - 1) / block_vertices : packed.num_groups),
        start_(count_ + 1),
        cost_(count_ + 1) {
    start_[0] = 0;
    cost_[0] = 0;
    for (std::int64_t g = 0; g < count_; ++g) {
      const std::int64_t shapes = blendshapes ? num_shapes : packed.shape_crow[g + 1] - packed.shape_crow[g];
      const std::int64_t vectors = num_vectors(num_group_vertices(g));
      start_[g + 1] = start_[g] + vectors * shapes * 3 * width;
      cost_[g + 1] = cost_[g] + vectors * (shapes * (shapes + 1) / 2 + 1);
    }
  }

  std::int64_t count() const { return count_; }
  // Multiply-adds of one product a pair of shapes and vertex.
  double cost() const { return static_cast<double>(cost_[count_]) * width; }

  // Vertices of the largest group, padded to whole vectors.
  std::int64_t largest() const {
    std::int64_t most = 0;
    for (std::int64_t g = 0; g < count_; ++g) most = max_of(most, num_vectors(num_group_vertices(g)) * width);
    return most;
  }
  // Vertices that are in a group; the others do not move.
  std::int64_t num_moving() const { return blendshapes_ ? num_vertices_ : packed_.vertex_crow[count_]; }

  // Where piece `piece` of `pieces` of about the same cost begins.
  std::int64_t begin(std::int64_t piece, std::int64_t pieces) const {
    const std::int64_t wanted = (cost_[count_] * piece + pieces - 1) / pieces;
    std::int64_t g = 0;
    while (g < count_ && cost_[g] < wanted) ++g;
    return g;
  }

  // Memory that `get` needs.
  std::int64_t values_size() const { return blendshapes_ ? num_shapes_ * 3 * block_vertices : 0; }
  std::int64_t index_size() const { return blendshapes_ ? num_shapes_ + block_vertices : 0; }

  ShapeGroup<T> get(std::int64_t g, T* values, std::int32_t* index) const {
    ShapeGroup<T> group{};
    group.num_vertices = num_group_vertices(g);
    group.num_vectors = num_vectors(group.num_vertices);
    if (blendshapes_) {
      pack(g * block_vertices, values, index, group);
    } else {
      group.num_shapes = packed_.shape_crow[g + 1] - packed_.shape_crow[g];
      group.vertex = packed_.vertex + packed_.vertex_crow[g];
      group.shape = packed_.shape + packed_.shape_crow[g];
      group.values = packed_.values + start_[g];
    }
    return group;
  }

 private:
  static std::int64_t num_vectors(std::int64_t vertices) { return (vertices + width - 1) / width; }
  std::int64_t num_group_vertices(std::int64_t g) const {
    return blendshapes_ ? min_of(block_vertices, num_vertices_ - g * block_vertices)
                        : packed_.vertex_crow[g + 1] - packed_.vertex_crow[g];
  }

  void pack(std::int64_t first, T* values, std::int32_t* index, ShapeGroup<T>& group) const {
    const std::int64_t num = group.num_vertices;
    std::int32_t *shape = index, *vertex = index + num_shapes_;
    std::int64_t count = 0;
    for (std::int64_t k = 0; k < num_shapes_; ++k) {
      const T* rows = blendshapes_ + (k * num_vertices_ + first) * 3;
      int moves = 0;
      for (std::int64_t i = 0; i < 3 * num; ++i) moves |= rows[i] != 0;
      shape[count] = static_cast<std::int32_t>(k);  // stays when the shape moves a vertex
      count += moves;
    }
    for (std::int64_t v = 0; v < num; ++v) vertex[v] = static_cast<std::int32_t>(first + v);
    for (std::int64_t j = 0; j < count; ++j)
      for (std::int64_t vector = 0; vector < group.num_vectors; ++vector) {
        const T* rows = blendshapes_ + (shape[j] * num_vertices_ + first + vector * width) * 3;
        T* out = values + (vector * count + j) * 3 * width;
        const std::int64_t left = num - vector * width;
        if (left >= width) {
          for (std::int64_t l = 0; l < width; ++l)
            for (int a = 0; a < 3; ++a) out[a * width + l] = rows[3 * l + a];
        } else {
          for (std::int64_t l = 0; l < width; ++l)
            for (int a = 0; a < 3; ++a) out[a * width + l] = l < left ? rows[3 * l + a] : T(0);
        }
      }
    group.num_shapes = count;
    group.vertex = vertex;
    group.shape = shape;
    group.values = values;
  }

  const T* blendshapes_;  // (K, N, 3), or null: packed
  const PackedBlendshapes<T>& packed_;
  std::int64_t num_shapes_, num_vertices_, count_;
  Scratch<std::int64_t> start_, cost_;
};

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
