// Constant blendshapes B (K, N, 3), packed for the CPU: vertices moved by about the same shapes form a group, which holds
// the displacements of those shapes only. Made by biomechau/ops/_packed_blendshapes.py.
#pragma once

#include <cstdint>

namespace biomechau {

template <class T> struct PackedBlendshapes {
  std::int64_t num_groups;          // G
  const std::int64_t* vertex_crow;  // (G + 1) start of each group's vertices
  const std::int64_t* shape_crow;   // (G + 1) start of each group's shapes
  const std::int32_t* vertex;       // (N) group after group, then the vertices that no shape moves
  const std::int32_t* shape;        // each group's shapes, rising
  const T* values;                  // group after group, in the layout of the op that reads them
};

}  // namespace biomechau
