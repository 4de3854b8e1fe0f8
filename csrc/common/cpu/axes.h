// Positions as a tensor holds them, x0 y0 z0 x1 y1 z1 ..., to a vector of each axis and back.
#pragma once

#include <cstring>

#include "common/cpu/vector.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

#if defined(__AVX512F__)
// Each vector that is wanted is picked from two of three, then from the result and the third.
template <class T> struct AxisOrder {
  static constexpr int width = Vector<T>::width;
  alignas(64) typename Vector<T>::Index split[3][2][width] = {};
  alignas(64) typename Vector<T>::Index join[3][2][width] = {};

  constexpr AxisOrder() {
    for (int a = 0; a < 3; ++a)
      for (int l = 0; l < width; ++l) {
        const int from = 3 * l + a;  // of axis a
        split[a][0][l] = from < 2 * width ? from : 0;
        split[a][1][l] = from < 2 * width ? l : from - width;
        const int to = width * a + l;  // in vector a of the positions
        join[a][0][l] = to % 3 == 1 ? width + to / 3 : to / 3;
        join[a][1][l] = to % 3 == 2 ? width + to / 3 : l;
      }
  }
};
template <class T> inline constexpr AxisOrder<T> axis_order;
#endif

// axis[a], lane l = positions[3 l + a]
template <class T> inline void split_axes(const T* positions, Vector<T> (&axis)[3]) {
  using V = Vector<T>;
  constexpr int width = V::width;
#if defined(__AVX512F__)
  const V v[3] = {V::load(positions), V::load(positions + width), V::load(positions + 2 * width)};
  for (int a = 0; a < 3; ++a)
    axis[a] = V::pick(V::pick(v[0], v[1], axis_order<T>.split[a][0]), v[2], axis_order<T>.split[a][1]);
#else
  T lanes[3][width];
  for (int l = 0; l < width; ++l)
    for (int a = 0; a < 3; ++a) lanes[a][l] = positions[3 * l + a];
  for (int a = 0; a < 3; ++a) axis[a] = V::load(lanes[a]);
#endif
}

// Likewise of the first `count` positions, at most `width`; the other lanes are 0.
template <class T> inline void split_axes(const T* positions, std::int64_t count, Vector<T> (&axis)[3]) {
  constexpr int width = Vector<T>::width;
  if (count == width) return split_axes(positions, axis);
  T all[3 * width] = {};
  std::memcpy(all, positions, 3 * count * sizeof(T));
  split_axes(all, axis);
}

// And back.
template <class T> inline void join_axes(const Vector<T> (&axis)[3], T* positions) {
  using V = Vector<T>;
  constexpr int width = V::width;
#if defined(__AVX512F__)
  for (int j = 0; j < 3; ++j)
    V::pick(V::pick(axis[0], axis[1], axis_order<T>.join[j][0]), axis[2], axis_order<T>.join[j][1])
        .store(positions + j * width);
#else
  T lanes[3][width];
  for (int a = 0; a < 3; ++a) axis[a].store(lanes[a]);
  for (int l = 0; l < width; ++l)
    for (int a = 0; a < 3; ++a) positions[3 * l + a] = lanes[a][l];
#endif
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
