// The generalized mass on a GPU: the arguments of generalized_mass.h with addresses on the device.
#pragma once

#include "common/cuda.h"
#include "generalized_mass/generalized_mass.h"

namespace biomechau {
namespace cuda {

// A sequence with a negative or non-finite mass is NaN. The flat index of the first such mass is reported in `fault` (1),
// if given, or -1 if there is none; nothing waits for it.
template <class T>
void generalized_mass_fwd(const GeneralizedMass<T>&, T* workspace, std::int64_t* fault, Device);
template <class T> void generalized_mass_bwd(const GeneralizedMass<T>&, T* workspace, Device);

constexpr std::int64_t mass_tile = 32;    // rows and columns of the sum that a block owns
constexpr std::int64_t mass_group = 8;    // sequences that a thread owns

// How the sum over the vertices is cut. It, and so the order of the sum, depends on the sizes alone.
struct MassPieces {
  std::int64_t tiles;   // of the upper triangle
  std::int64_t groups;  // of sequences
  std::int64_t pieces;  // of the vertices
  std::int64_t length;  // vertices per piece

  MassPieces(std::int64_t num_sequences, std::int64_t num_vertices, std::int64_t num_shapes) {
    constexpr std::int64_t enough_blocks = 1024, shortest = 128;
    const std::int64_t rows = blocks_for(num_shapes, mass_tile);
    tiles = rows * (rows + 1) / 2;
    groups = blocks_for(num_sequences, mass_group);
    const std::int64_t most = blocks_for(num_vertices, shortest);
    pieces = blocks_for(enough_blocks, tiles * groups > 0 ? tiles * groups : 1);
    if (pieces > most) pieces = most;
    if (pieces < 1) pieces = 1;
    length = blocks_for(num_vertices, pieces);
  }
};

// Elements of the workspaces: the pieces; the symmetric output gradients, sequences side by side.
inline std::int64_t generalized_mass_fwd_workspace(std::int64_t num_sequences, std::int64_t num_vertices,
                                                   std::int64_t num_shapes) {
  return MassPieces(num_sequences, num_vertices, num_shapes).pieces * num_sequences * num_shapes * num_shapes;
}
inline std::int64_t generalized_mass_bwd_workspace(std::int64_t num_sequences, std::int64_t num_shapes) {
  return num_shapes * num_shapes * blocks_for(num_sequences, mass_group) * mass_group;
}

}  // namespace cuda
}  // namespace biomechau
