// Index arrays are checked before any kernel follows them: an index out of range would be a wild write.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace biomechau {

template <class Index> struct IndexChecks {
  // Whether every index lies in [0, limit).
  bool (*are_in_range)(const Index* index, std::int64_t count, std::int64_t limit);
  // Whether starts (count + 1) rise from 0 to `last`.
  bool (*rise)(const Index* starts, std::int64_t count, std::int64_t last);
};

BIOMECHAU_DECLARE_KERNELS(IndexChecks, index_checks)

}  // namespace biomechau
