// What the bindings know about CUDA: whether it was built, and where a call runs. No CUDA header is included here.
#pragma once

#include <cstdint>
#include <string>

namespace biomechau {

#if defined(BIOMECHAU_CUDA)
constexpr bool cuda_built = true;
#else
constexpr bool cuda_built = false;
#endif

namespace cuda {

// A GPU and the address of one of its streams.
struct Device {
  int index;
  std::uintptr_t stream;
};

// Why the kernels of this build cannot run on a GPU: its driver is too old, or nothing was compiled for its
// architecture. Empty if they can.
std::string refusal(int device);

inline std::int64_t blocks_for(std::int64_t count, std::int64_t each) { return (count + each - 1) / each; }

// Sizes of `batches` matrix products (rows, inner) x (inner, cols) whose sums are cut into pieces.
constexpr int product_tile = 32;  // rows and columns of the result that a block owns

struct ProductSizes {
  std::int64_t batches, rows, cols, inner, pieces;

  std::int64_t tiles() const { return batches * blocks_for(rows, product_tile) * blocks_for(cols, product_tile); }
  std::int64_t partial() const { return batches * pieces * rows * cols; }

  static ProductSizes whole(std::int64_t batches, std::int64_t rows, std::int64_t cols, std::int64_t inner) {
    return {batches, rows, cols, inner, 1};
  }
  // For few results and long sums. The pieces, and so the order of the sum, depend on the sizes alone.
  static ProductSizes cut(std::int64_t batches, std::int64_t rows, std::int64_t cols, std::int64_t inner) {
    constexpr std::int64_t enough_blocks = 512, shortest = 64;
    ProductSizes sizes = whole(batches, rows, cols, inner);
    const std::int64_t tiles = sizes.tiles();
    sizes.pieces = blocks_for(enough_blocks, tiles > 0 ? tiles : 1);
    const std::int64_t most = blocks_for(inner, shortest);
    if (sizes.pieces > most) sizes.pieces = most;
    if (sizes.pieces < 1) sizes.pieces = 1;
    return sizes;
  }
};

}  // namespace cuda
}  // namespace biomechau
