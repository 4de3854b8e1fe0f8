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
#elif defined(__AVX2__)
// Half a vector of positions: three registers, of which the first holds the first and the fourth 16 bytes, and so on.
inline __m256 load_apart(const float* from) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)), _mm_loadu_ps(from + 12), 1);
}
inline __m256d load_apart(const double* from) {
  return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(from)), _mm_loadu_pd(from + 6), 1);
}
inline void store_apart(__m256 v, float* to) {
  _mm_storeu_ps(to, _mm256_castps256_ps128(v));
  _mm_storeu_ps(to + 12, _mm256_extractf128_ps(v, 1));
}
inline void store_apart(__m256d v, double* to) {
  _mm_storeu_pd(to, _mm256_castpd256_pd128(v));
  _mm_storeu_pd(to + 6, _mm256_extractf128_pd(v, 1));
}

using Floats = Registers<float, 32>::Lanes;
using Doubles = Registers<double, 32>::Lanes;
inline void split_half(const float* positions, Floats& x, Floats& y, Floats& z) {
  const __m256 a = load_apart(positions), b = load_apart(positions + 4), c = load_apart(positions + 8);
  const __m256 xy = _mm256_shuffle_ps(b, c, _MM_SHUFFLE(2, 1, 3, 2)), yz = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 2, 1));
  x = _mm256_shuffle_ps(a, xy, _MM_SHUFFLE(2, 0, 3, 0));
  y = _mm256_shuffle_ps(yz, xy, _MM_SHUFFLE(3, 1, 2, 0));
  z = _mm256_shuffle_ps(yz, c, _MM_SHUFFLE(3, 0, 3, 1));
}
inline void split_half(const double* positions, Doubles& x, Doubles& y, Doubles& z) {
  const __m256d a = load_apart(positions), b = load_apart(positions + 2), c = load_apart(positions + 4);
  x = _mm256_shuffle_pd(a, b, 0b1010);
  y = _mm256_shuffle_pd(a, c, 0b0101);
  z = _mm256_shuffle_pd(b, c, 0b1010);
}
inline void join_half(__m256 x, __m256 y, __m256 z, float* positions) {
  const __m256 xy = _mm256_shuffle_ps(x, y, _MM_SHUFFLE(2, 0, 2, 0)), yz = _mm256_shuffle_ps(y, z, _MM_SHUFFLE(3, 1, 3, 1));
  const __m256 zx = _mm256_shuffle_ps(z, x, _MM_SHUFFLE(3, 1, 2, 0));
  store_apart(_mm256_shuffle_ps(xy, zx, _MM_SHUFFLE(2, 0, 2, 0)), positions);
  store_apart(_mm256_shuffle_ps(yz, xy, _MM_SHUFFLE(3, 1, 2, 0)), positions + 4);
  store_apart(_mm256_shuffle_ps(zx, yz, _MM_SHUFFLE(3, 1, 3, 1)), positions + 8);
}
inline void join_half(__m256d x, __m256d y, __m256d z, double* positions) {
  store_apart(_mm256_shuffle_pd(x, y, 0b0000), positions);
  store_apart(_mm256_shuffle_pd(z, x, 0b1010), positions + 2);
  store_apart(_mm256_shuffle_pd(y, z, 0b1111), positions + 4);
}
#endif

// axis[a], lane l = positions[3 l + a]
template <class T> inline void split_axes(const T* positions, Vector<T> (&axis)[3]) {
  using V = Vector<T>;
  constexpr int width = V::width;
#if defined(__AVX512F__)
  const V v[3] = {V::load(positions), V::load(positions + width), V::load(positions + 2 * width)};
  for (int a = 0; a < 3; ++a)
    axis[a] = V::pick(V::pick(v[0], v[1], axis_order<T>.split[a][0]), v[2], axis_order<T>.split[a][1]);
#elif defined(__AVX2__)
  split_half(positions, axis[0].value.low.lanes, axis[1].value.low.lanes, axis[2].value.low.lanes);
  split_half(positions + 3 * width / 2, axis[0].value.high.lanes, axis[1].value.high.lanes, axis[2].value.high.lanes);
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
#elif defined(__AVX2__)
  join_half(axis[0].value.low.lanes, axis[1].value.low.lanes, axis[2].value.low.lanes, positions);
  join_half(axis[0].value.high.lanes, axis[1].value.high.lanes, axis[2].value.high.lanes, positions + 3 * width / 2);
#else
  T lanes[3][width];
  for (int a = 0; a < 3; ++a) axis[a].store(lanes[a]);
  for (int l = 0; l < width; ++l)
    for (int a = 0; a < 3; ++a) positions[3 * l + a] = lanes[a][l];
#endif
}

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
