// The settings that both rollouts take, checked as they arrive from Python.
#pragma once

#include <cmath>
#include <iterator>

#include "common/binding.h"
#include "euler_rollout/euler_rollout.h"

namespace biomechau {

inline Scheme checked_scheme(int scheme) {
  if (scheme < 0 || scheme >= static_cast<int>(std::size(scheme_names)))
    throw std::invalid_argument("scheme must be 0, 1 or 2");
  return static_cast<Scheme>(scheme);
}

template <class T> T checked_dt(double dt) {
  const T step = static_cast<T>(dt);
  if (!(step > 0) || !std::isfinite(step))
    throw std::invalid_argument("dt must be a positive number in the precision of the tensors");
  return step;
}

}  // namespace biomechau
