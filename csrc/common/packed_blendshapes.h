// Blendshapes B (K, N, 3) that stay as they are, packed for the CPU: vertices that about the same shapes move lie in one
// group, which holds the displacements of those shapes only. Made by biomechau/ops/packed_blendshapes.py.
#pragma once

#include <cstdint>

namespace biomechau {

template <class T> struct PackedBlendshapes {
  std::int64_t num_groups;          // G
  const std::int64_t* vertex_crow;  // (G + 1) start of each group's vertices
  const std::int64_t* shape_crow;   // (G + 1) start of each group's shapes
  const std::int32_t* vertex;       // (N) group after group, then the vertices that no shape moves
  const std::int32_t* shape;        // each group's shapes, rising
  const T* values;                  // group after group, arranged as the op that reads them wants it
};

}  // namespace biomechau
