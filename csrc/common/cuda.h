// What the bindings know of CUDA: whether it was built, and where a call runs. No header of CUDA is included here.
#pragma once

#include <cstdint>

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

inline std::int64_t blocks_for(std::int64_t count, std::int64_t each) { return (count + each - 1) / each; }

// Sizes of `batches` matrix products (rows, inner) x (inner, cols) whose sums are cut into pieces.
struct ProductSizes {
  std::int64_t batches, rows, cols, inner, pieces;

  static ProductSizes whole(std::int64_t batches, std::int64_t rows, std::int64_t cols, std::int64_t inner) {
    return {batches, rows, cols, inner, 1};
  }
  // For few results and long sums. The pieces are a function of the sizes alone, as the order of the sum is.
  static ProductSizes cut(std::int64_t batches, std::int64_t rows, std::int64_t cols, std::int64_t inner) {
    constexpr std::int64_t shortest = 64, most = 64;
    const std::int64_t pieces = blocks_for(inner, shortest);
    return {batches, rows, cols, inner, pieces < 1 ? 1 : pieces > most ? most : pieces};
  }
  std::int64_t partial() const { return batches * pieces * rows * cols; }
};

}  // namespace cuda
}  // namespace biomechau
