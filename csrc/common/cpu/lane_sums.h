// Sums over the lanes of many vectors at once: cheaper than one after the other, and always in the same order.
#pragma once

#include "common/cpu/vector.h"

namespace biomechau {
namespace BIOMECHAU_ISA {

#if defined(__AVX512F__)

// Each step folds a pair of vectors into one that holds half as many partial sums of each.
inline __m512 fold_pairs(__m512 a, __m512 b) { return _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b); }
inline __m512 fold_quads(__m512 a, __m512 b) {
  const __m512d x = (__m512d)a, y = (__m512d)b;
  return (__m512)_mm512_unpacklo_pd(x, y) + (__m512)_mm512_unpackhi_pd(x, y);
}
inline __m512 fold_quarters(__m512 a, __m512 b) {
  return _mm512_shuffle_f32x4(a, b, 0x88) + _mm512_shuffle_f32x4(a, b, 0xdd);
}
inline __m512d fold_pairs(__m512d a, __m512d b) { return _mm512_unpacklo_pd(a, b) + _mm512_unpackhi_pd(a, b); }
inline __m512d fold_quads(__m512d a, __m512d b) {
  return _mm512_shuffle_f64x2(a, b, 0x88) + _mm512_shuffle_f64x2(a, b, 0xdd);
}

// A quarter of the lanes for each of four vectors.
inline __m512 fold_four(const Vector<float>* v) {
  return fold_quads(fold_pairs((__m512)v[0].value.lanes, (__m512)v[1].value.lanes),
                    fold_pairs((__m512)v[2].value.lanes, (__m512)v[3].value.lanes));
}

// out (width): the sums of `width` vectors.
inline void fold(const Vector<float>* v, float* out) {
  const __m512 low = fold_quarters(fold_four(v), fold_four(v + 4));
  const __m512 high = fold_quarters(fold_four(v + 8), fold_four(v + 12));
  _mm512_storeu_ps(out, fold_quarters(low, high));
}
// out (8): the same sums of half as many.
inline void fold_half(const Vector<float>* v, float* out) {
  const __m512 eighth = fold_quarters(fold_four(v), fold_four(v + 4));
  _mm256_storeu_ps(out, _mm512_castps512_ps256(fold_quarters(eighth, eighth)));
}
inline void fold(const Vector<double>* v, double* out) {
  __m512d pair[4];
  for (int i = 0; i < 4; ++i) pair[i] = fold_pairs((__m512d)v[2 * i].value.lanes, (__m512d)v[2 * i + 1].value.lanes);
  _mm512_storeu_pd(out, fold_quads(fold_quads(pair[0], pair[1]), fold_quads(pair[2], pair[3])));
}

// out (Count): the sum of the lanes of each of Count vectors.
template <int Count, class T> inline void lane_sums(const Vector<T>* v, T* out) {
  constexpr int width = Vector<T>::width;
  int i = 0;
  for (; i + width <= Count; i += width) fold(v + i, out + i);
  if constexpr (Count % width != 0) {
    constexpr int left = Count % width, slots = left <= 8 ? 8 : width;
    Vector<T> rest[slots];
    T sums[slots];
    for (int r = 0; r < slots; ++r) rest[r] = r < left ? v[i + r] : Vector<T>::zero();
    if constexpr (slots < width)
      fold_half(rest, sums);
    else
      fold(rest, sums);
    for (int r = 0; r < left; ++r) out[i + r] = sums[r];
  }
}

#elif defined(__AVX2__)

// out (4): the sums of four vectors, whose two registers are added first.
inline void fold_four(const Registers<float, 32>::Lanes (&v)[4], float* out) {
  const __m256 quarters = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
  _mm_storeu_ps(out, _mm256_castps256_ps128(quarters) + _mm256_extractf128_ps(quarters, 1));
}
inline void fold_four(const Registers<double, 32>::Lanes (&v)[4], double* out) {
  const __m256d a = _mm256_hadd_pd(v[0], v[1]), b = _mm256_hadd_pd(v[2], v[3]);
  _mm256_storeu_pd(out, _mm256_permute2f128_pd(a, b, 0x20) + _mm256_permute2f128_pd(a, b, 0x31));
}

// out (Count): the sum of the lanes of each of Count vectors.
template <int Count, class T> inline void lane_sums(const Vector<T>* v, T* out) {
  for (int i = 0; i < Count; i += 4) {
    typename Registers<T, 32>::Lanes four[4] = {};
    for (int j = 0; j < 4 && i + j < Count; ++j) four[j] = v[i + j].value.low.lanes + v[i + j].value.high.lanes;
    T sums[4];
    fold_four(four, sums);
    for (int j = 0; j < 4 && i + j < Count; ++j) out[i + j] = sums[j];
  }
}

#else

template <int Count, class T> inline void lane_sums(const Vector<T>* v, T* out) {
  for (int i = 0; i < Count; ++i) {
    T lanes[Vector<T>::width];
    v[i].store(lanes);
    for (int half = Vector<T>::width / 2; half > 0; half /= 2)
      for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    out[i] = lanes[0];
  }
}

#endif

}  // namespace BIOMECHAU_ISA
}  // namespace biomechau
