// When a pivot of a Cholesky factorization shows that the matrix is not positive definite.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

// Pivots of a matrix (n, n) of type T, computed as Work, must be above this share of their diagonal entries: anything
// below is rounding, and the matrix singular in its precision. The plain-torch twin requires n epsilon of pivots in the
// precision of the matrix, which rounding may move by half of that. Pivots of single precision computed in double have
// no such rounding: they must reach half of it, so that nothing is refused that the twin accepts.
template <class T, class Work> BIOMECHAU_INLINE Work pivot_tolerance(std::int64_t n) {
  const Work epsilon = sizeof(T) == 4 ? Work(1.1920929e-07) : Work(2.220446049250313e-16);
  return epsilon * static_cast<Work>(n) * (sizeof(Work) > sizeof(T) ? Work(0.5) : Work(1));
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
