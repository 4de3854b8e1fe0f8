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

constexpr std::int64_t mass_group = 8;  // sequences that a thread of the backward pass owns

// Of the forward pass.
constexpr int mass_panel = 64;         // shapes, of which a block holds one or two panels
constexpr int mass_tile = 256;         // pairs of shapes that a block owns, for many sequences
constexpr int mass_few_threads = 160;  // most threads of a block, for few sequences

// A part of the upper triangle of M: rows of one panel, columns of the same or a later one.
struct MassPart {
  int k0, rows, l0, cols;

  BIOMECHAU_INLINE bool is_diagonal() const { return k0 == l0; }
  // Squares of entries that cover the part, those below the diagonal left out.
  BIOMECHAU_INLINE int squares(int edge) const {
    const int down = (rows + edge - 1) / edge, across = (cols + edge - 1) / edge;
    return is_diagonal() ? down * (down + 1) / 2 : down * across;
  }
  // The first row and column of a square, counted in the part. On the diagonal the first and the last row of squares
  // are counted one behind the other, then the second and the one before the last: all such pairs have the same length.
  BIOMECHAU_INLINE void square(int index, int edge, int* row, int* col) const {
    const int down = (rows + edge - 1) / edge, across = (cols + edge - 1) / edge;
    const int length = is_diagonal() ? down + 1 : across, r = index / length, c = index - r * length;
    const bool is_mirrored = is_diagonal() && c >= down - r;
    *row = edge * (is_mirrored ? down - 1 - r : r);
    *col = edge * (!is_diagonal() ? c : is_mirrored ? c - 1 : r + c);
  }
};

// The part of M (num_shapes, num_shapes) that begins at an entry; without rows beyond the last one.
BIOMECHAU_INLINE MassPart mass_part(int num_shapes, int k0, int l0) {
  const int down = num_shapes - k0, across = num_shapes - l0;
  return {k0, down < mass_panel ? down : mass_panel, l0, across < mass_panel ? across : mass_panel};
}
BIOMECHAU_INLINE MassPart next_part(int num_shapes, const MassPart& part) {
  const int k0 = part.k0 + mass_panel, l0 = part.l0 + mass_panel;
  return l0 < num_shapes ? mass_part(num_shapes, part.k0, l0) : mass_part(num_shapes, k0, k0);
}

// How the forward pass is cut into blocks: tiles of squares of M, and pieces of the vertices. It, and so the order of
// the sum, depends on the sizes alone.
struct MassPieces {
  bool few;              // sequences: a thread owns a square of 4 x 4 entries of a few of them; else see many.cuh
  int edge, squares;     // of a tile
  std::int64_t tiles;    // of the upper triangle
  std::int64_t pieces;   // of the vertices
  std::int64_t length;   // vertices per piece

  BIOMECHAU_INLINE std::int64_t slots() const { return tiles * squares * edge * edge; }

  MassPieces(std::int64_t num_sequences, std::int64_t num_vertices, std::int64_t num_shapes) {
    constexpr std::int64_t most_few = 16, one_wave = 264, several_waves = 1024, shortest = 32, long_enough = 1024;
    few = num_sequences <= most_few;
    edge = few ? 4 : 1;
    // Tiles of equal sizes in multiples of 32, as many as the first panel needs.
    const auto panel = static_cast<int>(num_shapes < mass_panel ? num_shapes : mass_panel);
    const std::int64_t all = MassPart{0, panel, 0, panel}.squares(edge);
    const std::int64_t fewest = blocks_for(all, few ? mass_few_threads : mass_tile);
    squares = static_cast<int>(blocks_for(blocks_for(all, fewest > 0 ? fewest : 1), 32) * 32);
    if (squares < 64) squares = 64;
    const auto tiles_of = [&](const MassPart& part) { return blocks_for(part.squares(edge), squares); };
    const std::int64_t whole = num_shapes / mass_panel;
    const auto rest = static_cast<int>(num_shapes % mass_panel);
    tiles = whole * tiles_of({0, mass_panel, 0, mass_panel}) +
            whole * (whole - 1) / 2 * tiles_of({0, mass_panel, mass_panel, mass_panel}) +
            whole * tiles_of({0, mass_panel, mass_panel, rest}) + tiles_of({0, rest, 0, rest});
    const std::int64_t tasks = tiles * blocks_for(num_sequences, few ? 8 : 64);
    const auto at_most = [](std::int64_t a, std::int64_t b) { return a < b ? a : b; };
    // At least as many blocks as run at once. More if they are long: the last ones then end closer together.
    pieces = at_most(one_wave / (tasks > 0 ? tasks : 1), blocks_for(num_vertices, shortest));
    const std::int64_t more = at_most(several_waves / (tasks > 0 ? tasks : 1), num_vertices / long_enough);
    if (pieces < more) pieces = more;
    if (pieces < 1) pieces = 1;
    length = blocks_for(num_vertices, pieces);
  }
};

// Elements of the workspaces: the sums of the pieces; the symmetric output gradients, sequences side by side.
inline std::int64_t generalized_mass_fwd_workspace(std::int64_t num_sequences, std::int64_t num_vertices,
                                                   std::int64_t num_shapes) {
  const MassPieces sizes(num_sequences, num_vertices, num_shapes);
  return sizes.pieces * num_sequences * sizes.slots();
}
inline std::int64_t generalized_mass_bwd_workspace(std::int64_t num_sequences, std::int64_t num_shapes) {
  return num_shapes * num_shapes * blocks_for(num_sequences, mass_group) * mass_group;
}

}  // namespace cuda
}  // namespace biomechau
