// Packed blendshapes as they arrive from Python.
#pragma once

#include "common/binding.h"
#include "common/packed_blendshapes.h"

namespace biomechau {

struct PackedBuffers {
  int64_t num_shapes, num_vertices;
  Buffer vertex_crow, shape_crow, vertex, shape, values;

  void check(int64_t shapes, int64_t vertices, const Place& place) const {
    if (place.on_gpu()) throw std::invalid_argument("packed blendshapes are read by CPU kernels only");
    if (num_shapes != shapes || num_vertices != vertices)
      throw std::invalid_argument("packed blendshapes have other sizes than the call");
  }

  // Checked; its sizes must be checked before. A group must have `group_size(vertices, shapes)` values.
  template <class T, class Size> PackedBlendshapes<T> view(const Size& group_size) const {
    PackedBlendshapes<T> packed{};
    if (vertex_crow.numel < 1) throw std::invalid_argument("vertex_crow must have 1 element at least, got 0");
    packed.num_groups = vertex_crow.numel - 1;
    packed.vertex_crow = vertex_crow.as<int64_t>(packed.num_groups + 1, "vertex_crow");
    packed.shape_crow = shape_crow.as<int64_t>(packed.num_groups + 1, "shape_crow");
    packed.vertex = vertex.as<std::int32_t>(num_vertices, "vertex");
    packed.shape = shape.as<std::int32_t>(shape.numel, "shape");
    const int64_t moving = packed.vertex_crow[packed.num_groups];
    if (moving > num_vertices) throw std::invalid_argument("vertex_crow must not rise beyond the vertices");
    check_rising(packed.vertex_crow, packed.num_groups, moving, "vertex_crow");
    check_rising(packed.shape_crow, packed.num_groups, shape.numel, "shape_crow");
    check_range(packed.vertex, num_vertices, num_vertices, "vertex");
    check_range(packed.shape, shape.numel, num_shapes, "shape");
    int64_t total = 0;
    for (int64_t g = 0; g < packed.num_groups; ++g) {
      const int64_t vertices = packed.vertex_crow[g + 1] - packed.vertex_crow[g];
      const int64_t shapes = packed.shape_crow[g + 1] - packed.shape_crow[g];
      for (int64_t j = packed.shape_crow[g] + 1; j < packed.shape_crow[g + 1]; ++j)
        if (packed.shape[j - 1] >= packed.shape[j]) throw std::invalid_argument("shape must rise within each group");
      total += group_size(vertices, shapes);
    }
    packed.values = values.as<T>(total, "values");
    return packed;
  }
};

using Packed = const PackedBuffers*;  // or null

}  // namespace biomechau
