#include "common/index_checks.h"

#include <type_traits>

namespace biomechau {
namespace BIOMECHAU_ISA {
namespace {

// The loops have no branches, and the first no comparisons: it would remain scalar on some processors.

template <class Index> bool are_in_range(const Index* index, std::int64_t count, std::int64_t limit) {
  using Bits = std::make_unsigned_t<Index>;
  constexpr Bits most = static_cast<Bits>(-1) >> 1;
  const Bits last = limit > static_cast<std::int64_t>(most) ? most : static_cast<Bits>(limit - 1);
  // The sign of `wrong` gathers what is below 0 or above the last.
  Bits wrong = 0;
  for (std::int64_t i = 0; i < count; ++i) wrong |= static_cast<Bits>(index[i]) | (last - static_cast<Bits>(index[i]));
  return wrong <= most;
}

template <class Index> bool rise(const Index* starts, std::int64_t count, std::int64_t last) {
  bool good = starts[0] == 0 && starts[count] == last;
  for (std::int64_t i = 0; i < count; ++i) good &= starts[i] <= starts[i + 1];
  return good;
}

}  // namespace

template <class Index> IndexChecks<Index> index_checks() { return {are_in_range<Index>, rise<Index>}; }
template IndexChecks<std::int32_t> index_checks<std::int32_t>();
template IndexChecks<std::int64_t> index_checks<std::int64_t>();

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
